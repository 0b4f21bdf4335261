"""vdb's own index types, through the plugin contract: no engine, no HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from race.peers.common import list_counts, version_of
from race.peers.contract import Absent, Axis, Sizes, Variant
from vdb_core.plugins import PluginManager

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from race.data import Workload
    from race.peers.contract import Search, Setting
    from vdb_core.indexes import Index, Metric
    from vdb_core.plugins import IndexType

__all__ = ["Vdb", "VdbIndex"]


class VdbIndex:
    """An index of a plugin."""

    def __init__(self, kind: IndexType, index: Index) -> None:
        self._kind = kind
        self._index = index
        parameters = kind.search_params.model_fields
        n_lists = index.stats().details.get("n_lists")
        self.axis = Axis(name="n_probes", low=1, high=int(n_lists or 1)) if "n_probes" in parameters else None
        self.others: Mapping[str, Sequence[int]] = (
            {"rerank": (20, 40, 80, 160, 320)} if "rerank" in parameters else {}
        )

    def use(
        self, setting: Setting, k: int, threads: int, allowed: NDArray[np.uint64] | None = None
    ) -> Search:
        """See :class:`race.peers.contract.Built`; ``allowed`` is a bitmap of the rows that may be returned."""
        params, search = self._kind.search_params(**setting), self._index.search
        return lambda queries: search(queries, k, allowed=allowed, params=params, threads=threads)[0]

    def sizes(self) -> Sizes:
        """See :class:`race.peers.contract.Built`."""
        parts = dict(self._index.stats().bytes)
        return Sizes(total=sum(parts.values()), holds_rows=False, parts=parts)

    def close(self) -> None:
        """See :class:`race.peers.contract.Built`."""
        self._index.close()


class Vdb:
    """The distribution under test."""

    name = "vdb"

    def __init__(self) -> None:
        manager = PluginManager()
        manager.load()
        self._types: dict[str, Any] = {
            name: manager.index_type(name)
            for name in ("brute", "ivf_flat", "ivf_pq")
            if name in manager.index_types
        }

    def version(self) -> str:
        """See :class:`race.peers.contract.Peer`."""
        missing = {"brute", "ivf_flat", "ivf_pq"} - set(self._types)
        if missing:
            raise Absent(
                f"index types {', '.join(sorted(missing))} are not registered; install vdb-index-rust"
            )
        return version_of("vdb-index-rust")

    def variants(self, family: str, workload: Workload, *, full: bool) -> Sequence[Variant]:
        """See :class:`race.peers.contract.Peer`."""
        kind: IndexType = self._types[family]
        choices: list[dict[str, int]] = [{}]
        if "codes" in kind.params.model_fields:
            choices.append({"codes": False})
        if "n_lists" in kind.params.model_fields:
            choices += [{"n_lists": count} for count in list_counts(len(workload.rows), full=full)]
        if full and "n_subvectors" in kind.params.model_fields:
            finer = list_counts(len(workload.rows), full=True)[-1]
            choices.append({"n_lists": finer, "n_subvectors": max(1, workload.rows.shape[1] // 2)})
        return [self._variant(kind, choice) for choice in choices]

    def _variant(self, kind: IndexType, choice: dict[str, int]) -> Variant:
        told = ", ".join(f"{name}={value}" for name, value in choice.items()) or "defaults"
        plain = kind.name == "brute" and not choice

        def build(workload: Workload, threads: int) -> VdbIndex:
            index = kind.build(
                workload.rows,
                metric=cast("Metric", workload.metric),
                params=kind.params(**choice),
                seed=0,
                threads=threads,
                progress=lambda phase, done, total: None,
                cancelled=lambda: False,
            )
            return VdbIndex(kind, index)

        return Variant(peer=self.name, label=kind.name if plain else f"{kind.name} ({told})", build=build)
