"""hnswlib: the graph that single queries of approximate indexes are measured against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from race.peers.common import import_peer, version_of
from race.peers.contract import Axis, Sizes, Variant

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from race.data import Workload
    from race.peers.contract import Search, Setting

__all__ = ["Hnswlib"]


class _Graph:
    others: Mapping[str, Sequence[int]] = {}

    def __init__(self, index: Any, rows: int) -> None:
        self._index: Any = index
        self.axis = Axis(name="ef", low=1, high=min(rows, 2048), at_least_k=True)

    def use(self, setting: Setting, k: int, threads: int) -> Search:
        index = self._index
        # It raises where ef is below k.
        index.set_ef(max(k, setting["ef"]))
        return lambda queries: index.knn_query(queries, k=k, num_threads=threads)[0]

    def sizes(self) -> Sizes:
        return Sizes(total=int(self._index.index_file_size()), holds_rows=True)

    def close(self) -> None:
        self._index = None


class Hnswlib:
    """hnswlib."""

    name = "hnswlib"

    def version(self) -> str:
        """See :class:`race.peers.contract.Peer`."""
        import_peer("hnswlib")
        return version_of("hnswlib")

    def variants(self, family: str, workload: Workload, *, full: bool) -> Sequence[Variant]:
        """See :class:`race.peers.contract.Peer`."""
        del workload
        if family != "ivf_pq":
            return []
        return [self._variant(degree) for degree in ((16, 32) if full else (16,))]

    def _variant(self, degree: int) -> Variant:
        def build(workload: Workload, threads: int) -> _Graph:
            hnswlib = import_peer("hnswlib")
            rows, dimension = workload.rows.shape
            # Unit rows: the inner product is the cosine, and nothing is normalized twice.
            index = hnswlib.Index(space="l2" if workload.metric == "l2" else "ip", dim=dimension)
            index.init_index(max_elements=rows, M=degree, ef_construction=200, random_seed=100)
            index.add_items(workload.rows, num_threads=threads)
            return _Graph(index, rows)

        return Variant(peer=self.name, label=f"M={degree}, ef_construction=200", build=build)
