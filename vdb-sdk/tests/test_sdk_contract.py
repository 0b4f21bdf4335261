"""What the client promises, over every way to an engine: sync and async, in memory, on disk, behind HTTP."""

from __future__ import annotations

import asyncio
import datetime
import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import vdb_sdk
from vdb_sdk import IndexSpec

if TYPE_CHECKING:
    from pathlib import Path

GENERATOR = np.random.default_rng(7)
MATRIX = GENERATOR.standard_normal((200, 8)).astype(np.float32)
IDS = [f"row-{number}" for number in range(200)]
ODD_IDS = [
    "a/b",
    "%2F",
    "100%",
    "a b",
    "?q=1",
    "#",
    "é/..",
    "🦀" * 256,
    "x" * 256,
    "a\\b",
    "+&=",
    "...",
    "~\t\n",
]


def nearest(query: np.ndarray, rows: np.ndarray = MATRIX) -> list[int]:
    """Row numbers by cosine similarity, in float64."""
    units = rows.astype(np.float64) / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    return np.argsort(-(units @ query.astype(np.float64)), kind="stable").tolist()


@pytest.fixture
def library(client: Any) -> Any:
    made = client.create_library("Rows", id="rows")
    made.upsert(
        ids=IDS,
        embeddings=MATRIX,
        texts=[f"text {number}" for number in range(200)],
        metadatas=[{"even": number % 2 == 0, "n": number} for number in range(200)],
    )
    return made


# Libraries


def test_a_library_lives_from_create_to_drop(client: Any) -> None:
    handle = client.create_library(
        "Words", id="words", metric="l2", dimension=3, index=IndexSpec(type="numpy"), metadata={"a": 1}
    )
    info = handle.info()
    assert (info.id, info.name, info.metric, info.dimension) == ("words", "Words", "l2", 3)
    assert (info.index.type, info.metadata, info.documents, info.chunks) == ("numpy", {"a": 1}, 0, 0)
    assert abs(info.created_at - datetime.datetime.now(datetime.UTC)) < datetime.timedelta(minutes=1)
    changed = handle.update(name="More words", metadata={"a": None, "b": 2}, if_match=info.revision)
    assert (changed.name, changed.metadata) == ("More words", {"b": 2})
    with pytest.raises(vdb_sdk.PreconditionFailed):
        handle.update(name="x", if_match=info.revision)
    assert client.get_library("words").id == "words"
    handle.drop()
    with pytest.raises(vdb_sdk.NotFoundError) as caught:
        client.get_library("words")
    assert caught.value.code == "library_not_found"
    assert list(client.libraries()) == []


def test_a_taken_id_is_a_conflict_unless_that_is_fine(client: Any) -> None:
    client.create_library("A", id="a", metric="dot", dimension=4)
    with pytest.raises(vdb_sdk.ConflictError) as caught:
        client.create_library("B", id="a")
    assert caught.value.code == "already_exists"
    assert client.create_library("B", id="a", metric="dot", exist_ok=True).info().name == "A"
    for other in ({"metric": "l2"}, {"metric": "dot", "dimension": 5}):
        with pytest.raises(vdb_sdk.ConflictError) as caught:
            client.create_library("B", id="a", exist_ok=True, **other)
        assert "metric='dot', dimension=4" in caught.value.__notes__[0]
    with pytest.raises(vdb_sdk.InvalidArgument, match="exist_ok"):
        client.create_library("B", exist_ok=True)


def test_lists_go_on_over_pages(client: Any) -> None:
    for number in range(7):
        client.create_library(str(number), id=f"lib-{number}")
    pager = client.libraries(page_size=3)
    assert sorted(library.id for library in pager) == [f"lib-{number}" for number in range(7)]
    assert sorted(library.id for library in pager) == [f"lib-{number}" for number in range(7)]
    pages = list(client.libraries(page_size=3).pages())
    assert [len(page) for page in pages] == [3, 3, 1]
    rest = client.libraries(page_size=3, cursor=pages[0].next_cursor)
    assert [library.id for library in rest] == [library.id for page in pages[1:] for library in page]


