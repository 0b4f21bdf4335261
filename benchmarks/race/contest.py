"""One index type against its peers: build all, sweep all, race the best of each in turns, compare at equal recall."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from race.choose import best, ratio, required, shortlist
from race.measure import PeakMemory, batch_of, batch_s, single_s, timed, turns
from race.sweep import Sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from race.data import Workload
    from race.options import Options
    from race.peers.contract import Built, Peer, Variant
    from race.truth import Truth

    Mode = Literal["single", "batch"]

__all__ = ["Contest", "Entry", "Point"]

_MODES: Final[tuple[Mode, ...]] = ("single", "batch")
_BATCH: Final = 1000
_QUICK_SINGLES: Final = 40
_SINGLES: Final = 200
# How many of a library's candidates for a recall are raced: the quick measurement that picks them is noisy.
_PLACES: Final = 2
# A build that takes less builds nothing: plain NumPy only keeps the rows.
_NO_BUILD_S: Final = 1e-3


@dataclass(slots=True, kw_only=True, eq=False)
class Point:
    """An index at one setting."""

    entry: Entry
    setting: dict[str, int]
    recall: float
    quick_batch_s: float
    quick_single_s: float | None = None
    single_s: list[float] = field(default_factory=list)
    """A median a round."""
    batch_s: list[float] = field(default_factory=list)
    """Seconds a query, a round."""

    def quick(self, mode: Mode) -> float:
        """What the sweep saw."""
        return self.quick_batch_s if mode == "batch" or self.quick_single_s is None else self.quick_single_s

    def rounds(self, mode: Mode) -> list[float]:
        """What the race saw."""
        return self.batch_s if mode == "batch" else self.single_s

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "peer": self.entry.variant.peer,
            "index": self.entry.variant.label,
            "setting": self.setting,
            "recall": self.recall,
            "quick_batch_s": self.quick_batch_s,
            "single_s": self.single_s,
            "batch_s": self.batch_s,
        }


@dataclass(slots=True, kw_only=True, eq=False)
class Entry:
    """A variant that was built."""

    variant: Variant
    built: Built | None
    """``None`` once no point of it can win."""
    build_s: list[float]
    peak_bytes: int | None
    sizes: dict[str, Any]
    points: dict[tuple[tuple[str, int], ...], Point] = field(default_factory=dict)
    sweeps: list[tuple[dict[str, int], Sweep]] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "peer": self.variant.peer,
            "index": self.variant.label,
            "build_s": self.build_s,
            "peak_bytes": self.peak_bytes,
            "sizes": self.sizes,
        }


class Contest:
    """A family of contestants over one workload."""

    def __init__(
        self, family: str, workload: Workload, truth: Truth, options: Options, say: Callable[[str], None]
    ) -> None:
        self.family = family
        self.entries: list[Entry] = []
        self._workload = workload
        self._truth = truth
        self._options = options
        self._say = say
        self._batch = batch_of(workload.queries, _BATCH)
        self._failures: list[dict[str, str]] = []

    def run(self, ours: Peer, peers: Sequence[Peer]) -> dict[str, Any]:
        """Hold it. Indexes of ours that can still win stay open, in :attr:`entries`, until :meth:`close`."""
        targets = self._options.targets if self.family != "brute" else (1.0,)
        chosen: dict[tuple[str, float, Mode], list[Point]] = {}
        for peer in peers:
            self._enter(peer, targets, chosen)
        # Where a peer overshoots a target, ours has to follow.
        ours_targets = {target: {target} for target in targets}
        for (_, target, _), points in chosen.items():
            ours_targets[target].update(required(target, point.recall) for point in points)
        wanted = sorted({least for some in ours_targets.values() for least in some})
        self._enter(ours, wanted, chosen)
        finalists = list({id(point): point for points in chosen.values() for point in points}.values())
        self._race(finalists)
        return {
            "family": self.family,
            "built": [entry.record() for entry in self.entries],
            "failures": self._failures,
            "points": [point.record() for entry in self.entries for point in entry.points.values()],
            "matches": self._matches(ours.name, peers, targets, chosen),
        }

    def ours_at(self, target: float, name: str = "vdb") -> Point | None:
        """Our fastest finalist for single queries at a recall."""
        points = [
            point
            for entry in self.entries
            if entry.variant.peer == name and entry.built is not None
            for point in entry.points.values()
            if point.single_s
        ]
        return best(
            points, lambda point: statistics.median(point.single_s), lambda point: point.recall, target
        )

    def close(self) -> None:
        """Let go of every index."""
        for entry in self.entries:
            self._drop(entry)

    def _enter(
        self, peer: Peer, targets: Iterable[float], chosen: dict[tuple[str, float, Mode], list[Point]]
    ) -> None:
        targets = list(targets)
        mine: list[Entry] = []
        for variant in peer.variants(self.family, self._workload, full=self._options.full):
            entry = self._build(variant)
            if entry is None:
                continue
            mine.append(entry)
            self.entries.append(entry)
            self._sweep(entry, targets)
            for target in targets:
                for mode in _MODES:
                    chosen[peer.name, target, mode] = self._shortlist(mine, target, mode)
            alive = {id(point.entry) for points in chosen.values() for point in points}
            for each in mine:
                if id(each) not in alive:
                    self._drop(each)

    def _build(self, variant: Variant) -> Entry | None:
        self._say(f"{self.family}: {variant.peer} {variant.label} ...")
        with PeakMemory() as peak:
            try:
                built, took = timed(lambda: variant.build(self._workload, self._options.threads))
            except Exception as error:
                if variant.peer == "vdb":
                    raise
                why = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
                self._failures.append({"peer": variant.peer, "index": variant.label, "why": why})
                self._say(f"{self.family}: {variant.peer} {variant.label} does not build here: {why}")
                return None
        return Entry(
            variant=variant,
            built=built,
            build_s=[took],
            peak_bytes=peak.gained,
            sizes=asdict(built.sizes()),
        )

    def _sweep(self, entry: Entry, targets: Sequence[float]) -> None:
        built = entry.built
        if built is None:
            return
        if built.axis is None:
            self._quick_single(self._point(entry, {}))
            return
        axis = built.axis
        low = min(axis.high, max(axis.low, self._options.k if axis.at_least_k else 1))
        for fixed in _combinations(built.others):

            def evaluate(value: int, fixed: dict[str, int] = fixed, name: str = axis.name) -> float:
                return self._point(entry, {name: value, **fixed}).recall

            sweep = Sweep(evaluate, low, axis.high)
            # A little beyond the last target, so that curves do not end on it.
            sweep.climb(min(0.998, max(targets) + 0.01))
            for value in sweep.firsts(targets).values():
                self._quick_single(self._point(entry, {axis.name: value, **fixed}))
            entry.sweeps.append((fixed, sweep))

    def _point(self, entry: Entry, setting: dict[str, int]) -> Point:
        key = tuple(sorted(setting.items()))
        if key not in entry.points and entry.built is not None:
            search = entry.built.use(setting, self._options.k, self._options.threads)
            queries = self._workload.queries
            answer, took = timed(lambda: search(queries))
            entry.points[key] = Point(
                entry=entry,
                setting=setting,
                recall=self._truth.recall(answer),
                quick_batch_s=took / len(queries),
            )
        return entry.points[key]

    def _quick_single(self, point: Point) -> None:
        if point.quick_single_s is None and point.entry.built is not None:
            search = point.entry.built.use(point.setting, self._options.k, self._options.threads)
            point.quick_single_s = single_s(search, self._workload.queries, _QUICK_SINGLES)

    def _shortlist(self, entries: Sequence[Entry], target: float, mode: Mode) -> list[Point]:
        """The best candidates of a library for a recall: of each sweep, the first setting at or above it."""
        candidates: list[Point] = []
        for entry in entries:
            if entry.built is None:
                continue
            # Exact search in float32 may swap rows that are as good as equally near; it is exact all the same.
            reached = [
                point for point in entry.points.values() if point.recall >= target or not point.setting
            ]
            if entry.built.axis is None:
                candidates += reached
            name = entry.built.axis.name if entry.built.axis else ""
            for fixed, _ in entry.sweeps:
                of_sweep = [
                    each
                    for each in reached
                    if all(each.setting[key] == value for key, value in fixed.items())
                ]
                if of_sweep:
                    candidates.append(min(of_sweep, key=lambda each: each.setting[name]))
        for point in candidates:
            self._quick_single(point)
        unique = {id(point): point for point in candidates}.values()
        return shortlist(unique, lambda point: point.quick(mode), _PLACES)

    def _race(self, finalists: Sequence[Point]) -> None:
        self._say(f"{self.family}: {len(finalists)} finalists, {self._options.rounds} rounds ...")
        for point in turns(finalists, self._options.rounds):
            if point.entry.built is None:
                continue
            search = point.entry.built.use(point.setting, self._options.k, self._options.threads)
            point.single_s.append(single_s(search, self._workload.queries, _SINGLES))
            point.batch_s.append(batch_s(search, self._batch))
        entries = list({id(point.entry): point.entry for point in finalists}.values())
        if self._options.build_rounds > 1:
            self._say(f"{self.family}: building {len(entries)} finalists again ...")
        for entry in turns(entries, self._options.build_rounds - 1):
            again, took = timed(
                lambda entry=entry: entry.variant.build(self._workload, self._options.threads)
            )
            again.close()
            entry.build_s.append(took)

    def _matches(
        self,
        ours: str,
        peers: Sequence[Peer],
        targets: Sequence[float],
        chosen: Mapping[tuple[str, float, Mode], Sequence[Point]],
    ) -> list[dict[str, Any]]:
        own = list(
            {
                id(point): point
                for (name, _, _), points in chosen.items()
                if name == ours
                for point in points
            }.values()
        )
        raced = {entry.variant.peer for entry in self.entries}
        names = [peer.name for peer in peers if peer.name in raced] or [""]
        matches: list[dict[str, Any]] = []
        for target in targets:
            for mode in _MODES:
                for name in names:
                    points = chosen.get((name, target, mode), ())
                    match = _match(points, own, target, mode, exact=self.family == "brute")
                    missed = bool(name) and not points
                    matches.append({"target": target, "mode": mode, "peer": name, "missed": missed, **match})
        return matches

    def _drop(self, entry: Entry) -> None:
        if entry.built is not None:
            entry.built.close()
            entry.built = None


def _match(
    theirs: Sequence[Point], own: Sequence[Point], target: float, mode: Mode, *, exact: bool
) -> dict[str, Any]:
    """The best of a peer beside the best of ours that finds as much."""

    def cost(point: Point) -> float:
        return statistics.median(point.rounds(mode))

    peer = min(theirs, key=cost, default=None)
    least = 0.0 if exact else required(target, peer.recall) if peer else target
    mine = best(own, cost, lambda point: point.recall, least)
    compared = ratio(peer.rounds(mode), mine.rounds(mode)) if peer and mine else None
    return {
        "theirs": peer.record() if peer else None,
        "ours": mine.record() if mine else None,
        "ratio": asdict(compared) if compared else None,
        "build_ratio": (
            statistics.median(mine.entry.build_s) / statistics.median(peer.entry.build_s)
            if peer and mine and statistics.median(peer.entry.build_s) >= _NO_BUILD_S
            else None
        ),
    }


def _combinations(others: Mapping[str, Sequence[int]]) -> list[dict[str, int]]:
    combined: list[dict[str, int]] = [{}]
    for name, values in others.items():
        combined = [{**each, name: value} for each in combined for value in values]
    return combined
