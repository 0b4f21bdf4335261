"""Rows and queries that break careless indexes: ties, duplicates, norms far apart, one dimension, no rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from vdb_core.domain import normalize
from vdb_core.indexes import bitmap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from vdb_core.indexes import Metric

__all__ = ["PROBLEMS", "Problem", "filters", "long_problem", "make_problem"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Problem:
    """Rows to index and queries to ask."""

    name: str
    """What is special about it."""

    metric: Metric
    """The metric; under cosine rows and queries have unit length."""

    rows: NDArray[np.float32]
    """float32 ``[n, dim]``, C-contiguous, read-only."""

    queries: NDArray[np.float32]
    """float32 ``[q, dim]``, C-contiguous, read-only."""

    integral: bool
    """All numbers are small integers: float64 makes no rounding error, in whichever order it adds."""


def make_problem(name: str, metric: Metric, *, seed: int = 7) -> Problem:
    """Make one of :data:`PROBLEMS`; the same arguments give the same numbers."""
    rows, queries = PROBLEMS[name](np.random.default_rng(seed))
    if metric == "cosine":
        rows, queries = _unit(rows), _unit(queries)
    rows, queries = (np.ascontiguousarray(each, dtype=np.float32) for each in (rows, queries))
    rows.flags.writeable = queries.flags.writeable = False
    integral = name in _INTEGRAL and metric != "cosine"
    return Problem(name=name, metric=metric, rows=rows, queries=queries, integral=integral)


def long_problem(count: int, metric: Metric) -> Problem:
    """Make a problem of many rows of 256 dimensions."""
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((count, 256), dtype=np.float32)
    queries = rng.standard_normal((64, 256), dtype=np.float32)
    if metric == "cosine":
        rows, queries = normalize(rows)[0], normalize(queries)[0]
    rows.flags.writeable = False
    return Problem(name="long", metric=metric, rows=rows, queries=queries, integral=False)


def filters(rows: int) -> Iterator[tuple[str, NDArray[np.uint64]]]:
    """Iterate over bitmaps that allow none, few, half or most of the rows, and what to call them."""
    rng = np.random.default_rng(5)
    yield "none", bitmap.empty(rows)
    yield "all", bitmap.full(rows)
    if rows:
        yield "the first", bitmap.from_slots([0], rows)
        yield "the last", bitmap.from_slots([rows - 1], rows)
        yield "few", bitmap.from_slots(rng.integers(0, rows, 12), rows)
        yield "half", bitmap.from_bool(rng.random(rows) < 0.5)
        yield "all but one", bitmap.full(rows) & ~bitmap.from_slots([rows // 2], rows)


def _unit(rows: NDArray[np.floating]) -> NDArray[np.float32]:
    rows = rows.copy()
    # A zero vector has no direction, so the engine lets none through under cosine.
    rows[~rows.any(axis=1), :1] = 1
    return normalize(rows)[0]


_Pair = tuple["NDArray[np.floating]", "NDArray[np.floating]"]


def _normal(rng: np.random.Generator) -> _Pair:
    return rng.standard_normal((1500, 24)), rng.standard_normal((8, 24))


def _clusters(rng: np.random.Generator) -> _Pair:
    centers = rng.standard_normal((20, 16)) * 4
    rows = centers[rng.integers(0, 20, 2000)] + rng.standard_normal((2000, 16))
    return rows, centers[:8] + rng.standard_normal((8, 16))


def _one_dimension(rng: np.random.Generator) -> _Pair:
    return rng.standard_normal((200, 1)), rng.standard_normal((4, 1))


def _seven_dimensions(rng: np.random.Generator) -> _Pair:
    return rng.standard_normal((193, 7)), rng.standard_normal((4, 7))


def _duplicates(rng: np.random.Generator) -> _Pair:
    rows = rng.standard_normal((20, 12))[rng.integers(0, 20, 400)]
    return rows, np.concatenate((rows[:3], rng.standard_normal((3, 12))))


def _constant(rng: np.random.Generator) -> _Pair:
    return np.tile(rng.standard_normal(9), (150, 1)), rng.standard_normal((3, 9))


def _integers(rng: np.random.Generator) -> _Pair:
    return rng.integers(-2, 3, (500, 5)).astype(np.float64), rng.integers(-2, 3, (8, 5)).astype(np.float64)


def _near_ties(rng: np.random.Generator) -> _Pair:
    """Rows that differ in the last bit of one number: float32 sums cannot tell them apart, float64 sums can."""
    base = rng.standard_normal(64).astype(np.float32)
    rows = np.tile(base, (200, 1))
    at = rng.integers(0, 64, 200)
    towards = np.where(rng.random(200) < 0.5, np.float32(np.inf), np.float32(-np.inf))
    rows[np.arange(200), at] = np.nextafter(rows[np.arange(200), at], towards.astype(np.float32))
    return rows, rng.standard_normal((6, 64))


def _mixed_norms(rng: np.random.Generator) -> _Pair:
    scale = 10.0 ** rng.uniform(-12, 12, (300, 1))
    return rng.standard_normal((300, 10)) * scale, rng.standard_normal((5, 10))


def _extreme_norms(rng: np.random.Generator) -> _Pair:
    """Squares leave the range of float32 at both ends."""
    scale = 10.0 ** rng.uniform(-30, 30, (200, 1))
    return rng.standard_normal((200, 6)) * scale, rng.standard_normal((5, 6)) * 10.0 ** rng.uniform(
        -10, 30, (5, 1)
    )


def _norms_apart(rng: np.random.Generator) -> _Pair:
    """Long rows, short rows and very short queries: each metric ranks them in an order of its own."""
    scale = 10.0 ** rng.uniform(-1, 1, (1500, 1))
    return rng.standard_normal((1500, 12)) * scale, rng.standard_normal((8, 12)) * 0.01


def _zeros(rng: np.random.Generator) -> _Pair:
    rows = rng.integers(-1, 2, (130, 4)).astype(np.float64)
    rows[::3] = 0
    return rows, np.concatenate((np.zeros((1, 4)), rng.integers(-1, 2, (3, 4)).astype(np.float64)))


def _one_row(rng: np.random.Generator) -> _Pair:
    return rng.standard_normal((1, 8)), rng.standard_normal((2, 8))


def _no_rows(rng: np.random.Generator) -> _Pair:
    return np.empty((0, 5)), rng.standard_normal((2, 5))


PROBLEMS: Final[dict[str, Callable[[np.random.Generator], _Pair]]] = {
    "normal": _normal,
    "clusters": _clusters,
    "one_dimension": _one_dimension,
    "seven_dimensions": _seven_dimensions,
    "duplicates": _duplicates,
    "constant": _constant,
    "integers": _integers,
    "near_ties": _near_ties,
    "mixed_norms": _mixed_norms,
    "extreme_norms": _extreme_norms,
    "norms_apart": _norms_apart,
    "zeros": _zeros,
    "one_row": _one_row,
    "no_rows": _no_rows,
}
"""Every problem by name: makes rows ``[n, dim]`` and queries ``[q, dim]`` from a generator."""

_INTEGRAL: Final = frozenset({"integers", "zeros"})
