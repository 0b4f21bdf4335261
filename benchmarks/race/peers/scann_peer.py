"""ScaNN: leaves, anisotropic hashing, re-ordering by the full rows."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from race.peers.common import import_peer, list_counts, version_of
from race.peers.contract import Axis, Sizes, Variant

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from race.data import Rows, Workload
    from race.peers.contract import Search, Setting

__all__ = ["Scann"]


class _Searcher:
    others: Mapping[str, Sequence[int]] = {"reorder": (20, 40, 80, 160, 320)}

    def __init__(self, searcher: Any, leaves: int) -> None:
        self._searcher: Any = searcher
        self.axis = Axis(name="leaves", low=1, high=leaves)

    def use(self, setting: Setting, k: int, threads: int) -> Search:
        searcher, leaves, reorder = self._searcher, setting["leaves"], max(k, setting["reorder"])
        if threads > 1:
            searcher.set_num_threads(threads)

        def search(queries: Rows) -> NDArray[Any]:
            if len(queries) == 1:
                return searcher.search(queries[0], k, reorder, leaves)[0][None]
            if threads > 1:
                return searcher.search_batched_parallel(queries, k, reorder, leaves)[0]
            return searcher.search_batched(queries, k, reorder, leaves)[0]

        return search

    def sizes(self) -> Sizes:
        # It tells no sizes, but writes all that it needs to be opened again.
        with tempfile.TemporaryDirectory() as folder:
            self._searcher.serialize(folder)
            total = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
        return Sizes(total=total, holds_rows=True)

    def close(self) -> None:
        self._searcher = None


class Scann:
    """scann."""

    name = "scann"

    def version(self) -> str:
        """See :class:`race.peers.contract.Peer`."""
        import_peer("scann")
        return version_of("scann")

    def variants(self, family: str, workload: Workload, *, full: bool) -> Sequence[Variant]:
        """See :class:`race.peers.contract.Peer`."""
        if family != "ivf_pq" or len(workload.rows) < 1_000:
            return []  # it trains 16 codewords a block and leaves of 50 rows: nothing it is for
        counts = list_counts(len(workload.rows), full=full)
        variants = [self._variant(count, soar=False) for count in counts[: 3 if full else 1]]
        if full and workload.metric != "l2":
            variants += [self._variant(count, soar=True) for count in counts[:2]]
        return variants

    def _variant(self, leaves: int, *, soar: bool) -> Variant:
        def build(workload: Workload, threads: int) -> _Searcher:
            scann: Any = import_peer("scann").scann_ops_pybind
            product = workload.metric != "l2"
            sample = min(len(workload.rows), 250_000)
            # Rows that score above the threshold get the anisotropic loss (Guo et al., ICML 2020); 0.2 is what the
            # authors publish for unit rows. SOAR (Sun et al., NeurIPS 2023) needs a product.
            threshold = 0.2 if product else float("nan")
            builder = scann.builder(workload.rows, 10, "dot_product" if product else "squared_l2")
            builder = builder.set_n_training_threads(threads)
            builder = builder.tree(
                num_leaves=leaves,
                num_leaves_to_search=max(1, leaves // 10),
                training_sample_size=sample,
                soar_lambda=1.5 if soar else None,
            )
            hashed = builder.score_ah(
                2, anisotropic_quantization_threshold=threshold, training_sample_size=min(sample, 100_000)
            )
            searcher = hashed.reorder(100).build()
            # One search before the clock stops: what is set up lazily belongs to the build.
            searcher.search(np.ascontiguousarray(workload.queries[0]), 1, 10, 1)
            return _Searcher(searcher, leaves)

        return Variant(
            peer=self.name, label=f"{leaves} leaves, AH2, reorder{', SOAR' if soar else ''}", build=build
        )
