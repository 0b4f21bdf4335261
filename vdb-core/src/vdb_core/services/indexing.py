"""Indexing: choose and build an index, watch and cancel the job, write a snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast, final

from vdb_core.domain import new_id
from vdb_core.engine.jobs import Job
from vdb_core.errors import ValidationFailed
from vdb_core.services.checks import body_of, raise_faults

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vdb_core.engine.core import Engine
    from vdb_core.engine.state import LibraryState
    from vdb_core.services.libraries import LibraryService

__all__ = ["IndexingService"]


@final
class IndexingService:
    """Indexes of libraries."""

    def __init__(self, engine: Engine, libraries: LibraryService) -> None:
        self._engine = engine
        self._libraries = libraries

    def start(self, library_id: str, body: Mapping[str, object]) -> Job:
        """Build an index in the background: ``{type?, params?}``, each kept as it is where it is left out.

        The index of now serves until the new one is swapped in.

        Raises:
            ValidationFailed: unknown type, unknown or unusable parameter.
            BuildInProgress: the library has a build already.
        """
        body = body_of(body, ("type", "params"))
        entry = self._engine.entry(library_id)
        info = cast("LibraryState", entry.state).info
        index_type = body.get("type", info["index_type"])
        same = index_type == info["index_type"]
        params = body.get("params", dict(info["index_params"]) if same else {})
        faults = self._libraries.index_faults(index_type, params, info["metric"], "")
        raise_faults(faults)
        return self._engine.builder.start(
            entry,
            "index",
            index_type=cast("str", index_type),
            index_params=dict(cast("Mapping[str, object]", params)),
        )

    def snapshot(self, library_id: str) -> Job:
        """Write the library to its snapshot store; done at once where nothing changed since the last time.

        Raises:
            ValidationFailed: the engine keeps everything in memory.
            BuildInProgress: the library has a build, which will write a snapshot itself.
        """
        entry = self._engine.entry(library_id)
        state = cast("LibraryState", entry.state)
        if not self._engine.storage.durable:
            raise ValidationFailed.at(
                "", "this engine keeps everything in memory; open it with a data directory"
            )
        if state.snapshot_position == state.journal_position and entry.building is None:
            job = self._engine.jobs.add(Job(new_id(), library_id, "snapshot"))
            job.finish("succeeded")
            return job
        return self._engine.builder.start(
            entry,
            "snapshot",
            index_type=state.info["index_type"],
            index_params=dict(state.info["index_params"]),
        )

    def status(self, library_id: str) -> dict[str, object]:
        """How the index of a library is.

        ``state`` is ``building`` while a job runs, else ``degraded`` where searches are exact for lack of the
        index, else ``ready``.
        """
        entry = self._engine.entry(library_id)
        with entry.lock.read():
            state = entry.readable()
            sizes = state.nbytes()
            degraded = bool(state.warnings)
            return {
                "type": state.info["index_type"],
                "params": dict(state.info["index_params"]),
                "state": "building" if entry.building is not None else "degraded" if degraded else "ready",
                "rows": 0 if state.base is None else state.base.rows,
                "delta_rows": state.delta_rows,
                "dead_rows": state.dead_rows,
                "bytes": sum(sizes.values()),
                "bytes_by_part": sizes,
                "details": {} if state.active is None else dict(state.active.index.stats().details),
                "job_id": entry.building,
                "warnings": list(state.warnings),
            }

    def job(self, job_id: str) -> Job:
        """A job by its id; raises ``JobNotFound``."""
        return self._engine.jobs.get(job_id)

    def cancel(self, job_id: str) -> Job:
        """Ask a job to stop; one that has ended is left as it is."""
        job = self._engine.jobs.get(job_id)
        if not job.finished:
            job.cancel()
        return job

    def jobs(self) -> list[Job]:
        """Every job that is kept, oldest first."""
        return self._engine.jobs.all()
