"""The goals and how a run stands to them: one verdict a line, from the results alone."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["Verdict", "ratio", "verdicts"]

_QUERIES_S: Final = 3_500.0
_CHROMA: Final = 6.0
_BATCH_QUERIES_S: Final = 10_000.0
_FILTERED: Final = 2.0
_ROWS_S: Final = {"JSON": 15_000.0, ".npy": 60_000.0}
_EMBEDDED_US: Final = 150.0
_STALL: Final = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A goal beside what was measured."""

    line: str
    goal: str
    measured: str
    met: bool


def ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """The median of the ratios of each round: rounds are near in time, so what slows both cancels out."""
    return statistics.median(one / other for one, other in zip(above, below, strict=True))


def verdicts(results: Mapping[str, Any]) -> list[Verdict]:
    """Every goal that the results speak to."""
    return [
        *_searches(results.get("searches"), results["recall"]),
        *_ingest(results.get("ingest")),
        *_stall(results.get("stall")),
        *_embedded(results.get("embedded")),
    ]


def _searches(part: Mapping[str, Any] | None, wanted: float) -> Iterator[Verdict]:
    if part is None:
        return
    lines = {line["name"]: line for line in part["lines"]}
    ours = lines["vdb"]
    rate = statistics.median(ours["queries_s"])
    enough = ours["recall"] >= wanted
    yield Verdict(
        line=f"single queries as JSON, recall {ours['recall']:.3f}",
        goal=f">= {_QUERIES_S:,.0f} q/s, recall >= {wanted:g}",
        measured=f"{rate:,.0f} q/s",
        met=rate >= _QUERIES_S and enough,
    )
    if "Chroma" in lines:
        times = ratio(ours["queries_s"], lines["Chroma"]["queries_s"])
        yield Verdict(
            line=f"beside Chroma, recall {lines['Chroma']['recall']:.3f}",
            goal=f">= {_CHROMA:g}x",
            measured=f"{times:.1f}x",
            met=times >= _CHROMA and enough,
        )
    for name, line in lines.items():
        if name.startswith("vdb one third"):
            cost = ratio(ours["queries_s"], line["queries_s"])
            yield Verdict(
                line=f"{name.removeprefix('vdb ')}, recall {line['recall']:.3f}",
                goal=f"<= {_FILTERED:g}x the time without a filter",
                measured=f"{cost:.2f}x",
                met=cost <= _FILTERED,
            )
    batch = statistics.median(lines["vdb .npy batch"]["queries_s"])
    yield Verdict(
        line=".npy batches, include=[]",
        goal=f">= {_BATCH_QUERIES_S:,.0f} q/s",
        measured=f"{batch:,.0f} q/s",
        met=batch >= _BATCH_QUERIES_S and lines["vdb .npy batch"]["recall"] >= wanted,
    )


def _ingest(part: Mapping[str, Any] | None) -> Iterator[Verdict]:
    for line in () if part is None else part["lines"]:
        if line["name"] in _ROWS_S:
            rate, goal = statistics.median(line["rows_s"]), _ROWS_S[line["name"]]
            yield Verdict(
                line=f"durable writes as {line['name']}",
                goal=f">= {goal:,.0f} rows/s",
                measured=f"{rate:,.0f} rows/s",
                met=rate >= goal,
            )


def _stall(part: Mapping[str, Any] | None) -> Iterator[Verdict]:
    for line in () if part is None else part["lines"]:
        yield Verdict(
            line=f"p99 of fast searches beside {line['name']}",
            goal=f"<= {_STALL:g}x",
            measured=f"{line['ratio']:.2f}x",
            met=line["ratio"] <= _STALL,
        )


def _embedded(part: Mapping[str, Any] | None) -> Iterator[Verdict]:
    if part is not None:
        medians = part["medians_us"]
        cost = statistics.median(
            one - other for one, other in zip(medians["sdk"], medians["index"], strict=True)
        )
        yield Verdict(
            line="embedded query, over the bare index",
            goal=f"<= {_EMBEDDED_US:g} µs",
            measured=f"{cost:.0f} µs",
            met=cost <= _EMBEDDED_US,
        )
