"""Whether the engine still writes: after a failure of the storage it does not, and says so, until it is opened anew."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, final

from vdb_core.errors import StorageBroken, StorageFailed, StorageReadOnly

if TYPE_CHECKING:
    from vdb_core.persistence import Journal

__all__ = ["Trouble"]

_log = logging.getLogger(__name__)


@final
class Trouble:
    """Remembers the first failure after which nothing may be written. Safe to use from any thread.

    A failed fsync is not tried again: the operating system counts as clean what it could not write, so that the next
    one answers for data that the device never got. A restart reads what is really there.
    """

    def __init__(self, journal: Journal | None) -> None:
        """Watch a journal, which may find its trouble by itself (an attribute ``broken`` that is no longer none)."""
        self._journal = journal
        self._lock = threading.Lock()
        self._reason: str | None = None

    @property
    def reason(self) -> str | None:
        """Why nothing is written, or none where all is well."""
        if self._reason is None:
            found = getattr(self._journal, "broken", None)
            if isinstance(found, str):
                self._remember(found)
        return self._reason

    def report(self, error: BaseException) -> None:
        """Take in what a snapshot met with: only a device that failed makes the engine stop writing."""
        if isinstance(error, StorageBroken):
            self._remember(str(error))

    def report_append(self, error: BaseException) -> None:
        """Take in what the journal's append met with: whatever is not a full disk makes the engine stop writing."""
        if isinstance(error, StorageFailed):
            self._remember(str(error))

    def check(self) -> None:
        """Raise ``StorageReadOnly`` where nothing may be written."""
        reason = self.reason
        if reason is not None:
            raise StorageReadOnly(
                f"The database is read-only since a failure of its storage: {reason} Searches and reads go on. See to "
                f"the disk, then restart."
            )

    def _remember(self, reason: str) -> None:
        with self._lock:
            if self._reason is not None:
                return
            self._reason = reason
        _log.critical("the database is read-only until it is restarted: %s", reason)
