"""Progress of long calls: one record, any callable, and a plain text line for those who say ``progress=True``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from typing import TextIO

__all__ = ["Progress", "ProgressCallback", "TextProgress", "reporter"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a call is."""

    phase: str
    """What is being done, such as ``upsert`` or a phase of a build."""

    done: int | None = None
    """Rows done, where rows are counted."""

    total: int | None = None
    """Rows in all, where known."""

    fraction: float | None = None
    """0 to 1, where known."""

    elapsed_s: float = 0.0
    """Seconds since the call began."""

    eta_s: float | None = None
    """Seconds to go, where known."""

    finished: bool = False
    """True in the last report."""


ProgressCallback: TypeAlias = Callable[[Progress], None]
"""Called from the thread of the call, after each batch or poll; what it raises ends the call."""


class TextProgress:
    """Writes progress as text: one line that is written over in a terminal, else a line every few seconds."""

    def __init__(self, stream: TextIO | None = None, *, every_s: float = 5.0) -> None:
        self._stream: TextIO = sys.stderr if stream is None else stream
        self._every_s: float = every_s
        self._written_at: float | None = None
        self._width: int = 0

    def __call__(self, progress: Progress) -> None:
        """Write one report."""
        line = _line(progress)
        if self._stream.isatty():
            padding = " " * max(0, self._width - len(line))
            end = "\n" if progress.finished else ""
            self._stream.write(f"\r{line}{padding}{end}")
            self._width = 0 if progress.finished else len(line)
            self._stream.flush()
            return
        now = time.monotonic()
        if progress.finished or self._written_at is None or now - self._written_at >= self._every_s:
            self._stream.write(f"{line}\n")
            self._stream.flush()
            self._written_at = None if progress.finished else now


def _line(progress: Progress) -> str:
    parts = [progress.phase]
    if progress.fraction is not None:
        parts.append(f"{progress.fraction:4.0%}")
    if progress.done is not None:
        total = f" of {progress.total:,}" if progress.total is not None else ""
        parts.append(f"{progress.done:,}{total} rows")
        if progress.elapsed_s > 0:
            parts.append(f"{progress.done / progress.elapsed_s:,.0f}/s")
    if progress.finished:
        parts.append(f"done in {progress.elapsed_s:.1f} s")
    elif progress.eta_s is not None:
        parts.append(f"{progress.eta_s:.0f} s left")
    return "  ".join(parts)


def reporter(progress: bool | ProgressCallback) -> ProgressCallback | None:
    """Make the callable that ``progress=`` stands for."""
    if progress is False:
        return None
    return TextProgress() if progress is True else progress
