"""Recovery: what the journal has after a snapshot, replayed on top, held to follow it without a gap, and told in the log.

Replaying changes memory alone, so that one that is cut short is simply begun again. Every write raises the revision of
its library by one, and operations carry the revision of their write: an entry that is not there shows as a jump.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final, final

from vdb_core.engine.operations import PutLibrary, Upsert
from vdb_core.errors import SnapshotDamaged

if TYPE_CHECKING:
    from vdb_core.engine.operations import Operation, PutDocuments, Remove
    from vdb_core.engine.state import LibraryState

__all__ = ["Progress", "gap_before"]

_log = logging.getLogger(__name__)
_SAY_EVERY_S: Final = 2.0


def gap_before(
    state: LibraryState, operation: PutLibrary | PutDocuments | Upsert | Remove, position: int
) -> SnapshotDamaged | None:
    """Say that an operation does not follow what the state has; none where it does."""
    revision = operation.info["revision"] if isinstance(operation, PutLibrary) else operation.revision
    have = state.info["revision"]
    if revision in (have, have + 1):
        return None
    return SnapshotDamaged(
        f"Library {state.info['id']!r} cannot be opened: it is at revision {have}, and the journal goes on at "
        f"position {position} with revision {revision}; the writes between are missing (they were made with "
        f"durability none, or a newer snapshot had them). See _quarantine/, or restore an export."
    )


@final
class Progress:
    """Counts what is replayed; says so every two seconds, and at the end."""

    def __init__(self, library_id: str) -> None:
        self._library_id = library_id
        self._begun = time.monotonic()
        self._next = self._begun + _SAY_EVERY_S
        self._operations = 0
        self._rows = 0

    def count(self, operation: Operation) -> None:
        """Count one operation in."""
        self._operations += 1
        if isinstance(operation, Upsert):
            self._rows += len(operation.ids)
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _SAY_EVERY_S
            self._say("replaying the journal")

    def end(self) -> None:
        """Say what was replayed, where anything was."""
        if self._operations:
            self._say("replayed the journal")

    def _say(self, what: str) -> None:
        seconds = time.monotonic() - self._begun
        rate = self._rows / seconds if seconds > 0 else 0.0
        _log.info(
            "%s of library %r: %d operations, %d rows, %.1f s, %.0f rows/s",
            what,
            self._library_id,
            self._operations,
            self._rows,
            seconds,
            rate,
            extra={
                "library": self._library_id,
                "operations": self._operations,
                "rows": self._rows,
                "seconds": round(seconds, 3),
                "rows_per_s": round(rate),
            },
        )
