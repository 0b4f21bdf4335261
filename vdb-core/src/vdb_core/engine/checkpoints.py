"""Checkpoints: when a library is written to its snapshot store by itself, so that a restart has little to replay.

::

    by size       the journal holds more than so many bytes that no snapshot has: the library with most of them
    by age        a library has had unsaved writes for so long
    on request    POST .../snapshot (see the indexing service)
    on shutdown   what can be written in the time given; without a journal all of it, however long that takes

A checkpoint is a fold (ADR 3): an immutable view, beside the traffic, swapped in at once. It gives way to a build that
somebody asks for. Folds that are due because of their rows begin here as well, where they had to rest before.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    from vdb_core.engine.builder import Builder
    from vdb_core.engine.jobs import Job
    from vdb_core.repository import Entry, InMemoryLibraryRepository

__all__ = ["Checkpointer"]

_log = logging.getLogger(__name__)
_LOOK_EVERY_S: Final = 1.0
_PAUSE_S: Final = 60.0
"""So long a library whose checkpoint did not succeed is left alone."""


@final
class Checkpointer:
    """Looks after the libraries that are in memory, on a thread of its own."""

    def __init__(
        self,
        repository: InMemoryLibraryRepository,
        builder: Builder,
        *,
        max_bytes: int,
        max_age_s: float,
        journaled: bool,
    ) -> None:
        """Start the thread.

        Args:
            repository: finds the libraries.
            builder: writes them.
            max_bytes: of writes, over all libraries, that no snapshot has.
            max_age_s: of the oldest of such writes in a library.
            journaled: whether these writes are in a journal meanwhile.
        """
        self._repository = repository
        self._builder = builder
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._journaled = journaled
        self._left_alone: dict[str, float] = {}
        self._job: Job | None = None
        self._stop = threading.Event()
        self._look_every_s = max(0.01, min(_LOOK_EVERY_S, max_age_s / 4))
        self._thread = threading.Thread(target=self._run, name="vdb-checkpoint", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(self._look_every_s):
            try:
                self._look()
            except Exception:  # noqa: BLE001 - a checkpoint that fails is never what stops the next one
                _log.exception("looking for what to checkpoint failed")

    def _look(self) -> None:
        for entry in self._repository.loaded():
            # One that rested when the last write came.
            self._builder.fold_if_due(entry)
        job = self._job
        if job is not None:
            if not job.finished:
                return
            if job.state != "succeeded":
                self._left_alone[job.library_id] = time.monotonic() + _PAUSE_S
            self._job = None
        entry = self._due()
        if entry is not None:
            self._job = self._builder.checkpoint(entry)

    def _due(self) -> Entry | None:
        """The library that should be written next, or none."""
        now = time.monotonic()
        total, most, oldest = 0, None, None
        for entry in self._repository.loaded():
            state = entry.state
            if state is None or not state.unsaved or self._left_alone.get(entry.id, 0.0) > now:
                continue
            total += state.unsaved_bytes
            if most is None or state.unsaved_bytes > most[0]:
                most = (state.unsaved_bytes, entry)
            if now - state.unsaved_since > self._max_age_s and (
                oldest is None or state.unsaved_since < oldest[0]
            ):
                oldest = (state.unsaved_since, entry)
        if most is not None and total > self._max_bytes:
            return most[1]
        return None if oldest is None else oldest[1]

    def close(self, time_s: float) -> None:
        """End the thread; then write what no snapshot has.

        Args:
            time_s: how long that may take where a journal has it all anyway; 0 = nothing is written then. Without a
                journal everything is written, whatever time that takes.
        """
        self._stop.set()
        self._thread.join()
        if self._journaled and time_s <= 0:
            return
        deadline = time.monotonic() + time_s
        for entry in self._repository.loaded():
            state = entry.state
            if state is None or not state.unsaved:
                continue
            if not self._journaled:
                self._save(entry)
                continue
            job = self._builder.checkpoint(entry)
            if job is not None and not job.wait(max(0.0, deadline - time.monotonic())):
                job.cancel()
                _log.warning(
                    "no checkpoint of library %r in the time given; its journal has it all", entry.id
                )
                return

    def _save(self, entry: Entry) -> None:
        """Write a library that nothing else has; where its index cannot be built, without it."""
        for with_index in (True, False):
            job = self._builder.checkpoint(entry, with_index=with_index)
            if job is None:
                break
            _ = job.wait()
            if job.state == "succeeded":
                return
            _log.error("the checkpoint of library %r %s: %s", entry.id, job.state, job.error)
        _log.critical("library %r is not saved: what was written since its last snapshot is lost", entry.id)
