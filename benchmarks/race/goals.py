"""The goals and how a run stands to them: one verdict a line, from the results alone."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["FROM_ROWS", "Verdict", "verdicts"]

FROM_ROWS: Final = 100_000
"""Below so many rows goals are shown, not claimed."""

# Ratios to the peers a goal names, at least; memory beside the float32 rows, at most.
_SPEED: Final = {
    "brute": {"single": 6.0, "batch": 4.0},
    "ivf_flat": {"single": 5.0, "batch": 4.0},
    "ivf_pq": {"single": 2.0, "batch": 2.0},
}
_RIVALS: Final = {"brute": {"faiss"}, "ivf_flat": {"faiss"}, "ivf_pq": {"faiss", "scann", "hnswlib"}}
_MEMORY: Final = {"brute": 0.3, "ivf_flat": 0.35}
_BUILD: Final = 0.7
_CODES_GB_S: Final = 1.0
_FILTER_COST: Final = 2.0
_SCALING: Final = 0.9
# Two threads that give arithmetic less than this had no second core to themselves.
_TWO_CORES: Final = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A goal beside what was measured."""

    line: str
    goal: str
    measured: str
    met: bool | None
    """``None``: the measurement cannot tell."""
    about: str
    """The same in every run, whatever peer and setting were best in it, as is ``wanted``."""
    wanted: str
    short: str
    """What was measured, in a word."""
    margin: float
    """How many times as good as the goal it is."""


def verdicts(workload: Mapping[str, Any]) -> list[Verdict]:
    """Every goal that a workload's results speak to."""
    return [
        *(each for family in workload["families"] for each in _family(family, workload)),
        *(_filtered(line) for line in workload["filtered"]),
        *(each for line in workload["scaling"] for each in _scaling(line)),
    ]


def _family(family: Mapping[str, Any], workload: Mapping[str, Any]) -> Iterator[Verdict]:
    name = family["family"]
    at: dict[tuple[float, str], list[Mapping[str, Any]]] = {}
    for match in family["matches"]:
        if match["peer"] in _RIVALS[name] and match["ratio"]:
            at.setdefault((match["target"], match["mode"]), []).append(match)
    for (target, mode), matches in at.items():
        hardest = min(matches, key=lambda match: match["ratio"]["value"])
        value, goal = hardest["ratio"]["value"], _SPEED[name][mode]
        told = "exact" if name == "brute" else f"recall {target}"
        yield Verdict(
            line=f"{name} {told}, {mode}, beside {hardest['peer']} {hardest['theirs']['index']}",
            goal=f">= {goal:g}x",
            measured=f"{value:.2f}x",
            met=value >= goal,
            about=f"{name} {told}, {mode}",
            wanted=f">= {goal:g}x",
            short=f"{value:.2f}x",
            margin=value / goal,
        )
        if name != "brute" and mode == "single":
            yield from _build(name, target, matches)
    ours = [entry for entry in family["built"] if entry["peer"] == "vdb"]
    used = {match["ours"]["index"]: match["ours"] for match in family["matches"] if match["ours"] is not None}
    rows_bytes = 4 * workload["rows"] * workload["dimension"]
    for entry in ours:
        if entry["index"] in used and name in _MEMORY:
            share = entry["sizes"]["total"] / rows_bytes
            yield Verdict(
                line=f"{entry['index']}: memory beside the rows",
                goal=f"<= {_MEMORY[name]:g}x",
                measured=f"{share:.3f}x",
                met=share <= _MEMORY[name],
                about=f"{name}: memory beside the rows",
                wanted=f"<= {_MEMORY[name]:g}x",
                short=f"{share:.3f}x",
                margin=_within(_MEMORY[name], share),
            )
        if name == "brute" and entry["sizes"]["parts"].get("codes"):
            rate = rows_bytes / statistics.median(entry["build_s"]) / 1e9
            yield Verdict(
                line="brute: codes made of rows",
                goal=f">= {_CODES_GB_S:g} GB/s",
                measured=f"{rate:.2f} GB/s",
                met=rate >= _CODES_GB_S,
                about="brute: codes made of rows",
                wanted=f">= {_CODES_GB_S:g} GB/s",
                short=f"{rate:.2f} GB/s",
                margin=rate / _CODES_GB_S,
            )


def _build(name: str, target: float, matches: Sequence[Mapping[str, Any]]) -> Iterator[Verdict]:
    """The build goals: beside the peer that searched best, or beside FAISS's fast scan."""
    if name == "ivf_pq":
        matches = [match for match in matches if match["peer"] == "faiss"]
    if not matches:
        return
    rival = min(matches, key=lambda match: statistics.median(match["theirs"]["single_s"]))
    if rival["build_ratio"] is not None:
        yield Verdict(
            line=f"{name} recall {target}, build, beside {rival['peer']} {rival['theirs']['index']}",
            goal=f"<= {_BUILD:g}x",
            measured=f"{rival['build_ratio']:.2f}x",
            met=rival["build_ratio"] <= _BUILD,
            about=f"{name}, build",
            wanted=f"<= {_BUILD:g}x",
            short=f"{rival['build_ratio']:.2f}x",
            margin=_within(_BUILD, rival["build_ratio"]),
        )


def _within(most: float, value: float) -> float:
    """The margin of what is to be small; an index that keeps nothing is infinitely good."""
    return most / value if value else math.inf


def _filtered(line: Mapping[str, Any]) -> Verdict:
    # A share of the queries' neighbours: the tolerance of equal recalls holds here too.
    holds = line["all_found"] and line["recall"] >= line["unfiltered_recall"] - 0.002
    cost = max(line["single_cost"], line["batch_cost"])
    return Verdict(
        line=f"{line['index']}, {line['share']:.0%} of rows allowed ({line['kind']})",
        goal=f"<= {_FILTER_COST:g}x, all found, recall >= {line['unfiltered_recall']:.3f}",
        measured=(
            f"{line['single_cost']:.2f}x single, {line['batch_cost']:.2f}x batch, "
            f"{'all found' if line['all_found'] else 'HITS MISSING'}, recall {line['recall']:.3f}"
        ),
        met=holds and cost <= _FILTER_COST,
        about=f"{line['index'].split()[0]}, filtered",
        wanted=f"<= {_FILTER_COST:g}x",
        short=f"{cost:.2f}x" if holds else f"{cost:.2f}x, recall {line['recall']:.3f}",
        margin=_within(_FILTER_COST, cost),
    )


def _scaling(line: Mapping[str, Any]) -> Iterator[Verdict]:
    """Which resource bounds a task is not measured: only beyond both, or below both, is the verdict certain.

    Where something else kept the second core busy, nothing is.
    """
    gain = line["gain"]
    low, high = sorted([gain["arithmetic"], gain["memory"]])
    busy = gain["arithmetic"] < _TWO_CORES
    for task in ("batch", "build"):
        met = True if gain[task] >= _SCALING * high else False if gain[task] < _SCALING * low else None
        met = None if busy else met
        yield Verdict(
            line=f"{line['index']}, {task} on two threads",
            goal=f">= {_SCALING:g} of arithmetic {gain['arithmetic']:.2f}x or memory {gain['memory']:.2f}x",
            measured=f"{gain[task]:.2f}x{', but the machine had no second core free' if busy else ''}",
            met=met,
            about=f"{line['index'].split()[0]}, {task} on two threads",
            wanted=f">= {_SCALING:g} of what bounds it",
            short=f"{gain[task]:.2f}x",
            margin=gain[task] / (_SCALING * (high if met else low)),
        )