def test_a_wrong_request_names_every_fault(client: Any) -> None:
    with pytest.raises(vdb_sdk.ValidationError) as caught:
        client.create_library("x", id="-bad-", metric="manhattan", index="hsnw")
    assert {fault.pointer for fault in caught.value.errors} >= {"/id", "/metric"}
    assert caught.value.status == 422
    assert list(client.libraries()) == []


def test_an_unknown_index_type_names_the_known_ones(client: Any) -> None:
    with pytest.raises(vdb_sdk.ValidationError, match=r"hsnw.*brute"):
        client.create_library("x", index="hsnw")


def test_the_engine_tells_what_it_offers(client: Any) -> None:
    assert client.ready()
    types = {kind.name: kind for kind in client.index_types()}
    assert {"brute", "numpy"} <= set(types)
    assert types["brute"].capabilities["exact"] is True
    assert "cosine" in types["brute"].metrics
    plugins = client.plugins()
    assert any("index_type:brute" in plugin.provides for plugin in plugins)
    assert {plugin.state for plugin in plugins} == {"loaded"}


# Documents and chunks


@pytest.mark.parametrize("odd", ODD_IDS)
def test_any_id_works_everywhere(client: Any, odd: str) -> None:
    library = client.create_library("odd", id="odd")
    document = library.create_document(odd, metadata={"x": 1})
    assert library.get_document(odd) == document
    assert library.update_document(odd, metadata={"x": 2}).metadata == {"x": 2}
    library.upsert([{"id": odd, "embedding": [1.0, 2.0], "document_id": odd}])
    library.upsert(ids=[odd], embeddings=np.array([[1.0, 2.0]]), document_ids=[odd], texts=["t"])
    assert library.get(odd).id == odd
    assert [chunk.id for chunk in library.chunks(document_id=odd)] == [odd]
    assert library.search([1.0, 2.0], filter={"$document_id": odd, "$id": odd}).ids == [odd]
    assert library.patch(odd, text="u").text == "u"
    assert library.delete([odd]).deleted == 1
    library.delete_document(odd)
    with pytest.raises(vdb_sdk.NotFoundError):
        library.get_document(odd)


@pytest.mark.parametrize("bad", [".", "..", "x" * 257, "nul\0"])
def test_an_id_that_cannot_be_is_refused_everywhere(client: Any, bad: str) -> None:
    library = client.create_library("odd", id="odd")
    before = library.info().revision
    for call in (
        lambda: library.create_document(bad),
        lambda: library.get_document(bad),
        lambda: library.get(bad),
        lambda: library.patch(bad, text="t"),
        lambda: library.add(id=bad, embedding=[1.0]),
        lambda: library.upsert([{"id": bad, "embedding": [1.0]}]),
        lambda: library.upsert(ids=[bad], embeddings=[[1.0]]),
    ):
        with pytest.raises(vdb_sdk.ValidationError):
            call()
    assert library.info().revision == before


def test_a_chunk_lives_from_add_to_delete(client: Any) -> None:
    library = client.create_library("A", id="a")
    library.create_document("doc")
    added = library.add(id="c", embedding=[3.0, 4.0], text="t", document_id="doc", metadata={"x": 1, "y": 2})
    assert isinstance(added, vdb_sdk.Chunk)
    with pytest.raises(vdb_sdk.ConflictError):
        library.add(id="c", embedding=[3.0, 4.0])
    chunk = library.get("c")
    assert (chunk.text, chunk.document_id, chunk.metadata) == ("t", "doc", {"x": 1, "y": 2})
    assert chunk.embedding.dtype == np.float32
    assert np.allclose(chunk.embedding, [3.0, 4.0])
    patched = library.patch(
        "c", text=None, metadata={"x": None, "z": 3}, embedding=np.array([0.0, 2.0]), if_match=chunk.revision
    )
    assert (patched.text, patched.metadata) == (None, {"y": 2, "z": 3})
    assert np.allclose(library.get("c").embedding, [0.0, 2.0])
    with pytest.raises(vdb_sdk.PreconditionFailed) as caught:
        library.patch("c", text="late", if_match=chunk.revision)
    assert caught.value.code == "revision_mismatch"
    assert library.delete(["c", "never-there"]).deleted == 1
    with pytest.raises(vdb_sdk.NotFoundError) as gone:
        library.get("c")
    assert gone.value.code == "chunk_not_found"


