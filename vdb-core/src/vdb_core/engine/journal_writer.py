"""Appends groups of writes to the journal on a thread of its own, one after the other, and reports what came of each."""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from vdb_core.persistence import JournalEntry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vdb_core.engine.operations import Operation
    from vdb_core.persistence import Journal

__all__ = ["Appended", "JournalWriter"]


@final
@dataclass(frozen=True, slots=True)
class Appended:
    """What came of an append."""

    position: int
    """Of its last operation; means nothing where there is an error."""

    error: Exception | None
    """Why nothing of it is known to be durable, or none."""


@final
class JournalWriter:
    """One append at a time, while the committer prepares the next group and publishes the one before."""

    def __init__(self, journal: Journal, report: Callable[[Appended], None]) -> None:
        """Start the thread.

        Args:
            journal: where to append.
            report: is called on the writer's thread with what came of an append.
        """
        self._journal = journal
        self._report = report
        self._queue: queue.SimpleQueue[list[tuple[str, Operation]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="vdb-journal-writer", daemon=True)
        self._thread.start()

    def append(self, operations: list[tuple[str, Operation]]) -> None:
        """Append the operations of a group, each with the id of its library; the outcome is reported."""
        self._queue.put(operations)

    def stop(self) -> None:
        """End the thread once everything was appended."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while self._step(self._queue.get()):
            pass

    def _step(self, operations: list[tuple[str, Operation]] | None) -> bool:
        """Append what was taken from the queue; nothing of it is kept by the loop around this."""
        if operations is None:
            return False
        try:
            outcome = Appended(self._journal.append(_entries(operations)), None)
        except Exception as error:  # noqa: BLE001 - whatever it is, the writes of the group must hear of it
            outcome = Appended(0, error)
        self._report(outcome)
        return True


def _entries(operations: Sequence[tuple[str, Operation]]) -> list[JournalEntry]:
    entries: list[JournalEntry] = []
    for library_id, operation in operations:
        text, vectors = operation.encode()
        entries.append(JournalEntry(library_id=library_id, operation=text, vectors=vectors))
    return entries
