"""What was run and what was caught, kept by the tests and printed at the end of the run."""

from __future__ import annotations

__all__ = ["figures", "table"]

_rows: list[tuple[str, str]] = []


def figures(what: str, **counts: object) -> None:
    """Add a line: what was done, and counts of it."""
    _rows.append((what, ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in counts.items())))


def table() -> list[str]:
    """The lines, aligned."""
    width = max((len(what) for what, _ in _rows), default=0)
    return [f"{what:<{width}}  {counts}" for what, counts in _rows]
