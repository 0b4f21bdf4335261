"""What has to hold before the journal trusts SQLite: a version that can do it, and a log that is on the disk.

SQLite up to 3.51.2 has a defect that can lose a commit: a log that is begun again while another connection finishes a
checkpoint (the WAL-reset defect). It takes two connections to one file. The journal has one, in exclusive locking mode,
so that a second one, of this process or another, cannot get in; ``tests/persistence/test_sqlite_guard.py`` holds it to
that.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Final

from vdb_core.errors import StorageFailed
from vdb_core.persistence.durable import Disk, told

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["OLDEST_SQLITE", "check_sqlite", "renew_log"]

OLDEST_SQLITE: Final = (3, 24, 0)
"""The first with ``INSERT ... ON CONFLICT DO UPDATE``, which each append uses."""

_PIECE: Final = 1 << 20


def check_sqlite(version: tuple[int, int, int] | None = None, threadsafety: int | None = None) -> None:
    """Refuse an SQLite that cannot keep the journal.

    Args:
        version: of the library; none: the one that Python is linked with.
        threadsafety: 0 where it was compiled for one thread only; none: as that one was.

    Raises:
        StorageFailed: it is too old, or was compiled without support for threads.
    """
    found = sqlite3.sqlite_version_info if version is None else version
    if tuple(found) < OLDEST_SQLITE:
        raise StorageFailed(
            f"The journal needs SQLite {'.'.join(map(str, OLDEST_SQLITE))} or newer; this Python is linked with "
            f"{'.'.join(map(str, found))}. Use a Python with a newer SQLite."
        )
    if (sqlite3.threadsafety if threadsafety is None else threadsafety) == 0:
        raise StorageFailed(
            "The journal is used by several threads, one at a time; this Python's SQLite was compiled for a single "
            "thread. Use a Python whose sqlite3.threadsafety is 1 or 3."
        )


def renew_log(path: Path, disk: Disk | None = None) -> None:
    """Write a log that an unclean end left behind once more, before anything believes it.

    A failed fsync leaves pages that the operating system shows to every reader and will never write again, a restart
    of the process included. Believed, they would be built upon, and lost with all that was built at the next power
    failure. A fresh copy is on the device, or the journal does not open.

    Raises:
        StorageFull: there is no room for the copy.
        StorageFailed: it could not be written.
    """
    disk = disk or Disk()
    log = path.with_name(f"{path.name}-wal")
    copy = path.with_name(f"{path.name}-wal.new")
    with told(f"renew the journal's log {log}"):
        disk.remove_file(copy)
        if not log.exists() or not log.stat().st_size:
            return
        try:
            with log.open("rb") as old, disk.create(copy) as new:
                while piece := old.read(_PIECE):
                    disk.write(new, piece)
                disk.sync_file(new)
        except BaseException:
            copy.unlink(missing_ok=True)
            raise
        disk.rename(copy, log)
        disk.sync_directory(log.parent)