def test_deleting_a_document_deletes_its_chunks(client: Any) -> None:
    library = client.create_library("A", id="a")
    library.upsert(
        [{"id": f"c{n}", "embedding": [1.0, float(n)], "document_id": f"d{n % 2}"} for n in range(6)],
        create_documents=True,
    )
    assert [document.id for document in library.documents(page_size=1)] == ["d0", "d1"]
    library.delete_document("d0")
    assert sorted(chunk.id for chunk in library.chunks()) == ["c1", "c3", "c5"]
    assert sorted(library.search([1.0, 0.0]).ids) == ["c1", "c3", "c5"]


def test_chunks_are_listed_by_document_and_filter_with_what_is_asked_for(library: Any) -> None:
    listed = list(library.chunks(filter={"even": True, "n": {"$lt": 10}}, page_size=2))
    assert sorted(chunk.id for chunk in listed) == ["row-0", "row-2", "row-4", "row-6", "row-8"]
    assert all(chunk.embedding is None for chunk in listed)
    (one,) = library.chunks(filter={"n": 7}, include=["embedding"])
    assert np.allclose(one.embedding, MATRIX[7], rtol=1e-5)
    assert (one.text, one.metadata) == ("text 7", {"even": False, "n": 7})


def test_deleting_by_filter(library: Any) -> None:
    assert library.delete(filter={"even": True}).deleted == 100
    assert len(list(library.chunks())) == 100
    with pytest.raises(vdb_sdk.InvalidArgument):
        library.delete()
    with pytest.raises(vdb_sdk.ValidationError):
        library.delete(filter={})
    assert library.delete(ids=[]).deleted == 0
    assert len(list(library.chunks())) == 100


# Upsert


@pytest.mark.parametrize("batch_size", [None, 7])
@pytest.mark.parametrize(
    "kind", ["dicts", "chunks", "columns", "half", "pandas", "polars", "arrow", "generator"]
)
def test_every_spelling_of_rows_stores_the_same(client: Any, kind: str, batch_size: int | None) -> None:
    count = 20
    rows = [
        {
            "id": IDS[number],
            "embedding": MATRIX[number].astype(np.float16).astype(np.float32).tolist(),
            "text": f"text {number}",
            "document_id": f"doc {number % 3}",
            "metadata": {"n": number, "name": f"n{number}"},
        }
        for number in range(count)
    ]
    flat = [{**{k: v for k, v in row.items() if k != "metadata"}, **row["metadata"]} for row in rows]
    columns = {
        "ids": [row["id"] for row in rows],
        "texts": [row["text"] for row in rows],
        "document_ids": [row["document_id"] for row in rows],
        "metadatas": [row["metadata"] for row in rows],
    }
    arguments: dict[str, Any] = {
        "dicts": {"rows": rows},
        "generator": {"rows": (row for row in rows)},
        "chunks": {
            "rows": [vdb_sdk.Chunk(**{**row, "embedding": np.array(row["embedding"])}) for row in rows]
        },
        "columns": {"embeddings": np.array([row["embedding"] for row in rows]), **columns},
        "half": {"embeddings": np.array([row["embedding"] for row in rows], np.float16), **columns},
        "pandas": {"rows": pd.DataFrame(flat)},
        "polars": {"rows": pl.DataFrame(flat)},
        "arrow": {"rows": pa.Table.from_pylist(flat)},
    }[kind]
    library = client.create_library("A", id="a")
    result = library.upsert(**arguments, create_documents=True, batch_size=batch_size)
    assert (result.created, result.updated, list(result.ids)) == (count, 0, IDS[:count])
    assert result.revision == library.info().revision
    stored = {chunk.id: chunk for chunk in library.chunks(include=["embedding"])}
    assert len(stored) == count
    for row in rows:
        chunk = stored[row["id"]]
        assert (chunk.text, chunk.document_id, chunk.metadata) == (
            row["text"],
            row["document_id"],
            row["metadata"],
        )
        assert np.allclose(chunk.embedding, row["embedding"], rtol=1e-5, atol=1e-6)


