"""The default journal: acknowledged operations in an SQLite file, ``_journal.sqlite3``, until snapshots hold them.

::

    append      large entries into files of their own, each with an fsync (see ``journal_files``); then one
                transaction, one fsync: the batch as a whole or nothing of it
    checkpoint  the log is copied into the file by a thread of its own, when no append is under way
    replay      slices of a few megabytes; the lock is free while the caller works on one
    trim        a mark first, which is what counts; then rows, pages and the log shrink in slices, and files go

A failed write or fsync ends all writing until the file is opened anew (``broken``): the system may have dropped what it
could not write, and a second fsync would answer for it. A full disk is no such failure.

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

from vdb_core.errors import (
    EngineClosed,
    StorageBroken,
    StorageFull,
    StorageReadOnly,
    WriteUncertain,
)
from vdb_core.persistence.durable import Disk, told
from vdb_core.persistence.journal_files import EntryFiles
from vdb_core.persistence.journal_rows import (
    check,
    delete_slice,
    filed_positions,
    insert,
    last_position,
    lay,
    library_state,
    read_slice,
)
from vdb_core.persistence.kept_by import JOURNAL
from vdb_core.persistence.sqlite_file import open_database, pragma, sqlite_told, translate
from vdb_core.persistence.sqlite_tender import LogTender

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from pathlib import Path

    from vdb_core.persistence.contracts import JournalEntry

__all__ = ["SqliteJournal"]

_PART_BYTES: Final = 4 << 20
_FILE_BYTES: Final = 512 << 10
_COMMIT_BYTES: Final = 32 << 10
"""Of the log, beside the entries: a page of each of the two tables, of the index, and of SQLite's counter."""
_VACUUM_PAGES: Final = 256
_SPARE_PAGES: Final = 64
_PAUSE_S: Final = 0.0005
_NO_CHECKPOINT_ON_CLOSE: Final = 1006  # SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE


