"""Figures of a running engine that have parts: bytes by what they are for, jobs by kind. Plain gauges are ``statistics``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vdb_core.engine.core import Engine

__all__ = ["Measurements", "measure"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Measurements:
    """Figures at about one moment, over the libraries that are in memory."""

    bytes: Mapping[str, int]
    """Bytes of rows and indexes by part; parts of an index begin with ``index.``."""
    journal_bytes: int | None
    """Bytes of the journal on disk; none where there is no journal, or it cannot tell."""
    max_pending_writes: int
    """Writes that may wait at most."""
    damaged_libraries: int
    """Libraries that could not be loaded."""
    failed_plugins: int
    """Plugins that are installed and could not be loaded."""
    progress: Mapping[str, float]
    """By kind of job: how far the running job is that has most before it, from 0 to 1."""
    ended: Mapping[tuple[str, str], int]
    """Jobs that have ended since the start, by kind and state."""


def measure(engine: Engine) -> Measurements:
    """Measure. Waits for a write that is being published, a moment for each library."""
    sizes: dict[str, int] = {}
    for entry in engine.repository.loaded():
        # An index must not be swapped out and closed while it is asked.
        with entry.lock.read():
            for part, size in ({} if entry.state is None else entry.state.nbytes()).items():
                sizes[part] = sizes.get(part, 0) + size
    progress: dict[str, float] = {}
    for job in engine.jobs.all():
        if not job.finished:
            progress[job.kind] = min(progress.get(job.kind, 1.0), job.progress)
    reports = engine.plugins.reports()
    return Measurements(
        bytes=sizes,
        journal_bytes=engine.storage.journal_bytes,
        max_pending_writes=engine.settings.limits.max_pending_writes,
        damaged_libraries=len(engine.repository.damaged()),
        failed_plugins=sum(report.state not in {"loaded", "disabled"} for report in reports),
        progress=progress,
        ended=engine.jobs.ended(),
    )
