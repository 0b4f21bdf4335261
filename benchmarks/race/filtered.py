"""What a filter costs: an index beside itself without one, a bitmap given, its recall against the allowed rows."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from race.measure import batch_of, batch_s, single_s, turns
from race.truth import Truth
from vdb_core.indexes import bitmap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from race.data import Workload
    from race.options import Options
    from race.peers.contract import Setting
    from race.peers.vdb import VdbIndex

__all__ = ["Filter", "draw_filters", "measure_filters"]

SHARES: Final = (0.01, 0.1, 0.5)
_SINGLES: Final = 100
_BATCH: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Rows that may be returned."""

    kind: str
    """``random``: independent of where rows lie. ``region``: rows on one side of a plane, as a topic would be."""
    share: float
    words: NDArray[np.uint64]
    truth: Truth


def draw_filters(workload: Workload, *, k: int, seed: int) -> list[Filter]:
    """Filters of each share and kind, with their exact answers."""
    random = np.random.default_rng(seed)
    rows = workload.rows
    direction = random.standard_normal(rows.shape[1]).astype(np.float32)
    orders = {"random": random.permutation(len(rows)), "region": np.argsort(rows @ direction, kind="stable")}
    filters: list[Filter] = []
    for kind, order in orders.items():
        for share in SHARES:
            allowed = np.zeros(len(rows), dtype=np.bool_)
            allowed[order[: max(1, round(share * len(rows)))]] = True
            truth = Truth.of(rows, workload.queries, metric=workload.metric, k=k, allowed=allowed)
            filters.append(Filter(kind=kind, share=share, words=bitmap.from_bool(allowed), truth=truth))
    return filters


def measure_filters(
    name: str,
    built: VdbIndex,
    setting: Setting,
    workload: Workload,
    filters: Sequence[Filter],
    options: Options,
    recall: float,
) -> list[dict[str, Any]]:
    """Race an index with each filter against itself without, at one setting; ``recall`` is that without."""
    batch = batch_of(workload.queries, _BATCH)
    singles: dict[int, list[float]] = {place: [] for place in range(-1, len(filters))}
    batches: dict[int, list[float]] = {place: [] for place in range(-1, len(filters))}
    for place in turns(list(singles), options.rounds):
        words = None if place < 0 else filters[place].words
        search = built.use(setting, options.k, options.threads, words)
        singles[place].append(single_s(search, workload.queries, _SINGLES))
        batches[place].append(batch_s(search, batch))
    lines: list[dict[str, Any]] = []
    for place, each in enumerate(filters):
        answer = built.use(setting, options.k, options.threads, each.words)(workload.queries)
        lines.append(
            {
                "index": name,
                "setting": dict(setting),
                "kind": each.kind,
                "share": each.share,
                "single_s": singles[place],
                "batch_s": batches[place],
                "unfiltered_single_s": singles[-1],
                "unfiltered_batch_s": batches[-1],
                "single_cost": statistics.median(singles[place]) / statistics.median(singles[-1]),
                "batch_cost": statistics.median(batches[place]) / statistics.median(batches[-1]),
                "recall": each.truth.recall(answer),
                "unfiltered_recall": recall,
                "all_found": bool((each.truth.hits(answer) == each.truth.k).all()),
            }
        )
    return lines
