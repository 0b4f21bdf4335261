"""The routes one by one: status, shape, headers."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

L = "/v1/libraries/glossary"


def test_a_library_is_created_read_changed_and_deleted(client: Any) -> None:
    made = client("POST", "/v1/libraries", {"id": "a", "name": "A", "metric": "l2", "metadata": {"x": 1}})
    assert made.status == 201
    assert made.headers["location"] == "/v1/libraries/a"
    assert made.headers["etag"] == '"1"'
    library = made.json()
    assert {**library, "created_at": "", "updated_at": ""} == {
        "id": "a",
        "name": "A",
        "metric": "l2",
        "dimension": None,
        "index": {"type": library["index"]["type"], "params": {}},
        "metadata": {"x": 1},
        "embedder": None,
        "revision": 1,
        "created_at": "",
        "updated_at": "",
        "documents": 0,
        "chunks": 0,
    }
    changed = client("PATCH", "/v1/libraries/a", {"name": "B", "metadata": {"x": None, "y": [1, "z"]}})
    assert changed.status == 200
    assert changed.json()["name"] == "B"
    assert changed.json()["metadata"] == {"y": [1, "z"]}
    assert changed.headers["etag"] == '"2"'
    assert client("GET", "/v1/libraries/a").json() == changed.json()
    gone = client("DELETE", "/v1/libraries/a")
    assert (gone.status, gone.body) == (204, b"")
    assert client("GET", "/v1/libraries/a").code == "library_not_found"
    assert client("DELETE", "/v1/libraries/a").status == 404


def test_a_taken_id_is_409_without_regard_to_case(client: Any) -> None:
    assert client("POST", "/v1/libraries", {"id": "Ab", "name": "x"}).status == 201
    again = client("POST", "/v1/libraries", {"id": "aB", "name": "x"})
    assert again.status == 409
    assert again.code == "already_exists"
    assert again.pointers == ["/id"]


def test_lists_have_pages(client: Any) -> None:
    for number in range(5):
        client("POST", "/v1/libraries", {"id": f"l{number}", "name": "x"})
    seen, cursor = [], None
    while True:
        page = client("GET", f"/v1/libraries?limit=2{'&cursor=' + cursor if cursor else ''}").json()
        assert len(page["items"]) <= 2
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [f"l{number}" for number in range(5)]


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=0", "/limit"),
        ("limit=1001", "/limit"),
        ("limit=x", "/limit"),
        ("cursor=bm9uZQ", "/cursor"),
        ("cursor=", "/cursor"),
        ("limt=5", "/limt"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/libraries", f"{L}/documents", f"{L}/chunks"])
def test_a_bad_page_is_422_and_names_the_parameter(
    glossary: Any, path: str, query: str, pointer: str
) -> None:
    answer = glossary("GET", f"{path}?{query}")
    assert answer.status == 422
    assert answer.code == "validation_failed"
    assert answer.pointers == [pointer]
    assert answer.json()["errors"][0]["in"] == "query"


def test_a_document_and_its_chunks(glossary: Any) -> None:
    made = glossary("POST", f"{L}/documents", {"id": "b/2", "metadata": {"t": 1}})
    assert made.status == 201
    assert made.headers["location"] == f"{L}/documents/b%2F2"
    assert glossary("GET", made.headers["location"]).json() == made.json()
    changed = glossary("PATCH", made.headers["location"], {"metadata": {"t": 2}})
    assert changed.json()["metadata"] == {"t": 2}
    assert changed.json()["revision"] > made.json()["revision"]
    assert glossary("POST", f"{L}/documents", {"id": "b/2"}).status == 409
    assert [d["id"] for d in glossary("GET", f"{L}/documents").json()["items"]] == ["b/2", "book"]
    gone = glossary("DELETE", f"{L}/documents/book")
    assert gone.status == 200
    assert gone.json()["deleted"] == 4
    assert glossary("GET", f"{L}/chunks").json()["items"] == []
    assert glossary("GET", f"{L}/documents/book").code == "document_not_found"


def test_a_chunk_is_created_read_changed_and_deleted(glossary: Any) -> None:
    row = {"id": "x", "document_id": "book", "text": "t", "embedding": [1, 2, 2], "metadata": {"a": {"b": 1}}}
    made = glossary("POST", f"{L}/chunks", row)
    assert made.status == 201
    assert made.headers["location"] == f"{L}/chunks/x"
    assert {key: made.json()[key] for key in row} == row
    assert glossary("POST", f"{L}/chunks", row).code == "already_exists"
    vector = base64.b64encode(np.array([0, 3, 4], dtype="<f4").tobytes()).decode()
    changed = glossary("PATCH", f"{L}/chunks/x", {"embedding_b64": vector, "document_id": None})
    assert changed.status == 200
    assert changed.json()["embedding"] == [0, 3, 4]
    assert changed.json()["document_id"] is None
    assert changed.json()["text"] == "t"
    gone = glossary("DELETE", f"{L}/chunks/x")
    assert gone.json() == {"deleted": 1, "revision": changed.json()["revision"] + 1}
    assert glossary("DELETE", f"{L}/chunks/x").code == "chunk_not_found"


def test_a_chunk_list_can_be_narrowed(glossary: Any) -> None:
    listed = glossary("GET", f"{L}/chunks?filter=%7B%22n%22%3A%7B%22%24gte%22%3A2%7D%7D").json()["items"]
    assert [chunk["id"] for chunk in listed] == ["c-2", "c-3"]
    assert "embedding" not in listed[0]
    assert glossary("GET", f"{L}/chunks?include=embedding").json()["items"][2]["embedding"] == [0, 1, 0]
    assert len(glossary("GET", f"{L}/chunks?document_id=book").json()["items"]) == 4
    assert glossary("GET", f"{L}/chunks?document_id=none").status == 404
    bad = glossary("GET", f"{L}/chunks?filter=%7B%22n%22")
    assert (bad.status, bad.pointers) == (422, ["/filter"])
    operator = glossary("GET", f"{L}/chunks?filter=%7B%22n%22%3A%7B%22%24near%22%3A1%7D%7D")
    assert operator.status == 422
    assert operator.json()["errors"][0]["in"] == "query"
    assert "$gte" in operator.json()["errors"][0]["detail"]


def test_upsert_creates_and_replaces(glossary: Any) -> None:
    rows = [
        {"id": "c-0", "embedding": [0, 0, 1]},
        {"embedding": [0, 1, 1]},
        {"id": "n", "embedding": [1, 1, 1]},
    ]
    answer = glossary("POST", f"{L}/chunks/upsert", {"chunks": rows})
    assert answer.status == 200
    result = answer.json()
    assert (result["created"], result["updated"]) == (2, 1)
    assert result["ids"][0] == "c-0"
    assert result["ids"][2] == "n"
    assert glossary("GET", f"{L}/chunks/{result['ids'][1]}").status == 200
    assert glossary("GET", L).json()["revision"] == result["revision"]


def test_an_unknown_document_is_404_at_its_row_unless_documents_are_created(glossary: Any) -> None:
    rows = [{"id": "n", "embedding": [1, 1, 1]}, {"id": "m", "document_id": "new", "embedding": [1, 1, 1]}]
    refused = glossary("POST", f"{L}/chunks/upsert", {"chunks": rows})
    assert refused.code == "document_not_found"
    assert refused.status == 404
    assert refused.pointers == ["/chunks/1/document_id"]
    assert glossary("GET", f"{L}/chunks/n").status == 404
    assert glossary("POST", f"{L}/chunks/upsert", {"chunks": rows, "create_documents": True}).status == 200
    assert glossary("GET", f"{L}/documents/new").status == 200


def test_deleting_many(glossary: Any) -> None:
    assert glossary("POST", f"{L}/chunks/delete", {"ids": ["c-0", "nobody"]}).json()["deleted"] == 1
    assert glossary("POST", f"{L}/chunks/delete", {"filter": {"n": {"$lt": 3}}}).json()["deleted"] == 2
    assert [c["id"] for c in glossary("GET", f"{L}/chunks").json()["items"]] == ["c-3"]


def test_search_answers_in_the_shape_of_the_contract(glossary: Any) -> None:
    answer = glossary("POST", f"{L}/search", {"embedding": [1, 0, 0], "k": 2})
    assert answer.status == 200
    found = answer.json()
    assert set(found) == {"hits", "index", "revision", "warnings", "took_ms"}
    assert found["index"]["exact"] is True
    assert found["hits"][0] == {
        "id": "c-0",
        "document_id": "book",
        "score": 1.0,
        "distance": 0.0,
        "text": "row 0",
        "metadata": {"n": 0},
    }
    assert [hit["id"] for hit in found["hits"]] == ["c-0", "c-1"]
    narrow = glossary(
        "POST", f"{L}/search", {"embedding": [1, 0, 0], "include": [], "filter": {"n": {"$gt": 1}}}
    )
    assert [set(hit) for hit in narrow.json()["hits"]] == [{"id", "document_id", "score", "distance"}] * 2
    assert "explain" in glossary("POST", f"{L}/search", {"embedding": [1, 0, 0], "explain": True}).json()


def test_three_ways_to_ask_many_agree(glossary: Any) -> None:
    import io

    matrix = np.array([[1, 0, 0], [0, 0, 1]], dtype=np.float32)
    one_by_one = [
        glossary(
            "POST", f"{L}/search", {"embedding": row.tolist(), "k": 2, "filter": {"n": {"$gte": 1}}}
        ).json()["hits"]
        for row in matrix
    ]
    queries = [{"embedding": row.tolist(), "k": 2, "filter": {"n": {"$gte": 1}}} for row in matrix]
    batch = glossary("POST", f"{L}/search/batch", {"queries": queries}).json()["results"]
    assert [result["hits"] for result in batch] == one_by_one
    file = io.BytesIO()
    np.save(file, matrix)
    packed = glossary(
        "POST",
        f"{L}/search/batch?k=2&filter=%7B%22n%22%3A%7B%22%24gte%22%3A1%7D%7D",
        body=file.getvalue(),
        headers={"content-type": "application/x-npy"},
    )
    assert [result["hits"] for result in packed.json()["results"]] == one_by_one


@pytest.mark.parametrize("rows", [0, 1])
@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("k=0", "/k"),
        ("k=x", "/k"),
        ("kk=1", "/kk"),
        ("k=1&k=2", "/k"),
        ("filter=1", "/filter"),
        ("params=%7B%22x%22%3A1%7D", "/params/x"),
    ],
)
def test_a_matrix_with_bad_options_is_422(glossary: Any, query: str, pointer: str, rows: int) -> None:
    import io

    file = io.BytesIO()
    np.save(file, np.ones((rows, 3), dtype=np.float32))
    answer = glossary(
        "POST",
        f"{L}/search/batch?{query}",
        body=file.getvalue(),
        headers={"content-type": "application/x-npy"},
    )
    assert answer.status == 422
    assert answer.pointers == [pointer]
    assert answer.json()["errors"][0]["in"] == "query"


def test_an_index_is_built_in_the_background_or_waited_for(glossary: Any) -> None:
    accepted = glossary("POST", f"{L}/index")
    assert accepted.status == 202
    job_path = accepted.headers["location"]
    assert job_path == f"/v1/jobs/{accepted.json()['job_id']}"
    job = glossary("GET", job_path).json()
    assert job["library_id"] == "glossary"
    assert job["kind"] == "index"
    while glossary("GET", job_path).json()["finished_at"] is None:
        pass
    ended = glossary("POST", f"{L}/index", {"wait": True})
    assert (ended.status, ended.json()["state"]) == (200, "succeeded")
    status = glossary("GET", f"{L}/index").json()
    expected = {"type", "params", "state", "rows", "delta_rows", "dead_rows", "bytes", "job_id"}
    assert expected <= set(status)
    assert (status["state"], status["rows"], status["delta_rows"]) == ("ready", 4, 0)
    assert glossary("DELETE", job_path).json()["state"] == "succeeded"
    assert glossary("GET", "/v1/jobs/none").code == "job_not_found"


def test_an_unknown_index_type_or_parameter_names_the_known_ones(glossary: Any) -> None:
    unknown = glossary("POST", f"{L}/index", {"type": "hsnw"})
    assert (unknown.status, unknown.pointers) == (422, ["/type"])
    assert "numpy" in unknown.json()["detail"]
    parameter = glossary("POST", f"{L}/index", {"params": {"n_list": 4}})
    assert (parameter.status, parameter.pointers) == (422, ["/params/n_list"])
    assert glossary("POST", f"{L}/index", {"wait": 1}).pointers == ["/wait"]
    assert glossary("POST", f"{L}/index", {"speed": 1}).pointers == ["/speed"]


def test_if_match_guards_every_change(glossary: Any) -> None:
    for path, patch in (
        (L, {"name": "n"}),
        (f"{L}/documents/book", {"metadata": {"z": 1}}),
        (f"{L}/chunks/c-1", {"text": "z"}),
    ):
        etag = glossary("GET", path).headers["etag"]
        stale = glossary("PATCH", path, patch, headers={"if-match": '"99999"'})
        assert (stale.status, stale.code) == (412, "revision_mismatch")
        assert glossary("PATCH", path, patch, headers={"if-match": f"W/{etag}"}).status == 412
        assert glossary("PATCH", path, patch, headers={"if-match": etag.strip('"')}).status == 422
        fresh = glossary("PATCH", path, patch, headers={"if-match": etag})
        assert fresh.status == 200
        assert fresh.headers["etag"] != etag
        assert glossary("DELETE", path, headers={"if-match": etag}).status == 412
        assert glossary("PATCH", path, patch, headers={"if-match": "*"}).status == 200
    for path in (f"{L}/chunks/c-1", f"{L}/documents/book"):
        etag = glossary("GET", path).headers["etag"]
        assert glossary("DELETE", path, headers={"if-match": f'"not-it", {etag}'}).status == 200


def test_head_answers_as_get_without_a_body(glossary: Any) -> None:
    got, head = glossary("GET", L), glossary("HEAD", L)
    assert (head.status, head.body) == (200, b"")
    assert head.headers["etag"] == got.headers["etag"]
    assert head.headers["content-length"] == got.headers["content-length"]
    assert glossary("HEAD", "/v1/libraries/none").status == 404


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/v1/libraries", "GET, HEAD, POST"),
        ("POST", L, "DELETE, GET, HEAD, PATCH"),
        ("GET", f"{L}/search", "POST"),
        ("DELETE", "/healthz", "GET, HEAD"),
        ("POST", "/docs", "GET, HEAD"),
    ],
)
def test_another_method_is_405_and_told(glossary: Any, method: str, path: str, allow: str) -> None:
    answer = glossary(method, path)
    assert (answer.status, answer.code) == (405, "method_not_allowed")
    assert answer.headers["allow"] == allow


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/nothing", "/v1/libraries/", f"{L}/", f"{L}/chunks/a/b", "//v1/libraries"]
)
def test_where_there_is_nothing_it_says_so(glossary: Any, path: str) -> None:
    answer = glossary("GET", path)
    assert (answer.status, answer.code) == (404, "route_not_found")


def test_what_is_installed_is_told(client: Any) -> None:
    types = client("GET", "/v1/index-types").json()
    numpy_type = next(item for item in types["items"] if item["name"] == "numpy")
    assert numpy_type["capabilities"]["exact"] is True
    assert numpy_type["complexity"]["query"]
    assert numpy_type["params"]["type"] == "object"
    plugins = client("GET", "/v1/plugins").json()["items"]
    assert plugins[0]["state"] == "loaded"
    assert "index_type:numpy" in plugins[0]["provides"]


def test_a_snapshot_is_a_job(serve: Callable[..., Any], tmp_path: Any) -> None:
    with serve(data_dir=tmp_path / "data") as client:
        client("POST", "/v1/libraries", {"id": "a", "name": "A"})
        client("POST", "/v1/libraries/a/chunks", {"embedding": [1, 2]})
        assert client("POST", "/v1/libraries/a/snapshot", {"wait": True}).json()["state"] == "succeeded"
        again = client("POST", "/v1/libraries/a/snapshot")
        assert again.status == 202
        assert client("GET", again.headers["location"]).json()["state"] == "succeeded"
        assert client("POST", "/v1/libraries/a/snapshot", {"when": 1}).pointers == ["/when"]
        assert (tmp_path / "data" / "a" / "manifest.json").exists()
