"""Exact distances of chosen rows, in float64."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vdb_core.indexes import Metric

__all__ = ["pair_distances", "row_distances"]

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
