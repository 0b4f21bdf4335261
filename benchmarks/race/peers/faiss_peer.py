"""FAISS: Flat, IVF-Flat, and 4-bit fast scan with re-ranking, by index factory strings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from race.peers.common import import_peer, list_counts, version_of
from race.peers.contract import Axis, Sizes, Variant

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from race.data import Rows, Workload
    from race.peers.contract import Search, Setting

__all__ = ["Faiss"]


class _FaissIndex:
    def __init__(self, faiss: Any, index: Any, *, n_lists: int | None, refined: bool) -> None:
        self._faiss = faiss
        self._index: Any = index
        self._refined = refined
        self.axis = Axis(name="nprobe", low=1, high=n_lists) if n_lists else None
        self.others: Mapping[str, Sequence[int]] = {"k_factor": (2, 4, 8, 16, 32)} if refined else {}

    def use(self, setting: Setting, k: int, threads: int) -> Search:
        faiss, index = self._faiss, self._index
        faiss.omp_set_num_threads(threads)
        if self.axis is None:
            return lambda queries: index.search(queries, k)[1]
        # Set on the index, as its users do: parameter objects would be converted in each call.
        faiss.extract_index_ivf(index).nprobe = setting["nprobe"]
        if self._refined:
            index.k_factor = float(setting["k_factor"])
        return lambda queries: index.search(queries, k)[1]

    def sizes(self) -> Sizes:
        counted = 0

        def count(data: bytes) -> int:
            nonlocal counted
            counted += len(data)
            return len(data)

        self._faiss.write_index(self._index, self._faiss.PyCallbackIOWriter(count))
        return Sizes(total=counted, holds_rows=True)

    def close(self) -> None:
        self._index = None


class Faiss:
    """faiss-cpu."""

    name = "faiss"

    def version(self) -> str:
        """See :class:`race.peers.contract.Peer`."""
        import_peer("faiss")
        return version_of("faiss-cpu")

    def variants(self, family: str, workload: Workload, *, full: bool) -> Sequence[Variant]:
        """See :class:`race.peers.contract.Peer`."""
        rows, dimension = workload.rows.shape
        counts = list_counts(rows, full=full)
        if family == "brute":
            return [self._variant("Flat", None)]
        if family == "ivf_flat":
            return [self._variant(f"IVF{count},Flat", count) for count in counts]
        # Four dimensions a piece is what FAISS's own benchmarks use; two cost twice the scan and rank better, which short
        # rows need.
        pieces = [_pieces(dimension, size) for size in ((4, 2) if full or dimension <= 192 else (4,))]
        variants = [
            self._variant(f"IVF{count},PQ{each}x4fs,RFlat", count) for each in pieces for count in counts
        ]
        if full:
            finest = counts[-1]
            variants.append(self._variant(f"IVF{finest}_HNSW32,PQ{pieces[0]}x4fs,RFlat", finest))
        return variants

    def _variant(self, factory: str, n_lists: int | None) -> Variant:
        def build(workload: Workload, threads: int) -> _FaissIndex:
            faiss = import_peer("faiss")
            faiss.omp_set_num_threads(threads)
            metric = faiss.METRIC_L2 if workload.metric == "l2" else faiss.METRIC_INNER_PRODUCT
            rows: Rows = workload.rows
            index = faiss.index_factory(rows.shape[1], factory, metric)
            index.train(rows)
            index.add(rows)
            return _FaissIndex(faiss, index, n_lists=n_lists, refined="RFlat" in factory)

        return Variant(peer=self.name, label=factory, build=build)


def _pieces(dimension: int, size: int) -> int:
    """How many pieces of about ``size`` dimensions: the greatest divisor that is no more."""
    return next(count for count in range(max(1, dimension // size), 0, -1) if dimension % count == 0)
