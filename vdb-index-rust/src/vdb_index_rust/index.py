"""The index contract of vdb over the native classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from vdb_core.indexes import IndexStats

from vdb_index_rust import _native

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from pydantic import BaseModel
    from vdb_core.indexes import Cancelled, Metric, Progress

__all__ = ["BruteIndex", "build_brute", "load_brute"]


@final
class BruteIndex:
    """Exact search. Holds the engine's rows until :meth:`close`; copies none of them."""

    __slots__ = ("_native",)

    def __init__(self, native: _native.Index) -> None:
        self._native = native

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        allowed: NDArray[np.uint64] | None = None,
        params: BaseModel | None = None,
        threads: int = 1,
    ) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
        """Find the nearest rows of each query; see :class:`vdb_core.indexes.Index`."""
        return self._native.search(queries, k, allowed, threads)

    def save(self, directory: Path) -> None:
        """Write nothing: the vectors are all there is to this index."""

    def stats(self) -> IndexStats:
        """Tell rows, bytes of the norms (made with the first search of a small index) and the instruction set."""
        return IndexStats(**self._native.stats())

    def close(self) -> None:
        """Let go of the rows."""
        self._native.close()


def build_brute(
    vectors: NDArray[np.float32],
    *,
    metric: Metric,
    params: BaseModel,
    seed: int,
    threads: int,
    progress: Progress,
    cancelled: Cancelled,
) -> BruteIndex:
    """Get ready to search ``vectors`` exactly; see :class:`vdb_core.indexes.BuildIndex`."""
    return BruteIndex(_native.build_brute(vectors, metric, threads, progress, cancelled))


def load_brute(
    directory: Path, vectors: NDArray[np.float32], *, metric: Metric, params: BaseModel
) -> BruteIndex:
    """Open the exact index over ``vectors``; there are no files of it."""
    return BruteIndex(_native.load_brute(vectors, metric))
