"""USearch: a graph over float32 or half-precision rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from race.peers.common import import_peer, version_of
from race.peers.contract import Axis, Sizes, Variant

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from race.data import Workload
    from race.peers.contract import Search, Setting

__all__ = ["Usearch"]


class _Graph:
    others: Mapping[str, Sequence[int]] = {}

    def __init__(self, index: Any, rows: int, *, holds_rows: bool) -> None:
        self._index: Any = index
        self._holds_rows = holds_rows
        self.axis = Axis(name="expansion", low=1, high=min(rows, 2048), at_least_k=True)

    def use(self, setting: Setting, k: int, threads: int) -> Search:
        index = self._index
        index.expansion_search = max(k, setting["expansion"])
        return lambda queries: index.search(queries, k, threads=threads).keys.reshape(len(queries), -1)

    def sizes(self) -> Sizes:
        return Sizes(total=int(self._index.memory_usage), holds_rows=self._holds_rows)

    def close(self) -> None:
        self._index.reset()


class Usearch:
    """usearch."""

    name = "usearch"

    def version(self) -> str:
        """See :class:`race.peers.contract.Peer`."""
        import_peer("usearch.index")
        return version_of("usearch")

    def variants(self, family: str, workload: Workload, *, full: bool) -> Sequence[Variant]:
        """See :class:`race.peers.contract.Peer`."""
        del workload
        if family != "ivf_pq":
            return []
        return [self._variant(kind) for kind in (("f32", "bf16", "i8") if full else ("f32",))]

    def _variant(self, kind: str) -> Variant:
        def build(workload: Workload, threads: int) -> _Graph:
            usearch = import_peer("usearch.index")
            rows, dimension = workload.rows.shape
            metric = "l2sq" if workload.metric == "l2" else "ip"
            index = usearch.Index(
                ndim=dimension, metric=metric, dtype=kind, connectivity=16, expansion_add=128
            )
            index.add(np.arange(rows), workload.rows, threads=threads)
            return _Graph(index, rows, holds_rows=kind == "f32")

        return Variant(peer=self.name, label=f"{kind}, connectivity=16, expansion_add=128", build=build)
