"""Exact search: which kernel it uses, and exact distances of chosen rows."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, final

import numpy as np

from vdb_core.indexes import NumpyExactIndex

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from vdb_core.indexes import Index, Metric
    from vdb_core.plugins import IndexType, PluginManager

__all__ = ["ExactKernel", "pair_distances", "row_distances"]

_log = logging.getLogger(__name__)
_BLOCK_BYTES: Final = 8 << 20


def pair_distances(
    queries: NDArray[np.float32], rows: NDArray[np.float32], metric: Metric
) -> NDArray[np.float64]:
    """Distances of query i and row i in float64.

    Args:
        queries: float32 ``[m, dim]``.
        rows: float32 ``[m, dim]``.
        metric: which distance.

    Returns:
        float64 ``[m]``: squared Euclidean distance, negative dot product, or 1 - dot product.
    """
    result = np.empty(len(rows), dtype=np.float64)
    step = max(1, _BLOCK_BYTES // (8 * max(1, rows.shape[1])))
    for begin in range(0, len(rows), step):
        part = slice(begin, begin + step)
        left = queries[part].astype(np.float64)
        right = rows[part].astype(np.float64)
        if metric == "l2":
            left -= right
            result[part] = np.multiply(left, left, out=left).sum(axis=1)
        else:
            result[part] = np.multiply(left, right, out=left).sum(axis=1)
    if metric == "dot":
        return -result
    if metric == "cosine":
        return 1.0 - result
    return result


def row_distances(
    query: NDArray[np.float32], rows: NDArray[np.float32], metric: Metric
) -> NDArray[np.float64]:
    """Distances of one query and few rows in float64: to the bit what :func:`pair_distances` makes of them.

    Args:
        query: float32 ``[1, dim]``.
        rows: float32 ``[m, dim]``, as many as are fine to have in memory twice.
        metric: which distance.
    """
    right = rows.astype(np.float64)
    left = query.astype(np.float64)
    # Sums row by row, and no matrix product, whose rounding depends on where a row stands: equal rows tie.
    if metric == "l2":
        np.subtract(left, right, out=right)
        return np.add.reduce(np.multiply(right, right, out=right), axis=1)
    products = np.add.reduce(np.multiply(left, right, out=right), axis=1)
    return -products if metric == "dot" else 1.0 - products


def _no_progress(phase: str, done: int, total: int) -> None:
    """Exact indexes over a segment take no time worth telling."""
    del phase, done, total


@final
class ExactKernel:
    """Builds exact indexes over rows: ``brute`` where it is installed, NumPy otherwise."""

    def __init__(self, plugins: PluginManager, *, threads: int) -> None:
        kind = plugins.index_types.get("brute")
        self._type: IndexType | None = kind if kind is not None and kind.capabilities.exact else None
        self._threads = threads

    @property
    def name(self) -> str:
        """The index type that serves exact searches."""
        return "numpy" if self._type is None else self._type.name

    def builder(self, metric: Metric) -> Callable[[NDArray[np.float32]], Index]:
        """A function from rows to an exact index over them."""

        def build(vectors: NDArray[np.float32]) -> Index:
            kind = self._type
            if kind is not None and metric in kind.metrics:
                # A base under another index is searched exactly now and then: that is worth no codes of all its rows.
                spare = {"codes": False} if "codes" in kind.params.model_fields else {}
                try:
                    return kind.build(
                        vectors,
                        metric=metric,
                        params=kind.params.model_validate(spare),
                        seed=0,
                        threads=self._threads,
                        progress=_no_progress,
                        cancelled=lambda: False,
                    )
                except Exception:  # noqa: BLE001 - whatever a plugin raises, NumPy serves
                    _log.exception("index type %r failed; NumPy serves exact searches instead", kind.name)
            return NumpyExactIndex(vectors, metric=metric)

        return build
