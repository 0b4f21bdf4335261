"""What a contender gives: loads to run, each with what they stand for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from road.options import Options
    from road.work import Work
    from road.wrk import Load

__all__ = ["Kit", "Target"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A load to run in turn with the others."""

    name: str
    """As the goals and the table name it."""
    load: Load
    queries: int = 1
    """Queries in one request."""
    recall: float | None = None
    setting: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kit:
    """What a contender works with."""

    work: Work
    options: Options
    folder: Path
    """Empty, and its own."""
