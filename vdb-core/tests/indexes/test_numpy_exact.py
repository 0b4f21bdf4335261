"""The oracle against rational arithmetic in plain Python, which shares no line with it."""

from __future__ import annotations

import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vdb_core.errors import BuildCancelled
from vdb_core.indexes import METRICS, NO_SLOT, Index, NumpyExactIndex, bitmap, exact_distances, numpy_exact
from vdb_core.plugins import NoParams

NUMBERS = st.floats(width=32, allow_nan=False, allow_infinity=False)


def rational_distances(rows: np.ndarray, query: np.ndarray, metric: str) -> list[Fraction]:
    wanted = [Fraction(float(number)) for number in query]
    distances = []
    for row in rows:
        pairs = [(Fraction(float(number)), other) for number, other in zip(row, wanted, strict=True)]
        if metric == "l2":
            distances.append(sum(((a - b) ** 2 for a, b in pairs), Fraction(0)))
        else:
            dot = sum((a * b for a, b in pairs), Fraction(0))
            distances.append(-dot if metric == "dot" else 1 - dot)
    return distances


@st.composite
def problems(draw: st.DrawFn, elements: st.SearchStrategy[float] = NUMBERS) -> tuple[np.ndarray, np.ndarray]:
    n, dimension = draw(st.integers(1, 20)), draw(st.sampled_from([1, 2, 7, 17]))
    rows = draw(hnp.arrays(np.float32, (n, dimension), elements=elements))
    query = draw(hnp.arrays(np.float32, (dimension,), elements=elements))
    copies = draw(st.lists(st.integers(0, n - 1), max_size=5))
    return np.concatenate((rows, rows[copies])), query


@given(problems(), st.sampled_from(METRICS))
def test_distances_agree_with_rational_arithmetic(
    problem: tuple[np.ndarray, np.ndarray], metric: str
) -> None:
    rows, query = problem
    for row, got, exact in zip(
        rows, exact_distances(rows, query, metric), rational_distances(rows, query, metric), strict=True
    ):
        terms = [Fraction(float(a)) * Fraction(float(b)) for a, b in zip(row, query, strict=True)]
        if metric == "l2":
            terms = [(Fraction(float(a)) - Fraction(float(b))) ** 2 for a, b in zip(row, query, strict=True)]
        # Each term carries at most four roundings of 2**-53 and so does each level of the sum.
        bound = (sum(map(abs, terms), Fraction(1))) * 40 * Fraction(1, 2**53)
        assert abs(Fraction(float(got)) - exact) <= bound


INTEGERS = st.integers(-3, 3).map(float)


@given(problems(INTEGERS), st.sampled_from(METRICS), st.integers(1, 30), st.data())
def test_hits_are_those_of_rational_arithmetic_ties_included(
    problem: tuple[np.ndarray, np.ndarray], metric: str, k: int, data: st.DataObject
) -> None:
    """Small integers: float64 is exact there, and ties abound."""
    rows, query = problem
    n = len(rows)
    chosen = data.draw(st.none() | st.sets(st.integers(0, n - 1)))
    allowed = None if chosen is None else bitmap.from_slots(list(chosen), n)
    slots, distances = NumpyExactIndex(rows, metric=metric).search(query[np.newaxis], k, allowed=allowed)
    exact = rational_distances(rows, query, metric)
    expected = sorted(range(n) if chosen is None else chosen, key=lambda slot: (exact[slot], slot))[:k]
    padding = k - len(expected)
    assert slots[0].tolist() == expected + [int(NO_SLOT)] * padding
    assert distances[0].tolist() == [float(exact[slot]) for slot in expected] + [np.inf] * padding


@pytest.mark.parametrize("dimension", [1, 2, 3, 7, 8, 9, 127, 128, 129, 384, 1000, 4097])
@pytest.mark.parametrize("metric", METRICS)
def test_identical_rows_have_identical_bits_wherever_they_stand(dimension: int, metric: str) -> None:
    """The rows of every block size, at every offset, and a matrix that is not aligned to anything."""
    rng = np.random.default_rng(dimension)
    row, query = rng.standard_normal((2, dimension)).astype(np.float32)
    alone = exact_distances(row[np.newaxis], query, metric)[0]
    for count in (2, 3, 5, 64, 257, 700):
        raw = np.empty(count * dimension * 4 + 4, dtype=np.uint8)[4:]
        rows = raw.view(np.float32).reshape(count, dimension)
        rows[:] = row
        assert {exact_distances(rows, query, metric).tobytes()[i * 8 : i * 8 + 8] for i in range(count)} == {
            alone.tobytes()
        }


def test_many_blocks_give_what_one_block_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    rows = rng.integers(-2, 3, (5000, 6)).astype(np.float32)
    queries = rng.integers(-2, 3, (4, 6)).astype(np.float32)
    allowed = bitmap.from_bool(rng.random(5000) < 0.7)
    index = NumpyExactIndex(rows, metric="l2")
    whole = [index.search(queries, k, allowed=a) for k in (1, 10, 6000) for a in (None, allowed)]
    monkeypatch.setattr(numpy_exact, "_CANDIDATES", 64)
    monkeypatch.setattr(numpy_exact, "_BLOCK_BYTES", 1000)
    parts = [index.search(queries, k, allowed=a) for k in (1, 10, 6000) for a in (None, allowed)]
    for one, other in zip(whole, parts, strict=True):
        assert one[0].tobytes() == other[0].tobytes()
        assert one[1].tobytes() == other[1].tobytes()


def test_memory_of_a_search_is_bounded() -> None:
    rows = np.ones((200_000, 32), dtype=np.float32)
    index = NumpyExactIndex(rows, metric="dot")
    allowed = bitmap.full(len(rows))
    tracemalloc.start()
    try:
        index.search(rows[:1], 10)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
        index.search(rows[:1], 10, allowed=allowed)
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("rows", "queries", "k"), [(0, 2, 3), (3, 0, 2), (0, 0, 1), (3, 2, 5), (1, 1, 1)])
def test_nothing_is_no_special_case(rows: int, queries: int, k: int) -> None:
    index = NumpyExactIndex(np.zeros((rows, 4), np.float32), metric="l2")
    for allowed in (None, bitmap.full(rows), bitmap.empty(rows)):
        slots, distances = index.search(np.zeros((queries, 4), np.float32), k, allowed=allowed)
        assert slots.shape == distances.shape == (queries, k)
        found = 0 if allowed is not None and not bitmap.count(allowed) else min(rows, k)
        assert (slots != NO_SLOT).sum() == found * queries
        assert np.isinf(distances).sum() == (k - found) * queries


def test_distances_beyond_float32_still_order_the_hits() -> None:
    rows = np.array([[3e38], [1e38], [2e38]], np.float32)
    slots, distances = NumpyExactIndex(rows, metric="l2").search(np.zeros((1, 1), np.float32), 3)
    assert slots.tolist() == [[1, 2, 0]]
    assert np.isinf(distances).all()


def test_build_and_close() -> None:
    rows = np.ones((3, 2), np.float32)
    arguments = {"metric": "l2", "params": NoParams(), "seed": 0, "threads": 1}
    told: list[tuple[str, int, int]] = []
    index = numpy_exact.build(
        rows, progress=lambda *args: told.append(args), cancelled=lambda: False, **arguments
    )
    assert told == [("build", 3, 3)]
    assert isinstance(index, Index)
    assert index.stats().rows == 3
    index.close()
    assert index.stats().rows == 0
    with pytest.raises(BuildCancelled):
        numpy_exact.build(rows, progress=lambda *args: None, cancelled=lambda: True, **arguments)
