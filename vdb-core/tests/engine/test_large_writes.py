"""Writes that get segments of their own: nobody changes their rows afterwards, and they are indexed before they count."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from vdb_core.engine import segments
from vdb_core.engine.segments import index_rows, shares

if TYPE_CHECKING:
    from collections.abc import Callable

    from vdb_core.engine.state import LibraryState
    from vdb_core.indexes import Metric
    from vdb_core.services import Services

DIMENSION = 4


@pytest.fixture
def few_rows_a_segment(monkeypatch: pytest.MonkeyPatch) -> None:
    """64 rows a segment, of which a write shares one where it has up to 10."""
    monkeypatch.setattr(segments, "_SEGMENT_ROWS", 64)
    monkeypatch.setattr(segments, "SMALL_ROWS", 10)


def state_of(services: Services) -> LibraryState:
    state = services.libraries._engine.entry("lib").state
    assert state is not None
    return state


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("rows", [1, 300])
def test_what_its_caller_does_to_a_matrix_later_changes_no_row(
    opener: Callable[..., Services], metric: Metric, rows: int
) -> None:
    services = opener()
    services.libraries.create({"id": "lib", "name": "lib", "metric": metric}).result(10)
    matrix = np.random.default_rng(7).standard_normal((rows, DIMENSION)).astype(np.float32)
    chunks = [{"id": f"c{n}"} for n in range(rows)]
    services.libraries.upsert_chunks("lib", chunks, vectors=matrix).result(10)
    last = f"c{rows - 1}"
    before = np.array(services.libraries.get_chunk("lib", last).embedding)
    score = services.queries.search("lib", {"embedding": [1.0, 2.0, 3.0, 4.0], "k": 1}).hits[0]["score"]
    matrix[:] = 9
    assert np.array_equal(services.libraries.get_chunk("lib", last).embedding, before)
    again = services.queries.search("lib", {"embedding": [1.0, 2.0, 3.0, 4.0], "k": 1})
    assert again.hits[0]["score"] == score


@pytest.mark.usefixtures("few_rows_a_segment")
@pytest.mark.parametrize("rows", [1, 10, 11, 64, 65, 74, 75, 128, 200])
def test_segments_are_indexed_when_their_write_is_visible(opener: Callable[..., Services], rows: int) -> None:
    services = opener()
    services.libraries.create({"id": "lib", "name": "lib", "metric": "l2"}).result(10)
    matrix = np.arange(rows * DIMENSION, dtype=np.float32).reshape(rows, DIMENSION)
    for first in (0, rows):
        chunks = [{"id": f"c{first + n}", "metadata": {"n": n, "odd": bool(n % 2)}} for n in range(rows)]
        services.libraries.upsert_chunks("lib", chunks, vectors=matrix).result(10)
    blocks = state_of(services).delta
    assert sum(block.rows for block in blocks) == 2 * rows
    assert [block.metadata.rows for block in blocks] == [block.rows for block in blocks]
    for n in (0, rows // 2, rows - 1):
        page = services.libraries.list_chunks("lib", filter={"n": n})
        assert [chunk.id for chunk in page.items] == [f"c{n}", f"c{rows + n}"]
    odd = services.libraries.list_chunks("lib", limit=1000, filter={"odd": True})
    assert len(odd.items) == 2 * (rows // 2)


@pytest.mark.usefixtures("few_rows_a_segment")
def test_only_what_gets_a_segment_for_itself_is_indexed_ahead() -> None:
    for rows in range(1, 200):
        metadatas = [{"n": n} for n in range(rows)]
        indexes, (documents, behind) = index_rows(DIMENSION, [None] * rows, metadatas)
        sizes = [index.rows for index in indexes]
        assert sizes == [end - begin for begin, end in shares(rows, DIMENSION) if end - begin > 10]
        assert list(behind) == metadatas[sum(sizes) :]
        assert len(documents) == len(behind)


@pytest.mark.usefixtures("few_rows_a_segment")
def test_rows_of_several_shared_segments_are_indexed(
    opener: Callable[..., Services], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it is where a row is so long that a segment takes no more of them than a small write has."""
    monkeypatch.setattr(segments, "SMALL_ROWS", 1_000)
    services = opener()
    services.libraries.create({"id": "lib", "name": "lib", "metric": "l2"}).result(10)
    chunks = [{"id": f"c{n}", "metadata": {"n": n}} for n in range(150)]
    matrix = np.ones((150, DIMENSION), dtype=np.float32)
    services.libraries.upsert_chunks("lib", chunks, vectors=matrix).result(10)
    assert [block.rows for block in state_of(services).delta] == [64, 64, 22]
    for n in (0, 63, 64, 127, 128, 149):
        page = services.libraries.list_chunks("lib", filter={"n": n})
        assert [chunk.id for chunk in page.items] == [f"c{n}"]


def test_rows_that_are_there_are_replaced_by_a_large_write(opener: Callable[..., Services]) -> None:
    services = opener()
    services.libraries.create({"id": "lib", "name": "lib", "metric": "l2"}).result(10)
    for first, value in ((0, 1.0), (200, 2.0)):
        chunks = [{"id": f"c{first + n}", "metadata": {"value": value}} for n in range(300)]
        matrix = np.full((300, DIMENSION), value, dtype=np.float32)
        result = services.libraries.upsert_chunks("lib", chunks, vectors=matrix).result(10)
        assert (result.created, result.updated) == ((300, 0) if not first else (200, 100))
    assert state_of(services).live == 500
    assert len(services.libraries.list_chunks("lib", limit=1000, filter={"value": 2.0}).items) == 300
    near = services.queries.search("lib", {"embedding": [1.0] * DIMENSION, "k": 500}).hits
    assert sum(hit["distance"] == 0 for hit in near) == 200
