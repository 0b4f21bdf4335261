"""A run's results as Markdown, for a terminal and for a page alike."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from road.goals import verdicts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["render"]


def render(results: Mapping[str, Any]) -> str:
    """Every table of a run."""
    machine = results["machine"]
    load = machine["load_before"]
    lines = [
        (
            f"Machine: {machine['cpu']}, {machine['cores_usable']} of {machine['cores']} cores usable; load before "
            f"{'unknown' if load is None else f'{load:.2f}'}; {machine['system']}, Python {machine['python']}. "
            f"Data: {results['data']}, {results['rows']:,} x {results['dimension']}, cosine, top {results['k']}; "
            f"{results['connections']} connections, {results['rounds']} rounds. Medians; in brackets the least and the most."
        ),
    ]
    if (part := results.get("searches")) is not None:
        rows = [
            [
                line["name"],
                _spread(line["queries_s"]),
                "" if line["recall"] is None else f"{line['recall']:.3f}",
                f"{statistics.median(line['p50_us']) / 1e3:.2f}",
                f"{statistics.median(line['p99_us']) / 1e3:.2f}",
                line["setting"],
            ]
            for line in part["lines"]
        ]
        head = ["searches", "queries/s", "recall", "p50 ms", "p99 ms", "at"]
        lines += ["", *_grid(head, rows), *_absent(part)]
    if (part := results.get("ingest")) is not None:
        rows = [[line["name"], _spread(line["rows_s"])] for line in part["lines"]]
        head = [f"writes, {part['clients']} clients", "rows/s"]
        lines += ["", *_grid(head, rows), *_absent(part)]
    if (part := results.get("stall")) is not None:
        alone = [["alone", _spread(part["alone_p99_us"]), "", ""]]
        rows = [
            [
                f"beside {line['name']}",
                _spread([one["p99_us"] for one in line["rounds"]]),
                f"{line['ratio']:.2f}x",
                f"{statistics.median(one['slow_p50_us'] for one in line['rounds']) / 1e3:.1f}",
            ]
            for line in part["lines"]
        ]
        lines += [
            "",
            *_grid(["fast searches", "p99 µs", "beside alone", "the slow one's p50, ms"], alone + rows),
        ]
    if (part := results.get("embedded")) is not None:
        names = {"sdk": "vdb_sdk, embedded", "index": "the index alone"}
        rows = [[names[name], _spread(measured)] for name, measured in part["medians_us"].items()]
        lines += ["", *_grid(["one query, in process", "µs"], rows)]
    words = {True: "met", False: "MISSED"}
    goals = [[each.line, each.goal, each.measured, words[each.met]] for each in verdicts(results)]
    return "\n".join([*lines, "", *_grid(["goal", "wanted", "measured", ""], goals)])


def _absent(part: Mapping[str, Any]) -> Iterator[str]:
    for name, why in part["absent"].items():
        yield f"\nNot measured: {name}: {why}"


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):,.0f} ({min(values):,.0f} to {max(values):,.0f})"


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
