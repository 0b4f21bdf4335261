"""Has the journal's log copied into its file by a thread of its own, so that no append has to wait for that.

SQLite would do it within the commit that makes the log too long, and say nothing of it where it fails.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Final

from vdb_core.errors import EngineClosed, StorageFailed, StorageFull, StorageReadOnly

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LogTender"]

_log = logging.getLogger(__name__)
_DUE_BYTES: Final = 4 << 20
_BOUND_BYTES: Final = 32 << 20
_LULL_S: Final = 0.05


class LogTender:
    """Calls for a checkpoint when the log has grown: in a lull, or at once where it has grown too much."""

    def __init__(self, checkpoint: Callable[[], None]) -> None:
        """Start nothing yet: the thread begins when there is something to do.

        Args:
            checkpoint: copies the log into the file; raises a ``StorageFailed`` that is remembered by the journal.
        """
        self._checkpoint = checkpoint
        self._bytes: int = 0
        self._last: float = 0.0
        self._due: threading.Event = threading.Event()
        self._stopped: bool = False
        self._thread: threading.Thread | None = None

    def appended(self, size: int) -> None:
        """Count in what an append has added. Call with the journal's lock held."""
        self._bytes += size
        self._last = time.monotonic()
        if self._bytes >= _DUE_BYTES and not self._due.is_set():
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="vdb-journal", daemon=True)
                self._thread.start()
            self._due.set()

    def emptied(self) -> None:
        """Count from nothing again: the log is about to be copied. Call with the journal's lock held."""
        self._bytes = 0
        self._due.clear()

    def stop(self) -> None:
        """End the thread. Call without the journal's lock."""
        self._stopped = True
        self._due.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            _ = self._due.wait()
            while (
                not self._stopped and self._bytes < _BOUND_BYTES and time.monotonic() - self._last < _LULL_S
            ):
                time.sleep(_LULL_S / 5)
            if self._stopped:
                return
            try:
                self._checkpoint()
            except (EngineClosed, StorageReadOnly):
                return
            except StorageFull as error:
                _log.warning("%s", error)
            except StorageFailed as error:
                _log.error("%s Nothing is written to the journal any more.", error)
                return
