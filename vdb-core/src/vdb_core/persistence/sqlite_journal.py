"""The default journal: acknowledged operations in one SQLite file, ``_journal.sqlite3``, until snapshots hold them.

::

    append    one transaction, one fsync; the batch as a whole or nothing of it
    replay    slices of a few megabytes; the lock is free while the caller works on one
    trim      a mark first, which is what counts; then rows, pages and the log shrink in slices

An altered or lost row is noticed (see ``journal_rows``). What cannot be seen is a write-ahead log that somebody cut
at the end: to SQLite that is a crash before the commit.
"""

from __future__ import annotations

import sqlite3
import sys
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from vdb_core.errors import EngineClosed, StorageFailed
from vdb_core.persistence.journal_rows import check, insert, last_position, library_state, read_slice
from vdb_core.persistence.sqlite_file import open_database, pragma, sqlite_told

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from pathlib import Path

    from vdb_core.persistence.contracts import JournalEntry

__all__ = ["SqliteJournal"]

_NAME: Final = "_journal.sqlite3"
_PART_BYTES: Final = 4 << 20
_TRIM_ROWS: Final = 256
_VACUUM_PAGES: Final = 256
_SPARE_PAGES: Final = 64
_PAUSE_S: Final = 0.0005


class SqliteJournal:
    """An append-only log in one file. Safe to call from many threads; one engine at a time (see ``lock_directory``)."""

    def __init__(self, data_dir: Path, *, part_bytes: int = _PART_BYTES) -> None:
        """Open ``data_dir/_journal.sqlite3``, or create it with its directory.

        Args:
            data_dir: where the file lies.
            part_bytes: what is longer is kept in several rows, for SQLite takes at most 10^9 bytes a row.

        Raises:
            StorageFailed: it is damaged, or another program has it open.
            StorageFull: there is no room to create it.
            FormatUnsupported: a newer version wrote it.
        """
        self._path: Path = data_dir / _NAME
        self._part_bytes: int = part_bytes
        self._lock: threading.Lock = threading.Lock()
        self._unsettled: bool = False
        self._connection: sqlite3.Connection | None = open_database(self._path)

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    # Appending

    def append(self, batch: Sequence[JournalEntry]) -> int:
        """Make a batch durable as a whole; returns the position of its last entry.

        An empty batch changes nothing and returns the last position ever given.

        Raises:
            StorageFull: there is no room; nothing of the batch is there.
            StorageFailed: the storage refused; nothing of the batch is there.
            EngineClosed: the journal was closed.
        """
        with self._held("append to the journal") as connection:
            if not batch:
                return last_position(connection)
            self._settle(connection)
            _ = connection.execute("BEGIN IMMEDIATE")
            try:
                position = insert(connection, batch, part_bytes=self._part_bytes)
                _ = connection.execute("COMMIT")
            except BaseException as error:
                self._undo(connection, error)
                raise
            return position

    def _undo(self, connection: sqlite3.Connection, error: BaseException) -> None:
        if connection.in_transaction:
            with suppress(sqlite3.Error):
                _ = connection.execute("ROLLBACK")
        # A commit whose fsync failed has left a whole commit in the log, which a restart would take for a true one.
        # (A full disk is told by the write before it, and leaves none.)
        code: int = getattr(error, "sqlite_errorcode", 0)
        if code & 0xFF == sqlite3.SQLITE_IOERR:
            self._unsettled = True
            with suppress(sqlite3.Error, StorageFailed):
                self._settle(connection)

    def _settle(self, connection: sqlite3.Connection) -> None:
        """Empty the log, so that nothing in it can be taken for a commit; nothing is appended before that."""
        if self._unsettled:
            if pragma(connection, "wal_checkpoint(TRUNCATE)") != 0:
                raise StorageFailed(
                    f"An earlier write to {self._path} failed and cannot be undone yet. Try again."
                )
            self._unsettled = False

    # Reading

    def replay(self, library_id: str, after: int) -> Iterator[tuple[int, JournalEntry]]:
        """Iterate over the library's entries with a position above ``after``, in order.

        What was trimmed does not come. Entries appended meanwhile do.

        Raises:
            StorageFailed: the file is damaged: an entry was altered or is gone.
            EngineClosed: the journal was closed.
        """
        floor = after
        while True:
            with self._held("replay the journal") as connection:
                found, complete = read_slice(connection, self._path, library_id, floor)
            for raw in found:
                yield raw.position, check(self._path, library_id, raw)
                floor = raw.position
            if complete:
                return

    def libraries(self) -> Sequence[str]:
        """Ids of libraries that have entries, sorted."""
        with self._held("read the journal") as connection:
            rows: list[tuple[str]] = connection.execute(
                "SELECT library_id FROM libraries WHERE last > trimmed ORDER BY library_id"
            ).fetchall()
            return tuple(library_id for (library_id,) in rows)

    @property
    def position(self) -> int:
        """The last position ever given, trimmed or not; 0 in a new journal."""
        with self._held("read the journal") as connection:
            return last_position(connection)

    def advance_to(self, position: int) -> None:
        """Give only positions above ``position`` from now on; durable when it returns.

        For a journal that was lost: snapshots remember positions, and must not take new entries for old ones.
        """
        with self._held("advance the journal") as connection:
            if position <= last_position(connection):
                return
            _ = connection.execute("BEGIN IMMEDIATE")
            try:
                _ = connection.execute("DELETE FROM sqlite_sequence WHERE name = 'entries'")
                _ = connection.execute("INSERT INTO sqlite_sequence VALUES ('entries', ?)", (position,))
                _ = connection.execute("COMMIT")
            except BaseException as error:
                self._undo(connection, error)
                raise

    # Forgetting

    def trim(self, library_id: str, up_to: int) -> None:
        """Forget the library's entries up to and including a position, and give the space back.

        Appends get in between its steps. Cheap where there is nothing to forget.

        Raises:
            StorageFull: there is no room even for that; try again later.
            StorageFailed: the storage refused.
            EngineClosed: the journal was closed.
        """
        with self._held("trim the journal") as connection:
            state = library_state(connection, library_id)
            if state is None:
                return
            last, trimmed = state
            mark = max(min(up_to, last), trimmed)
            if mark > trimmed:
                with self._unsynced(connection):
                    _ = connection.execute(
                        "UPDATE libraries SET trimmed = ? WHERE library_id = ?", (mark, library_id)
                    )
        removed = False
        while self._remove_slice(library_id, mark):
            removed = True
            # A lock is not fair: without a pause the thread that has just released it gets it again.
            time.sleep(_PAUSE_S)
        if removed:
            self._shrink()

    def _remove_slice(self, library_id: str, mark: int) -> bool:
        """Remove some of what lies at or below the mark; tells whether there was anything."""
        with self._held("trim the journal") as connection:
            rows: list[tuple[int, int]] = connection.execute(
                "SELECT position, length(operation) + coalesce(length(vectors), 0) FROM entries"
                " WHERE library_id = ? AND position <= ? ORDER BY position LIMIT ?",
                (library_id, mark, _TRIM_ROWS),
            ).fetchall()
            if not rows:
                return False
            part: tuple[int] | None = connection.execute(
                "SELECT rowid FROM parts WHERE entry = ? LIMIT 1", (rows[0][0],)
            ).fetchone()
            with self._unsynced(connection):
                if part is not None:
                    _ = connection.execute("DELETE FROM parts WHERE rowid = ?", part)
                    return True
                size = 0
                for position, length in rows:
                    if size and (size + length > _PART_BYTES or _has_parts(connection, position)):
                        break
                    size += max(length, 1)
                    _ = connection.execute("DELETE FROM entries WHERE position = ?", (position,))
                _ = connection.execute(
                    "DELETE FROM libraries WHERE library_id = ? AND last <= trimmed"
                    " AND NOT EXISTS (SELECT 1 FROM entries WHERE entries.library_id = libraries.library_id)",
                    (library_id,),
                )
            return True

    def _shrink(self) -> None:
        """Give free pages back to the file system, some at a time, then empty the log."""
        before = sys.maxsize
        while True:
            with self._held("shrink the journal") as connection:
                free = pragma(connection, "freelist_count")
                if not isinstance(free, int) or free <= _SPARE_PAGES or free >= before:
                    _ = pragma(connection, "wal_checkpoint(TRUNCATE)")
                    return
                with self._relaxed(connection):
                    # Not execute(): this pragma frees one page a step, and a statement without columns gets one step.
                    _ = connection.executescript(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})")
            before = free
            time.sleep(_PAUSE_S)

    @contextmanager
    def _unsynced(self, connection: sqlite3.Connection) -> Generator[None]:
        """Run a transaction that need not be durable: after power loss it has happened or not, and both are fine."""
        with self._relaxed(connection):
            _ = connection.execute("BEGIN IMMEDIATE")
            yield
            _ = connection.execute("COMMIT")

    @contextmanager
    def _relaxed(self, connection: sqlite3.Connection) -> Generator[None]:
        self._settle(connection)
        _ = pragma(connection, "synchronous=NORMAL")
        try:
            yield
        except BaseException as error:
            self._undo(connection, error)
            raise
        finally:
            _ = pragma(connection, "synchronous=FULL")

    # Holding the file

    def close(self) -> None:
        """Write the log into the file and close it; a second call does nothing."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                with sqlite_told(self._path, "close the journal"):
                    try:
                        if self._unsettled:
                            self._settle(connection)
                    finally:
                        connection.close()

    @contextmanager
    def _held(self, action: str) -> Generator[sqlite3.Connection]:
        with self._lock, sqlite_told(self._path, action):
            if self._connection is None:
                raise EngineClosed(f"The journal {self._path} was closed. Open the engine again.")
            yield self._connection


def _has_parts(connection: sqlite3.Connection, position: int) -> bool:
    return (
        connection.execute("SELECT 1 FROM parts WHERE entry = ? LIMIT 1", (position,)).fetchone() is not None
    )
