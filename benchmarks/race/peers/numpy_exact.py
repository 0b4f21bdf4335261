"""Plain NumPy, a float32 matrix product and a partition: the peer that is always there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from race.peers.contract import Sizes, Variant

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from race.data import Rows, Workload
    from race.peers.contract import Search, Setting

__all__ = ["Numpy"]

# A block of this many distances stays within a few hundred megabytes.
_BLOCK_DISTANCES = 1 << 25


class _Exact:
    axis = None
    others: Mapping[str, Sequence[int]] = {}

    def __init__(self, rows: Rows, metric: str) -> None:
        self._rows = rows
        self._squares = np.einsum("ij,ij->i", rows, rows) if metric == "l2" else None

    def use(self, setting: Setting, k: int, threads: int) -> Search:
        del setting, threads  # BLAS took its number of threads from the environment
        return lambda queries: self._search(queries, k)

    def sizes(self) -> Sizes:
        return Sizes(total=0 if self._squares is None else self._squares.nbytes, holds_rows=False)

    def close(self) -> None:
        self._squares = None

    def _search(self, queries: Rows, k: int) -> NDArray[Any]:
        step = max(1, _BLOCK_DISTANCES // len(self._rows))
        parts = [self._block(queries[start : start + step], k) for start in range(0, len(queries), step)]
        return np.concatenate(parts)

    def _block(self, queries: Rows, k: int) -> NDArray[Any]:
        products = queries @ self._rows.T
        distances = -products if self._squares is None else self._squares - 2 * products
        nearest = np.argpartition(distances, min(k, len(self._rows)) - 1, axis=1)[:, :k]
        order = np.argsort(np.take_along_axis(distances, nearest, axis=1), axis=1)
        return np.take_along_axis(nearest, order, axis=1)


class Numpy:
    """NumPy and its BLAS."""

    name = "numpy"

    def version(self) -> str:
        """See :class:`race.peers.contract.Peer`."""
        return np.__version__

    def variants(self, family: str, workload: Workload, *, full: bool) -> Sequence[Variant]:
        """See :class:`race.peers.contract.Peer`."""
        del workload, full
        if family != "brute":
            return []
        return [
            Variant(
                peer=self.name,
                label="matrix product",
                build=lambda workload, threads: _Exact(workload.rows, workload.metric),
            )
        ]
