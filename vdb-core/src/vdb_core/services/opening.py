"""Opening: from settings to running services."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from vdb_core.engine.core import Engine
from vdb_core.plugins import PluginManager
from vdb_core.services.indexing import IndexingService
from vdb_core.services.libraries import LibraryService
from vdb_core.services.measuring import Measurements, measure
from vdb_core.services.queries import QueryService

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from vdb_core.engine.answers import AnswerTable
    from vdb_core.services.settings import EngineSettings

__all__ = ["Services", "open_services"]


@final
class Services:
    """The services of one engine. Safe to call from any thread; close it to release the data directory."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.libraries = LibraryService(engine)
        self.indexing = IndexingService(engine, self.libraries)
        self.queries = QueryService(engine)

    @property
    def plugins(self) -> PluginManager:
        """The plugins that were found."""
        return self._engine.plugins

    @property
    def settings(self) -> EngineSettings:
        """The settings it was opened with."""
        return self._engine.settings

    @property
    def read_only(self) -> bool:
        """Whether writes are refused since a failure of the storage."""
        return self._engine.trouble.reason is not None

    @property
    def answers(self) -> AnswerTable:
        """Answers to writes that may be repeated."""
        return self._engine.answers

    def health(self) -> dict[str, object]:
        """Whether it serves, and what an operator should look at."""
        failed = [
            report.name for report in self.plugins.reports() if report.state not in {"loaded", "disabled"}
        ]
        engine = self._engine
        damaged = engine.repository.damaged()
        return {
            "ready": True,
            "durability": engine.durability,
            "read_only": engine.trouble.reason is not None,
            "libraries": len(self._engine.repository.ids()),
            "pending_writes": self._engine.committer.pending,
            "failed_plugins": failed,
            "damaged_libraries": sorted(damaged),
            "unavailable": damaged,
        }

    def statistics(self) -> dict[str, float]:
        """Gauges over the libraries that are in memory. Takes no lock: a figure may be a moment old."""
        rows = delta = dead = documents = 0
        entries = self._engine.repository.loaded()
        for entry in entries:
            state = entry.state
            if state is None:
                continue
            rows += state.live
            delta += state.delta_rows
            dead += state.dead_rows
            documents += len(state.documents)
        return {
            "read_only": int(self._engine.trouble.reason is not None),
            "libraries": len(self._engine.repository.ids()),
            "libraries_loaded": len(entries),
            "chunks": rows,
            "documents": documents,
            "delta_rows": delta,
            "dead_rows": dead,
            "pending_writes": self._engine.committer.pending,
            "running_jobs": sum(not job.finished for job in self._engine.jobs.all()),
        }

    def measurements(self) -> Measurements:
        """Figures that have parts."""
        return measure(self._engine)

    def close(self) -> None:
        """Stop builds, finish the queued writes, release the data directory. Idempotent."""
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_services(settings: EngineSettings, *, plugins: PluginManager | None = None) -> Services:
    """Open an engine.

    Args:
        settings: how it runs.
        plugins: plugins that are loaded already; none loads what is installed.

    Raises:
        DataDirectoryLocked: another process holds the data directory.
        OperatorError: the store or the journal cannot be opened.
    """
    if plugins is None:
        plugins = PluginManager.from_environment()
        plugins.load()
    return Services(Engine(settings, plugins))
