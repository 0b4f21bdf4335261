"""The nearest rows in float64, in blocks, and recall against them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from race.data import Rows

__all__ = ["Truth"]

_BLOCK: Final = 8_192
# Contestants compute in float32: rows whose true distances are this near each other may change places.
_TIE: Final = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """How far away the k-th nearest row of each query is."""

    rows: Rows
    queries: Rows
    metric: str
    kth: NDArray[np.float64]
    """``[q]``, the distance of the k-th nearest row that may be returned."""
    k: int
    """How many there are to find: at most the number of rows that may be returned."""
    allowed: NDArray[np.bool_] | None
    """``[n]``, the rows that may be returned."""

    @classmethod
    def of(
        cls, rows: Rows, queries: Rows, *, metric: str, k: int, allowed: NDArray[np.bool_] | None = None
    ) -> Truth:
        """Compare every query with every row; ``O(q * block)`` float64 at a time.

        Raises:
            ValueError: no row may be returned.
        """
        slots = np.arange(len(rows)) if allowed is None else np.flatnonzero(allowed)
        if not len(slots):
            raise ValueError("allowed: expected one row at least, received none")
        k = min(k, len(slots))
        best = np.full((len(queries), k), np.inf)
        wide = queries.astype(np.float64)
        for start in range(0, len(slots), _BLOCK):
            block = rows[slots[start : start + _BLOCK]].astype(np.float64)
            distances = _distances(wide, wide @ block.T, block, metric)
            best = np.partition(np.concatenate([best, distances], axis=1), k - 1, axis=1)[:, :k]
        return cls(rows=rows, queries=queries, metric=metric, kth=best[:, -1], k=k, allowed=allowed)

    def hits(self, answer: NDArray[Any]) -> NDArray[np.int64]:
        """How many different rows each answer ``[q, k]`` holds, padding and rows that are not allowed left out."""
        return self._valid(np.asarray(answer).astype(np.int64)).sum(axis=1)

    def recall(self, answer: NDArray[Any]) -> float:
        """Recall@k: the share of the k nearest that was found. Rows as near as the k-th count, each once."""
        slots = np.asarray(answer).astype(np.int64)
        valid = self._valid(slots)
        found = np.where(valid, slots, 0)
        gathered = self.rows[found].astype(np.float64)
        wide = self.queries.astype(np.float64)
        products = np.einsum("qd,qkd->qk", wide, gathered)
        distances = _distances(wide, products, gathered, self.metric)
        near = distances <= (self.kth + _TIE * np.maximum(1.0, np.abs(self.kth)))[:, None]
        return float(np.minimum((near & valid).sum(axis=1), self.k).sum() / (self.k * len(slots)))

    def _valid(self, slots: NDArray[np.int64]) -> NDArray[np.bool_]:
        valid = (slots >= 0) & (slots < len(self.rows))
        if self.allowed is not None:
            valid &= self.allowed[np.where(valid, slots, 0)]
        order = np.argsort(slots, axis=1, kind="stable")
        sorted_slots = np.take_along_axis(slots, order, axis=1)
        repeated = np.zeros_like(valid)
        again = np.concatenate([np.zeros((len(slots), 1), bool), np.diff(sorted_slots) == 0], axis=1)
        np.put_along_axis(repeated, order, again, axis=1)
        return valid & ~repeated


def _distances(
    queries: NDArray[np.float64], products: NDArray[np.float64], rows: NDArray[np.float64], metric: str
) -> NDArray[np.float64]:
    """``[q, m]`` from dot products; ``rows`` is ``[m, dim]`` or ``[q, m, dim]``."""
    if metric != "l2":
        return -products
    squares = np.square(rows).sum(axis=-1)
    return squares - 2 * products + np.square(queries).sum(axis=1)[:, None]