def test_upsert_replaces_and_counts(library: Any) -> None:
    result = library.upsert(ids=["row-1", "new"], embeddings=MATRIX[:2])
    assert (result.created, result.updated, result.rows) == (1, 1, 2)
    assert library.get("row-1").text is None
    assert library.upsert([]).rows == 0


def test_rows_without_ids_get_them(client: Any) -> None:
    library = client.create_library("A", id="a")
    result = library.upsert(embeddings=MATRIX[:5])
    assert len(set(result.ids)) == 5
    assert sorted(result.ids) == sorted(chunk.id for chunk in library.chunks())
    assert library.add(embedding=MATRIX[0]).id not in result.ids


@pytest.mark.parametrize("as_matrix", [False, True])
@pytest.mark.parametrize(
    ("bad", "words"),
    [([np.nan] * 8, "NaN|nan|finite"), ([1e300] * 8, "inf|finite"), ([0.0] * 8, "zero|length|norm")],
)
def test_a_bad_row_is_named_and_earlier_batches_stand(
    client: Any, as_matrix: bool, bad: list[float], words: str
) -> None:
    library = client.create_library("A", id="a")
    matrix = MATRIX.astype(np.float64)[:30].copy()
    matrix[17] = bad
    rows: dict[str, Any] = (
        {"ids": IDS[:30], "embeddings": matrix}
        if as_matrix
        else {"rows": [{"id": name, "embedding": row} for name, row in zip(IDS, matrix, strict=False)]}
    )
    with pytest.raises(vdb_sdk.ValidationError, match=words) as caught:
        library.upsert(**rows, batch_size=10)
    assert re.match(r"/(chunks|vectors)/17\b", caught.value.errors[0].pointer)
    assert caught.value.acknowledged is not None
    assert list(caught.value.acknowledged.ids) == IDS[:10]
    assert sorted(chunk.id for chunk in library.chunks()) == sorted(IDS[:10])


def test_a_wrong_dimension_in_one_row_is_named(library: Any) -> None:
    rows = [{"id": f"x{number}", "embedding": MATRIX[number]} for number in range(20)]
    rows[17]["embedding"] = [1.0, 2.0]
    before = library.info()
    with pytest.raises(vdb_sdk.ValidationError) as caught:
        library.upsert(rows)
    assert caught.value.errors[0].pointer.startswith("/chunks/17/")
    assert library.info() == before


def test_an_unknown_document_is_named(library: Any) -> None:
    with pytest.raises(vdb_sdk.NotFoundError) as caught:
        library.upsert(
            [{"id": "a", "embedding": MATRIX[0]}, {"id": "b", "embedding": MATRIX[0], "document_id": "?"}]
        )
    assert caught.value.code == "document_not_found"
    assert caught.value.errors[0].pointer.startswith("/chunks/1")


def test_an_unknown_field_of_a_row_is_named(library: Any) -> None:
    with pytest.raises(vdb_sdk.ValidationError) as caught:
        library.upsert([{"id": "a", "embedding": MATRIX[0], "colour": "red"}])
    assert "colour" in str(caught.value)


# Search


def test_search_finds_what_exact_arithmetic_finds(library: Any) -> None:
    query = GENERATOR.standard_normal(8).astype(np.float32)
    order = nearest(query)
    result = library.search(query, k=5)
    assert isinstance(result, vdb_sdk.SearchResult)
    assert result.ids == [IDS[row] for row in order[:5]]
    assert (result.index.type, result.index.exact, result.warnings) == ("brute", True, ())
    hit = result[0]
    cosine = float(query @ MATRIX[order[0]] / np.linalg.norm(query) / np.linalg.norm(MATRIX[order[0]]))
    assert hit.score == pytest.approx(cosine, abs=1e-5)
    assert hit.distance == pytest.approx(1 - cosine, abs=1e-5)
    assert (hit.text, hit.metadata["n"], hit.embedding) == (f"text {order[0]}", order[0], None)
    assert result.explain is None
    assert library.search(query.tolist(), k=5).ids == result.ids
    assert len(library.search(query, k=1000)) == 200


