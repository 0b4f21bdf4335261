"""What the command prints: tables and bars in a terminal, plain lines elsewhere, JSON where asked for."""

from __future__ import annotations

import json
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NoReturn, Protocol

import typer

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

__all__ = ["Failure", "Reporter", "fail", "line", "print_json", "progress", "table", "warn"]

_INTERVAL_S: Final = 2.0


class Failure(Exception):
    """Something that ends the command with a message instead of a traceback."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


class Reporter(Protocol):
    """Takes in how far a piece of work is."""

    def __call__(self, done: float, *, total: float | None = None, what: str | None = None) -> None:
        """Say how much of ``total`` is done, and at what the work is."""
        ...


def line(text: str) -> None:
    """Print a line of what was asked for."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def warn(text: str) -> None:
    """Print a line beside what was asked for."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def fail(message: str, code: int = 1) -> NoReturn:
    """End the command."""
    warn(f"vdb: {message}")
    raise typer.Exit(code)


def print_json(value: object) -> None:
    """Print JSON that other programs read."""
    line(json.dumps(value, ensure_ascii=False, indent=2))


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows: as a table in a terminal, with tabs elsewhere."""
    shown = [["" if cell is None else str(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for row in [list(columns), *shown]:
            line("\t".join(cell.replace("\t", " ").replace("\n", " ") for cell in row))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    made = Table(*columns)
    for row in shown:
        # Text takes brackets as they are; in a plain string they would be markup.
        made.add_row(*map(Text, row))
    Console().print(made)


@contextmanager
def progress(what: str, total: float | None = None) -> Generator[Reporter]:
    """Show how far long work is, on standard error."""
    if sys.stderr.isatty():
        with _bar(what, total) as report:
            yield report
        return
    last = time.monotonic()
    latest: tuple[float, float | None, str] = (0.0, total, what)

    def report(done: float, *, total: float | None = None, what: str | None = None) -> None:
        nonlocal last, latest
        latest = (done, latest[1] if total is None else total, latest[2] if what is None else what)
        if time.monotonic() - last >= _INTERVAL_S:
            last = time.monotonic()
            warn(_plain(*latest))

    yield report
    warn(_plain(*latest))


@contextmanager
def _bar(what: str, total: float | None) -> Generator[Reporter]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(what, total=total)

        def report(done: float, *, total: float | None = None, what: str | None = None) -> None:
            bars.update(task, completed=done, total=total, description=what)

        yield report


def _plain(done: float, total: float | None, what: str) -> str:
    share = f" {100 * done / total:.0f} %" if total else ""
    return f"{what}{share}"
