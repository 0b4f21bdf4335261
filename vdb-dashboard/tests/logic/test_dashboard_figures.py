"""Projection, measuring, words, errors and lanes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vdb_sdk
from vdb_dashboard.logic import copies
from vdb_dashboard.logic.lanes import lanes
from vdb_dashboard.logic.measuring import measure, percentile, queries_near, recall
from vdb_dashboard.logic.problems import problem_of, row_faults
from vdb_dashboard.logic.projection import fit, unit_rows
from vdb_dashboard.logic.words import count, duration, plain, size
from vdb_sdk import ActiveIndex, Fault, Hit, SearchResult

NASTY = "<img src=x onerror=alert(1)> **bold** [l](http://x) :red[c] $x$ `y` ~~z~~"


@pytest.mark.parametrize("shape", [(60, 5), (5, 60)], ids=["tall", "wide"])
def test_the_map_is_that_of_the_singular_vectors(shape: tuple[int, int]) -> None:
    rows = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    plane = fit(rows)
    centred = rows.astype(np.float64) - rows.mean(axis=0, dtype=np.float64)
    _, values, axes = np.linalg.svd(centred, full_matrices=False)
    assert np.allclose(np.abs(plane.axes @ axes[:2].T), np.eye(2), atol=1e-6)
    assert plane.shown == pytest.approx((values[:2] ** 2).sum() / (values**2).sum())
    assert np.allclose(plane.apply(rows), centred @ plane.axes.T)
    np.testing.assert_array_equal(fit(rows).axes, plane.axes)


@pytest.mark.parametrize(
    "rows", [np.ones((1, 3)), np.ones((4, 3)), np.float32([[1], [2], [4]]), np.zeros((2, 2))]
)
def test_a_map_of_next_to_nothing_is_finite(rows: np.ndarray) -> None:
    plane = fit(rows.astype(np.float32))
    assert np.isfinite(plane.apply(rows.astype(np.float32))).all()
    assert 0 <= plane.shown <= 1 + 1e-9


def test_unit_rows_leave_zero_alone() -> None:
    np.testing.assert_allclose(unit_rows(np.float32([[3, 4], [0, 0]])), [[0.6, 0.8], [0, 0]], rtol=1e-6)


def test_recall_and_percentiles() -> None:
    assert recall(["a", "b"], ["b", "c"]) == 0.5
    assert recall([], []) == 1.0
    assert [percentile([3.0, 1.0, 2.0], share) for share in (0.0, 0.5, 0.99)] == [1.0, 2.0, 3.0]


def test_queries_lie_near_the_rows_and_are_always_the_same() -> None:
    rows = np.random.default_rng(2).normal(size=(50, 8)).astype(np.float32)
    queries = queries_near(rows, 20)
    assert queries.shape == (20, 8)
    np.testing.assert_array_equal(queries, queries_near(rows, 20))
    away = np.linalg.norm(queries[:, None] - rows[None], axis=2).min(axis=1)
    lengths = np.linalg.norm(rows, axis=1)
    assert (away > 0).all()
    assert (away <= 0.11 * lengths.max()).all()


def test_measuring_holds_an_index_against_exact_answers() -> None:
    rows = np.random.default_rng(3).normal(size=(6_000, 16)).astype(np.float32)
    with vdb_sdk.connect() as client:
        library = client.create_library("M")
        library.upsert(embeddings=rows)
        queries = queries_near(rows, 10)
        exact, truth = measure(library, queries, None, index="brute", k=10, params=None)
        assert (exact.recall, exact.exact, exact.setting) == (1.0, True, "default")
        library.build_index("ivf_flat", {"n_lists": 200})
        poor, _ = measure(library, queries, truth, index="ivf_flat", k=10, params={"n_probes": 1})
        full, _ = measure(library, queries, truth, index="ivf_flat", k=10, params={"n_probes": 200})
        assert poor.recall < 0.9 < full.recall == 1.0
        assert poor.setting == "n_probes=1"
        assert 0 < poor.server_ms <= poor.server_p95_ms
        assert poor.server_ms < poor.total_ms


def test_words() -> None:
    assert [count(1, "chunk"), count(12_000, "chunk"), count(2, "copy", "copies")] == [
        "1 chunk",
        "12,000 chunks",
        "2 copies",
    ]
    assert [size(0), size(1023), size(1536), size(3 * 2**30)] == [
        "0 bytes",
        "1,023 bytes",
        "1.5 KiB",
        "3.0 GiB",
    ]
    assert [duration(0.05), duration(3.21), duration(125)] == ["50 ms", "3.2 s", "2 min 5 s"]


@given(st.text())
def test_plain_text_has_no_mark_that_markdown_reads(text: str) -> None:
    shown = plain(text)
    bare = shown.replace("\\\\", "")
    for mark in "*_`[]<>$~:#":
        assert bare.count(mark) == bare.count(f"\\{mark}")
    assert "\n" not in shown


def test_an_error_of_the_server_is_told_with_code_text_and_every_fault() -> None:
    with vdb_sdk.connect() as client:
        library = client.create_library("E", dimension=2)
        with pytest.raises(vdb_sdk.ValidationError) as caught:
            library.upsert([{"id": "", "embedding": [1, 0]}, {"id": "b", "embedding": [1]}])
        problem = problem_of(caught.value)
        assert problem.title == "422 validation_failed"
        assert len(problem.faults) == 2
        told = row_faults(caught.value.errors, [10, 20])
        assert {(row, column) for row, column, _ in told} == {(10, "id"), (20, "embedding")}
        with pytest.raises(vdb_sdk.NotFoundError) as missing:
            client.library("none").info()
        assert problem_of(missing.value).title == "404 library_not_found"
        assert problem_of(missing.value).faults == ()
    assert row_faults([Fault(pointer="/chunks/7/id", detail="x", part="body")], [1]) == [
        (None, "/chunks/7/id", "x")
    ]


def test_an_error_of_the_connection_says_how_to_start_a_server() -> None:
    problem = problem_of(vdb_sdk.ConnectionFailed("refused"))
    assert problem.title == "No connection"
    assert "vdb serve" in problem.hint


def result(ids: list[str], *, exact: bool, text: str = "t") -> SearchResult:
    hits = [
        Hit(id=each, score=0.5, distance=0.5, text=text, metadata={"k": text}, document_id=text)
        for each in ids
    ]
    return SearchResult(hits=tuple(hits), index=ActiveIndex(type="x", exact=exact), revision=1, took_ms=1.0)


def test_lanes_escape_whatever_comes_from_data() -> None:
    shown = lanes([(NASTY, result([NASTY], exact=True, text=NASTY))])
    assert "<img" not in shown
    assert shown.count("&lt;img src=x onerror=alert(1)&gt;") == 5


def test_lanes_mark_what_is_not_among_the_exact_hits() -> None:
    shown = lanes([("ivf", result(["a", "c"], exact=False)), ("brute", result(["a", "b"], exact=True))])
    assert "1 of 2 exact hits" in shown
    assert shown.count("vdb-hit marked") == 1
    assert shown.index("vdb-hit marked") < shown.index(">c<")
    assert "marked" not in lanes([("ivf", result(["a", "c"], exact=False))])
    assert "Nothing matches" in lanes([("ivf", result([], exact=False))])


def test_copies_are_made_marked_renewed_and_removed() -> None:
    rows = np.random.default_rng(4).normal(size=(300, 8)).astype(np.float32)
    told: list[tuple[str, float | None]] = []
    with vdb_sdk.connect() as client:
        library = client.create_library("Lib", id="lib", metadata={"owner": "me"})
        library.create_document("d", metadata={"kind": "book"})
        library.upsert(ids=[str(n) for n in range(300)], embeddings=rows, document_ids=["d"] * 300)
        builds = {"brute": {}, "ivf_flat": {"n_lists": 4}}
        copies.make(client, "lib", builds, lambda what, share: told.append((what, share)))
        found = copies.copies_among(client.libraries(), "lib")
        assert [(copy.type, copy.ready, dict(copy.params)) for copy in found] == [
            ("brute", True, {}),
            ("ivf_flat", True, {"n_lists": 4}),
        ]
        revision = library.info().revision
        assert {copy.revision for copy in found} == {revision}
        asked = {"k": 5, "filter": {"$document.kind": "book"}}
        for copy in found:
            assert (
                client.library(copy.library.id).search(rows[0], **asked).ids
                == library.search(rows[0], **asked).ids
            )
        assert told[-1] == ("ready", 1.0)
        shares = [share for _, share in told if share is not None]
        assert shares == sorted(shares)

        library.delete(["0"])
        copies.make(client, "lib", {"brute": {}}, lambda *_: None)
        by_type = {copy.type: copy.revision for copy in copies.copies_among(client.libraries(), "lib")}
        assert by_type == {"brute": revision + 1, "ivf_flat": revision}
        assert copies.copy_of(library.info()) is None

        with pytest.raises(vdb_sdk.ValidationError):
            copies.make(client, "lib", {"ivf_pq": {"nonsense": 1}}, lambda *_: None)
        assert {each.id for each in client.libraries()} == {
            "lib",
            "lib.compare-brute",
            "lib.compare-ivf_flat",
        }
        copies.remove(client, ["lib.compare-brute", "lib.compare-brute"])


def test_the_name_of_a_copy_fits_whatever_the_type_is_called() -> None:
    name = copies.name_of("x" * 128, "weird type/ä" * 10)
    assert len(name) <= 128
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz.-_")
