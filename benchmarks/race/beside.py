"""The goals of several runs beside each other: a line a goal, a column a run, and of lines that differ in a setting the worst."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from race.goals import verdicts
from race.table import grid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from race.goals import Verdict

__all__ = ["render"]

_BY_GRAVITY: Final = (False, None, True)
_FORM: Final = {True: "{}", None: "{} (open)", False: "**{}**"}


def render(runs: Mapping[str, Mapping[str, Any]]) -> str:
    """Results by the names of their runs, as Markdown: a missed goal is bold."""
    tables: dict[str, dict[str, dict[str, Verdict]]] = {}
    for run, results in runs.items():
        for workload in results["workloads"]:
            title = (
                f"{workload['name']}: {workload['rows']:,} x {workload['dimension']}, {workload['metric']}"
            )
            tables.setdefault(title, {})[run] = _worst(verdicts(workload))
    return "\n\n".join("\n".join([f"## {title}", "", *_table(columns)]) for title, columns in tables.items())


def _worst(each: Sequence[Verdict]) -> dict[str, Verdict]:
    worst: dict[str, Verdict] = {}
    for verdict in sorted(each, key=lambda verdict: (_BY_GRAVITY.index(verdict.met), verdict.margin)):
        worst.setdefault(verdict.about, verdict)
    return {verdict.about: worst[verdict.about] for verdict in each}


def _table(columns: Mapping[str, Mapping[str, Verdict]]) -> list[str]:
    wanted = {about: verdict.wanted for column in columns.values() for about, verdict in column.items()}

    def told(verdict: Verdict | None) -> str:
        return _FORM[verdict.met].format(verdict.short) if verdict else ""

    cells = [
        [about, goal, *(told(column.get(about)) for column in columns.values())]
        for about, goal in wanted.items()
    ]
    return grid(["goal", "wanted", *columns], cells)
