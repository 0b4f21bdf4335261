"""The index contract: what an algorithm must offer to be served by vdb.

The engine owns ids, writes, filters, freshness and exactness; an index owns geometry. An index is built once
over a fixed matrix and never changes::

    build(vectors, *, metric, params, seed, threads, progress, cancelled) -> Index
    load(directory, vectors, *, metric, params) -> Index

    Index.search(queries, k, *, allowed=None, params=None, threads=1) -> (slots, distances)
    Index.save(directory)   Index.stats()   Index.close()
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from pydantic import BaseModel

__all__ = [
    "METRICS",
    "NO_SLOT",
    "BuildIndex",
    "Cancelled",
    "Index",
    "IndexStats",
    "LoadIndex",
    "Metric",
    "Progress",
]


Metric = Literal["cosine", "dot", "l2"]
"""``cosine``: 1 - dot of unit rows; ``dot``: negative dot product; ``l2``: squared Euclidean distance."""

METRICS: Final[tuple[Metric, ...]] = ("cosine", "dot", "l2")
"""Every metric, in the order in which they are documented."""

NO_SLOT: Final = np.uint32(0xFFFFFFFF)
"""Pads ``slots`` where fewer than ``k`` rows were found; the distance beside it is ``+inf``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexStats:
    """What an index tells about itself."""

    rows: int
    """Rows that can be found."""

    bytes: Mapping[str, int] = field(default_factory=dict)
    """Bytes of memory by part (``codes``, ``centroids``, ...), the float32 rows excluded: they are the engine's."""

    details: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)
    """Whatever the algorithm wants to say: the parameters it chose, its training error, and so on."""


@runtime_checkable
class Index(Protocol):
    """A built index. Searches run concurrently from many threads and release the GIL while they compute."""

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        allowed: NDArray[np.uint64] | None = None,
        params: BaseModel | None = None,
        threads: int = 1,
    ) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
        """Find the nearest rows of each query.

        Args:
            queries: float32 ``[q, dim]``, C-contiguous; unit length under cosine.
            k: how many rows a query, at least 1; may exceed the number of rows.
            allowed: bitmap over the rows, ``ceil(n / 64)`` words, least significant bit first, 1 = may be
                returned, bits beyond n are 0. ``None`` allows every row.
            params: an instance of the type's ``search_params``; ``None`` means its defaults.
            threads: how many threads this call may use.

        Returns:
            ``slots`` uint32 ``[q, k]`` by ascending distance, ties by the smaller slot, padded with
            :data:`NO_SLOT`; ``distances`` float32 ``[q, k]``, padded with ``+inf``.
        """
        ...

    def save(self, directory: Path) -> None:
        """Write everything that ``load`` needs, the rows excluded, into an existing empty directory."""
        ...

    def stats(self) -> IndexStats:
        """Tell rows, bytes by part and details. Cheap: the engine asks at any time."""
        ...

    def close(self) -> None:
        """Let go of the rows. Called once, after the last search."""
        ...


class Progress(Protocol):
    """Reports how far a build is; called at most ten times a second."""

    def __call__(self, phase: str, done: int, total: int) -> None:
        """Tell that so many of so many steps of a phase are done."""
        ...


class Cancelled(Protocol):
    """Tells a build whether it should stop; a build that sees true raises ``BuildCancelled``."""

    def __call__(self) -> bool:
        """Tell; cheap enough to ask every few milliseconds."""
        ...


class BuildIndex(Protocol):
    """Builds an index over rows."""

    def __call__(
        self,
        vectors: NDArray[np.float32],
        *,
        metric: Metric,
        params: BaseModel,
        seed: int,
        threads: int,
        progress: Progress,
        cancelled: Cancelled,
    ) -> Index:
        """Build over ``vectors``, float32 ``[n, dim]``, C-contiguous, read-only, possibly memory-mapped.

        The rows belong to the engine and stay unchanged until ``close()``: keep the view, make no second copy.
        The same ``vectors``, ``params`` and ``seed`` give the same index whatever ``threads`` is, where the
        type claims to be deterministic.
        """
        ...


class LoadIndex(Protocol):
    """Opens a saved index over the same rows."""

    def __call__(
        self,
        directory: Path,
        vectors: NDArray[np.float32],
        *,
        metric: Metric,
        params: BaseModel,
    ) -> Index:
        """Open what ``save`` wrote; raises ``IndexDamaged`` where the files are not what was written."""
        ...