class SqliteJournal:
    """An append-only log, large entries beside it. Safe to call from many threads; one engine at a time (see ``lock_directory``)."""

    def __init__(
        self,
        data_dir: Path,
        *,
        part_bytes: int = _PART_BYTES,
        file_bytes: int = _FILE_BYTES,
        fsync: bool = True,
    ) -> None:
        """Open ``data_dir/_journal.sqlite3``, or create it with its directory.

        Args:
            data_dir: where the file lies.
            part_bytes: what is longer is kept in several rows, for SQLite takes at most 10^9 bytes a row.
            file_bytes: an entry of so many bytes gets a file of its own, if ``fsync``: without, nobody would have seen to
                it that the file is on the device before the row that names it.
            fsync: whether an append waits for the device. Without, what was appended survives this process but not
                the machine's end; the file stays whole then too, and ends with some earlier append.

        Raises:
            StorageFailed: it is damaged, or another program has it open.
            StorageFull: there is no room to create it.
            FormatUnsupported: a newer version wrote it.
        """
        self._path: Path = data_dir / JOURNAL
        self._part_bytes: int = part_bytes
        self._file_bytes: int = file_bytes if fsync else sys.maxsize
        self._lock: threading.Lock = threading.Lock()
        self._synchronous: str = "FULL" if fsync else "NORMAL"
        self._unsettled: bool = False
        self._broken: str | None = None
        self._tender: LogTender = LogTender(self.checkpoint)
        self._connection: sqlite3.Connection | None = open_database(self._path)
        try:
            _ = pragma(self._connection, f"synchronous={self._synchronous}")
            self._files: EntryFiles = EntryFiles(self._path)
            # Where the rows cannot be read, that is told when a library needs them.
            with suppress(sqlite3.Error):
                self._files.sweep(filed_positions(self._connection))
        except BaseException:
            self._connection.close()
            raise

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    @property
    def broken(self) -> str | None:
        """Why nothing is written any more, or none. It stays so until the file is opened anew."""
        return self._broken

    @property
    def nbytes(self) -> int:
        """Bytes of the file, of its write-ahead log, and of the entries beside it."""
        total = self._files.nbytes
        for file in (self._path, self._path.with_name(f"{self._path.name}-wal")):
            with suppress(FileNotFoundError):  # the log is not there all the time
                total += file.stat().st_size
        return total

    # Appending

    def append(self, batch: Sequence[JournalEntry]) -> int:
        """Make a batch durable as a whole; returns the position of its last entry.

        An empty batch changes nothing and returns the last position ever given.

        Raises:
            StorageFull: there is no room; nothing of the batch is there.
            WriteUncertain: its flush failed; whether it is there will be seen when the file is opened anew.
            StorageBroken: the storage refused; nothing of the batch is there, and nothing is appended any more.
            StorageReadOnly: that happened before.
            EngineClosed: the journal was closed.
        """
        with self._writing("append to the journal") as connection:
            if not batch:
                return last_position(connection)
            self._settle(connection)
            laid = dict(enumerate(map(lay, batch), last_position(connection) + 1))
            filed = {at: one.file_parts for at, one in laid.items() if one.nbytes >= self._file_bytes}
            self._files.write(filed)
            try:
                _ = connection.execute("BEGIN IMMEDIATE")
                insert(connection, laid, filed, part_bytes=self._part_bytes)
                self._commit(connection)
            except BaseException as error:
                self._undo(connection, error)
                if not (self._unsettled or isinstance(error, WriteUncertain)):
                    self._files.drop(filed)
                raise
            self._tender.appended(
                _COMMIT_BYTES + sum(one.nbytes for at, one in laid.items() if at not in filed)
            )
            return max(laid)

    def _commit(self, connection: sqlite3.Connection) -> None:
        try:
            _ = connection.execute("COMMIT")
        except sqlite3.Error as error:
            problem = translate(error, self._path, "append to the journal")
            if isinstance(problem, StorageBroken):
                # A whole commit may stand in the log, which a restart takes for a true one if the device has it.
                raise WriteUncertain(
                    f"{problem} Whether the write is kept is known after a restart."
                ) from error
            raise

    def _undo(self, connection: sqlite3.Connection, error: BaseException) -> None:
        if connection.in_transaction:
            with suppress(sqlite3.Error):
                _ = connection.execute("ROLLBACK")
        if isinstance(error, sqlite3.Error) and isinstance(
            translate(error, self._path, "append to the journal"), StorageFull
        ):
            # What was written before the room ran out must not be taken for a commit, whatever stood there before.
            self._unsettled = True
            with suppress(StorageFull), sqlite_told(self._path, "empty the journal's log"):
                self._settle(connection)

    def _settle(self, connection: sqlite3.Connection) -> None:
        """Empty the log after a write that found no room; nothing is appended before that."""
        if self._unsettled:
            if pragma(connection, "wal_checkpoint(TRUNCATE)") != 0:
                raise StorageFull(
                    f"An earlier write to {self._path} found no room and cannot be undone yet. Try again."
                )
            # What was cut off must not come back either.
            with told(f"empty the log of {self._path}"):
                Disk().sync_path(self._path.with_name(f"{self._path.name}-wal"))
            self._unsettled = False

    # The log

    def checkpoint(self) -> None:
        """Copy the log into the file and empty it.

        Raises:
            StorageFull: there is no room; everything stays in the log, which is as good.
            StorageBroken: the storage refused; nothing is appended any more.
            StorageReadOnly: that happened before.
            EngineClosed: the journal was closed.
        """
        with self._writing("checkpoint the journal") as connection:
            self._tender.emptied()
            # Not PASSIVE, which leaves the log as it is: a byte of it that went bad later would cut it there, and the
            # older pages before that would hide the newer ones of the file.
            _ = pragma(connection, "wal_checkpoint(TRUNCATE)")

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
        with self._writing("advance the journal") as connection:
            if position <= last_position(connection):
                return
            _ = connection.execute("BEGIN IMMEDIATE")
            try:
                _ = connection.execute("DELETE FROM sqlite_sequence WHERE name = 'entries'")
                _ = connection.execute("INSERT INTO sqlite_sequence VALUES ('entries', ?)", (position,))
                self._commit(connection)
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
        with self._writing("trim the journal") as connection:
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
        filed: list[int] = []
        removed = False
        while (gone := self._delete_slice(library_id, mark)) is not None:
            removed = True
            filed.extend(gone)
            # A lock is not fair: without a pause the thread that has just released it gets it again.
            time.sleep(_PAUSE_S)
        if removed and self._shrink():
            # No row comes back now that would name them.
            for position in filed:
                with self._writing("trim the journal"):
                    self._files.remove(position)
                time.sleep(_PAUSE_S)

    def _delete_slice(self, library_id: str, mark: int) -> list[int] | None:
        with self._writing("trim the journal") as connection, self._unsynced(connection):
            return delete_slice(connection, library_id, mark)

    def _shrink(self) -> bool:
        """Give free pages back to the file system, some at a time, then empty the log; tells whether it is empty."""
        before = sys.maxsize
        while True:
            with self._writing("shrink the journal") as connection:
                free = pragma(connection, "freelist_count")
                if not isinstance(free, int) or free <= _SPARE_PAGES or free >= before:
                    emptied = pragma(connection, "wal_checkpoint(TRUNCATE)") == 0
                    # What was written and deleted is not read again: two megabytes of pages would only be kept.
                    _ = pragma(connection, "shrink_memory")
                    return emptied
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
            _ = pragma(connection, f"synchronous={self._synchronous}")

    # Holding the file

    def close(self) -> None:
        """Write the log into the file and close it; a second call does nothing."""
        with self._lock:
            connection, self._connection = self._connection, None
        self._tender.stop()
        if connection is not None:
            with sqlite_told(self._path, "close the journal"):
                try:
                    if self._broken is None:
                        self._settle(connection)
                    else:
                        _keep_from_checkpointing(connection)
                finally:
                    connection.close()

    @contextmanager
    def _held(self, action: str) -> Generator[sqlite3.Connection]:
        with self._lock, sqlite_told(self._path, action):
            if self._connection is None:
                raise self._closed()
            yield self._connection

    @contextmanager
    def _writing(self, action: str) -> Generator[sqlite3.Connection]:
        """Hold the file for a change; none is made once one has failed."""
        with self._lock:
            if self._connection is None:
                raise self._closed()
            if self._broken is not None:
                raise StorageReadOnly(
                    f"Could not {action}: nothing is written since an earlier failure ({self._broken}) See to the "
                    f"disk, then restart."
                )
            try:
                with sqlite_told(self._path, action):
                    yield self._connection
            except StorageBroken as error:
                self._broken = str(error)
                raise

    def _closed(self) -> EngineClosed:
        return EngineClosed(f"The journal {self._path} was closed. Open the engine again.")


def _keep_from_checkpointing(connection: sqlite3.Connection) -> None:
    """Let a connection close without a last checkpoint, which Python offers from 3.12 on.

    Where one is made it does no harm: it copies only what was acknowledged, writes all of that anew, and keeps the log
    where it fails.
    """
    setconfig: Callable[[int, bool], None] | None = getattr(connection, "setconfig", None)
    if setconfig is not None:
        setconfig(_NO_CHECKPOINT_ON_CLOSE, True)
