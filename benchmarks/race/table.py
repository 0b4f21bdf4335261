"""A run's results as Markdown, for a terminal and for a page alike."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from race.choose import EQUAL
from race.goals import FROM_ROWS, verdicts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["grid", "render"]


def render(results: Mapping[str, Any]) -> str:
    """Every table of a run."""
    machine = results["machine"]
    load = machine["load_before"]
    told = (
        f"Machine: {machine['cpu']}, {machine['cores_usable']} of {machine['cores']} cores usable, "
        f"{', '.join(machine['instruction_sets'])}; caches "
        f"{', '.join(f'{name} {size}' for name, size in machine['cache'].items()) or 'unknown'}; "
        f"load before {'unknown' if load is None else f'{load:.2f}'}; {machine['system']}, Python {machine['python']}, "
        f"NumPy {machine['numpy']}; vdb-index-rust {machine['vdb_index_rust']} ({machine['vdb_instruction_set']})"
    )
    lines = [
        told,
        f"Peers: {', '.join(f'{name} {version}' for name, version in results['peers'].items()) or 'none'}",
        *(f"Absent: {name}: {why}" for name, why in results["absent"].items()),
    ]
    for workload in results["workloads"]:
        lines += _workload(workload, machine["threads"])
    return "\n".join(lines)


def _workload(workload: Mapping[str, Any], threads: int) -> list[str]:
    title = (
        f"## {workload['name']}: {workload['rows']:,} x {workload['dimension']}, {workload['metric']}, "
        f"k = {workload['k']}, {threads} thread(s)"
    )
    method = (
        f"Medians of {workload['rounds']} interleaved rounds of searches and {workload['build_rounds']} of builds, "
        f"{workload['n_queries']:,} queries. Each side takes its first setting at or above the target recall, nothing is "
        f"interpolated; where a peer overshoots by more than {EQUAL}, vdb follows to within {EQUAL}. Ratio: the peer's "
        "time over vdb's; in brackets, the lowest and highest of a round."
    )
    lines = ["", title, "", method]
    for family in workload["families"]:
        lines += ["", f"### {family['family']}", "", *_matches(family), "", *_built(family, workload)]
        lines += [
            f"\nNot built: {each['peer']} {each['index']}: {each['why']}" for each in family["failures"]
        ]
    if workload["filtered"]:
        lines += ["", "### Filtered, beside the same search without a filter", "", *_filtered(workload)]
    if workload["scaling"]:
        lines += ["", "### Two threads", "", *_scaling(workload)]
    lines += ["", "### Goals", ""]
    if workload["rows"] < FROM_ROWS:
        lines += [
            f"They are for {FROM_ROWS:,} rows and more; here they only show where this size stands.",
            "",
        ]
    words = {True: "met", False: "MISSED", None: "open"}
    return [
        *lines,
        *grid(
            ["goal", "wanted", "measured", ""],
            [[each.line, each.goal, each.measured, words[each.met]] for each in verdicts(workload)],
        ),
    ]


def _matches(family: Mapping[str, Any]) -> list[str]:
    cells: list[list[str]] = []
    for match in family["matches"]:
        mode, theirs, ours, compared = match["mode"], match["theirs"], match["ours"], match["ratio"]
        cells.append(
            [
                "exact" if family["family"] == "brute" else f"{match['target']:g}",
                mode,
                _named(theirs) if theirs else f"{match['peer'] or 'no peer'}{_missed(match)}",
                _recall(theirs),
                _speed(theirs, mode),
                _named(ours) if ours else "not reached",
                _recall(ours),
                _speed(ours, mode),
                f"{compared['value']:.2f}x ({compared['low']:.2f}-{compared['high']:.2f})"
                if compared
                else "",
                f"{match['build_ratio']:.2f}x" if match["build_ratio"] is not None else "",
            ]
        )
    heads = ["recall", "mode", "peer", "its recall", "it takes", "vdb", "its recall", "it takes", "ratio", "build, vdb/peer"]  # fmt: skip
    return grid(heads, cells)


def _missed(match: Mapping[str, Any]) -> str:
    return ": never reaches it" if match["missed"] else ""


def _built(family: Mapping[str, Any], workload: Mapping[str, Any]) -> list[str]:
    rows_bytes = 4 * workload["rows"] * workload["dimension"]
    cells: list[list[str]] = []
    for entry in family["built"]:
        sizes = entry["sizes"]
        beside = sizes["total"] - (rows_bytes if sizes["holds_rows"] else 0)
        peak = entry["peak_bytes"]
        cells.append(
            [
                f"{entry['peer']} {entry['index']}",
                f"{statistics.median(entry['build_s']):.2f} s",
                f"{sizes['total'] / 2**20:.1f} MiB",
                f"{beside / rows_bytes:.3f}x",
                "unknown" if peak is None else f"{peak / 2**20:.1f} MiB",
                ", ".join(f"{name} {size / 2**20:.1f}" for name, size in sizes["parts"].items()),
            ]
        )
    heads = ["index", "build", "index size", "beside the float32 rows", "peak while building", "parts, MiB"]
    return grid(heads, cells)


def _filtered(workload: Mapping[str, Any]) -> list[str]:
    cells = [
        [
            f"{line['index']} {_setting(line['setting'])}".strip(),
            f"{line['share']:.0%} {line['kind']}",
            f"{statistics.median(line['single_s']) * 1e3:.3f} ms, {line['single_cost']:.2f}x",
            f"{1 / statistics.median(line['batch_s']):,.0f} q/s, {line['batch_cost']:.2f}x",
            f"{line['recall']:.4f} ({line['unfiltered_recall']:.4f})",
            "yes" if line["all_found"] else "NO",
        ]
        for line in workload["filtered"]
    ]
    heads = [
        "index",
        "rows allowed",
        "single, cost",
        "batch, cost",
        "recall (without)",
        "min(k, matches) hits",
    ]
    return grid(heads, cells)


def _scaling(workload: Mapping[str, Any]) -> list[str]:
    cells = [
        [
            line["index"],
            *(f"{line['gain'][name]:.2f}x" for name in ("batch", "build", "arithmetic", "memory")),
            f"{line['memory_gb_s']:.1f} GB/s",
        ]
        for line in workload["scaling"]
    ]
    heads = ["index", "batch", "build", "arithmetic here", "reading memory here", "one thread reads"]
    return grid(heads, cells)


def _named(point: Mapping[str, Any]) -> str:
    return f"{point['peer']} {point['index']} {_setting(point['setting'])}".strip()


def _setting(setting: Mapping[str, int]) -> str:
    return ", ".join(f"{name}={value}" for name, value in setting.items())


def _recall(point: Mapping[str, Any] | None) -> str:
    return f"{point['recall']:.4f}" if point else ""


def _speed(point: Mapping[str, Any] | None, mode: str) -> str:
    if not point:
        return ""
    seconds = statistics.median(point[f"{mode}_s"])
    return f"{seconds * 1e3:.3f} ms" if mode == "single" else f"{1 / seconds:,.0f} q/s"


def grid(heads: Sequence[str], cells: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table whose columns line up."""
    widths = [max(len(row[column]) for row in [heads, *cells]) for column in range(len(heads))]

    def line(row: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"

    return [line(heads), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *map(line, cells)]
