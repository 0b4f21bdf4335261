"""The exact index in NumPy: the oracle of the conformance kit, and what serves when a plugin is missing.

It defines what exact means: float64 arithmetic on the stored float32 rows, summed the same way for every row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

import numpy as np

from vdb_core.errors import BuildCancelled
from vdb_core.indexes import bitmap
from vdb_core.indexes.contract import NO_SLOT, IndexStats

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from pydantic import BaseModel

    from vdb_core.indexes.contract import Cancelled, Metric, Progress

__all__ = ["NumpyExactIndex", "build", "exact_distances", "load"]

# Half of a common second-level cache: twice as fast as one pass over everything, and bounded memory.
_BLOCK_BYTES: Final = 1 << 18
# Candidates of one query that are kept before they are cut back to k.
_CANDIDATES: Final = 1 << 16


def exact_distances(
    rows: NDArray[np.float32], query: NDArray[np.float32], metric: Metric
) -> NDArray[np.float64]:
    """Distances of rows ``[m, d]`` to a query ``[d]``, float64 ``[m]``: what exact means.

    Squared Euclidean distance under ``l2``, the negative dot product under ``dot``, 1 - dot under ``cosine``
    (whose rows and query are unit vectors already). Smaller is closer.

    Products and sums are float64, each row's summed pairwise by itself. No BLAS: its order of summation depends on
    where a row stands, and then two identical rows would differ in the last bit and ties would be chance.
    """
    count, dimension = rows.shape
    distances = np.empty(count, dtype=np.float64)
    wide = query.astype(np.float64)
    step = max(1, _BLOCK_BYTES // (8 * max(1, dimension)))
    buffer = np.empty((min(step, count), dimension), dtype=np.float64)
    for begin in range(0, count, step):
        block = rows[begin : begin + step]
        terms = buffer[: len(block)]
        # A copy, then arithmetic in place: faster than a ufunc that casts while it computes.
        terms[:] = block
        if metric == "l2":
            np.subtract(terms, wide, out=terms)
            np.multiply(terms, terms, out=terms)
        else:
            np.multiply(terms, wide, out=terms)
        np.add.reduce(terms, axis=1, out=distances[begin : begin + step])
    if metric == "dot":
        np.negative(distances, out=distances)
    elif metric == "cosine":
        np.subtract(1.0, distances, out=distances)
    return distances


@final
class NumpyExactIndex:
    """Compares a query with every allowed row. Exact, filters natively, deterministic; keeps nothing but the view.

    # Complexity
    Build O(1), query O(n d), space O(1).
    """

    __slots__ = ("_metric", "_vectors")

    def __init__(self, vectors: NDArray[np.float32], *, metric: Metric) -> None:
        self._vectors = vectors
        self._metric: Metric = metric

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        allowed: NDArray[np.uint64] | None = None,
        params: BaseModel | None = None,
        threads: int = 1,
    ) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
        """Find the nearest rows of each query; see ``Index.search``. Uses one thread, whatever ``threads`` is."""
        del params, threads
        count = len(queries)
        slots = np.full((count, k), NO_SLOT, dtype=np.uint32)
        distances = np.full((count, k), np.inf, dtype=np.float32)
        chosen = None if allowed is None else bitmap.to_slots(allowed)
        for position in range(count):
            found, exact = self._nearest(queries[position], k, chosen)
            slots[position, : len(found)] = found
            with np.errstate(over="ignore"):
                distances[position, : len(found)] = exact
        return slots, distances

    def _nearest(
        self, query: NDArray[np.float32], k: int, chosen: NDArray[np.int64] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Slots and float64 distances of the k nearest rows, by ascending distance, then slot."""
        total = len(self._vectors) if chosen is None else len(chosen)
        best = np.empty(0, dtype=np.int64)
        best_distances = np.empty(0, dtype=np.float64)
        step = max(_CANDIDATES, k)
        for begin in range(0, total, step):
            end = min(begin + step, total)
            if chosen is None:
                block = np.arange(begin, end, dtype=np.int64)
                near = exact_distances(self._vectors[begin:end], query, self._metric)
            else:
                block = chosen[begin:end]
                near = self._gathered(block, query)
            best = np.concatenate((best, block))
            best_distances = np.concatenate((best_distances, near))
            kept = _smallest(best_distances, k)
            best, best_distances = best[kept], best_distances[kept]
        return best, best_distances

    def _gathered(self, slots: NDArray[np.int64], query: NDArray[np.float32]) -> NDArray[np.float64]:
        """Distances of the rows at the given slots; rows are copied a block at a time."""
        distances = np.empty(len(slots), dtype=np.float64)
        step = max(1, 4 * _BLOCK_BYTES // (4 * max(1, self._vectors.shape[1])))
        for begin in range(0, len(slots), step):
            rows = self._vectors[slots[begin : begin + step]]
            distances[begin : begin + step] = exact_distances(rows, query, self._metric)
        return distances

    def save(self, directory: Path) -> None:
        """Write nothing: the rows are the engine's, and there is nothing beside them."""
        del directory

    def stats(self) -> IndexStats:
        """Tell the number of rows."""
        return IndexStats(rows=len(self._vectors))

    def close(self) -> None:
        """Let go of the rows."""
        # Not a slice: that would hold on to the memory of the whole.
        self._vectors = np.empty((0, self._vectors.shape[1]), dtype=np.float32)


def _smallest(distances: NDArray[np.float64], k: int) -> NDArray[np.intp]:
    """Positions of the k smallest, ascending; of equal ones the earlier first (positions ascend with slots)."""
    if k < len(distances):
        border = np.partition(distances, k - 1)[k - 1]
        # Every value up to the border, ties included: a partition alone would keep any of them.
        candidates = np.flatnonzero(distances <= border)
        return candidates[np.argsort(distances[candidates], kind="stable")[:k]]
    return np.argsort(distances, kind="stable")


def build(
    vectors: NDArray[np.float32],
    *,
    metric: Metric,
    params: BaseModel,
    seed: int,
    threads: int,
    progress: Progress,
    cancelled: Cancelled,
) -> NumpyExactIndex:
    """Make the index; see ``BuildIndex``."""
    del params, seed, threads
    if cancelled():
        raise BuildCancelled("the build was cancelled before it began")
    progress("build", len(vectors), len(vectors))
    return NumpyExactIndex(vectors, metric=metric)


def load(
    directory: Path,
    vectors: NDArray[np.float32],
    *,
    metric: Metric,
    params: BaseModel,
) -> NumpyExactIndex:
    """Open the index; see ``LoadIndex``. Nothing is read: nothing was written."""
    del directory, params
    return NumpyExactIndex(vectors, metric=metric)