def test_search_is_cut_filtered_and_explained(library: Any) -> None:
    query = MATRIX[10]
    result = library.search(query, k=4, filter={"even": False, "n": {"$gte": 100}}, include=(), explain=True)
    expected = [row for row in nearest(query) if row % 2 == 1 and row >= 100][:4]
    assert result.ids == [IDS[row] for row in expected]
    assert result.explain is not None
    assert result[0].text is None
    assert result[0].metadata == {}
    cut = library.search(query, k=200, min_score=0.5)
    assert 0 < len(cut) < 200
    assert all(hit.score >= 0.5 for hit in cut)
    (hit,) = library.search(query, k=1, include=["embedding"])
    assert np.allclose(hit.embedding, query, rtol=1e-5)


def test_many_searches_answer_like_single_ones(library: Any) -> None:
    queries = GENERATOR.standard_normal((30, 8)).astype(np.float32)
    for options in (
        {},
        {"k": 3, "filter": {"even": True}},
        {"k": 3, "filter": {"n": {"$in": list(range(0, 3000, 2))}}},
        {"include": ()},
        {"min_score": 0.3},
    ):
        results = library.search_many(queries, **options)
        singles = [library.search(query, **options) for query in queries]
        assert [result.hits for result in results] == [single.hits for single in singles]
    assert [result.ids for result in library.search_many(queries.tolist())] == [
        result.ids for result in library.search_many(queries)
    ]


def test_a_search_that_makes_no_sense_says_why(library: Any) -> None:
    for call, words in (
        (lambda: library.search([1.0, 2.0]), "dimension|8"),
        (lambda: library.search(MATRIX[0], k=0), "k"),
        (lambda: library.search(MATRIX[0], filter={"n": {"$near": 1}}), r"\$near"),
        (lambda: library.search(MATRIX[0], params={"n_probe": 1}), "n_probe"),
        (lambda: library.search(MATRIX[0], include=["colour"]), "colour"),
        (lambda: library.search([0.0] * 8), "zero|norm|length"),
    ):
        with pytest.raises(vdb_sdk.ValidationError, match=words):
            call()
    with pytest.raises(vdb_sdk.InvalidArgument, match="received both"):
        library.search(MATRIX[0], text="words")
    with pytest.raises(vdb_sdk.InvalidArgument, match="one string"):
        library.search_many("words")


@pytest.mark.parametrize("place", ["memory", "server"])
def test_threads_may_share_a_client(place: str, request: pytest.FixtureRequest) -> None:
    target = None if place == "memory" else request.getfixturevalue("server").url
    with vdb_sdk.connect(target) as client, ThreadPoolExecutor(8) as pool:
        library = client.create_library("Shared")
        list(pool.map(lambda row: library.add(id=IDS[row], embedding=MATRIX[row]), range(100)))
        assert library.info().chunks == 100
        found = pool.map(lambda row: library.search(MATRIX[row], k=3).ids, range(100))
        expected = [[IDS[row] for row in nearest(query, MATRIX[:100])[:3]] for query in MATRIX[:100]]
        assert list(found) == expected
        library.drop()


@pytest.mark.parametrize("place", ["memory", "server"])
def test_tasks_may_share_a_client(place: str, request: pytest.FixtureRequest) -> None:
    target = None if place == "memory" else request.getfixturevalue("server").url

    async def run() -> None:
        async with vdb_sdk.connect_async(target) as client:
            library = await client.create_library("Shared")
            await asyncio.gather(*(library.add(id=IDS[row], embedding=MATRIX[row]) for row in range(100)))
            results = await asyncio.gather(*(library.search(MATRIX[row], k=3) for row in range(100)))
            assert [result.ids[0] for result in results] == IDS[:100]
            assert len([chunk async for chunk in library.chunks(page_size=7)]) == 100
            await library.drop()

    asyncio.run(run())


# Index, jobs, archives


def test_an_index_is_built_and_told_about(library: Any) -> None:
    reports: list[vdb_sdk.Progress] = []
    job = library.build_index("numpy", progress=reports.append)
    assert (job.state, job.progress) == ("succeeded", 1.0)
    assert job.status.finished
    assert reports[-1].finished
    status = library.index_status()
    assert (status.type, status.rows, status.delta_rows, status.dead_rows) == ("numpy", 200, 0, 0)
    assert library.search(MATRIX[3], k=1).ids == ["row-3"]
    assert library.info().index.type == "numpy"
    waiting = library.build_index("brute", wait=False)
    assert waiting.wait(30).state == "succeeded"
    assert waiting.refresh().state == "succeeded"
    with pytest.raises(vdb_sdk.ValidationError):
        library.build_index("brute", {"no_such": 1})


def test_an_unknown_job_is_not_found(client: Any) -> None:
    with pytest.raises(vdb_sdk.NotFoundError) as caught:
        client.job("no-such-job")
    assert caught.value.code == "job_not_found"


def test_an_archive_carries_a_library_to_another(client: Any, library: Any, tmp_path: Path) -> None:
    library.create_document("doc", metadata={"title": "T"})
    archive = library.export(tmp_path / "rows.tar")
    assert archive.stat().st_size > MATRIX.nbytes
    copy = client.import_library(archive, id="copy")
    assert copy.id == "copy"
    assert copy.get_document("doc").metadata == {"title": "T"}
    assert [hit.id for hit in copy.search(MATRIX[5])] == [hit.id for hit in library.search(MATRIX[5])]
    with pytest.raises(vdb_sdk.ConflictError):
        client.import_library(archive)


def test_a_snapshot_can_be_asked_for(library: Any, request: pytest.FixtureRequest) -> None:
    if "memory" in request.node.callspec.id:
        with pytest.raises(vdb_sdk.ApiError):
            library.snapshot()
    else:
        assert library.snapshot(timeout=30).state == "succeeded"


# Clients


def test_what_is_on_disk_is_there_again(tmp_path: Path) -> None:
    with vdb_sdk.connect(tmp_path / "data") as client:
        client.create_library("A", id="a").upsert(ids=IDS, embeddings=MATRIX)
    with vdb_sdk.connect(str(tmp_path / "data")) as client:
        assert client.library("a").search(MATRIX[9], k=1).ids == ["row-9"]
        with pytest.raises(vdb_sdk.EmbeddedFailed) as caught:
            vdb_sdk.connect(tmp_path / "data")
        assert caught.value.code == "data_directory_locked"


def test_a_closed_engine_says_so(connect_any: Any) -> None:
    client = connect_any()
    library = client.create_library("A", id="a")
    client.close()
    client.close()
    with pytest.raises(vdb_sdk.ClientClosed):
        library.info()


def test_a_server_with_keys_asks_for_one(start_server: Any, tmp_path: Path) -> None:
    url = start_server(
        tmp_path, VDB_API_KEY="full-key-0123456789", VDB_READ_ONLY_API_KEY="read-key-0123456789"
    )
    with vdb_sdk.connect(url) as client, pytest.raises(vdb_sdk.AuthenticationError) as caught:
        list(client.libraries())
    assert caught.value.code == "unauthorized"
    assert caught.value.request_id
    with vdb_sdk.connect(url, api_key="full-key-0123456789") as client:
        client.create_library("A", id="a").upsert(ids=IDS, embeddings=MATRIX)
    with vdb_sdk.connect(url, api_key="read-key-0123456789") as client:
        assert client.library("a").search(MATRIX[4], k=1).ids == ["row-4"]
        assert len(client.library("a").search_many(MATRIX[:5])) == 5
        with pytest.raises(vdb_sdk.PermissionDeniedError):
            client.library("a").upsert(ids=IDS[:1], embeddings=MATRIX[:1])


def test_handles_and_clients_name_themselves(connect_any: Any, tmp_path: Path) -> None:
    assert repr(connect_any()) == "Client('memory')"
    client = connect_any(tmp_path / "data")
    assert repr(client) == f"Client({str(tmp_path / 'data')!r})"
    assert repr(client.library("a")) == "LibraryHandle('a')"
