"""The default journal: acknowledged operations in one SQLite file, ``_journal.sqlite3``, until snapshots hold them.

::

    append    one transaction, one fsync; the batch as a whole or nothing of it
    replay    slices of a few megabytes; the lock is free while the caller works on one
    trim      a mark first, which is what counts; then rows, pages and the log shrink in slices

SQLite keeps no checksums of its pages, so each entry carries one of its own, and a chain (each entry names the one
before it, each library its last) shows a row that is gone. What cannot be seen is a write-ahead log that somebody
cut at the end: to SQLite that is a crash before the commit.
"""

from __future__ import annotations

import sqlite3
import sys
import threading
import time
import zlib
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from vdb_core.errors import EngineClosed, StorageFailed
from vdb_core.persistence.contracts import JournalEntry
from vdb_core.persistence.sqlite_file import damaged, open_database, pragma, sqlite_told

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["SqliteJournal"]

_NAME: Final = "_journal.sqlite3"
_PART_BYTES: Final = 4 << 20
_SLICE_BYTES: Final = 8 << 20
_SLICE_ROWS: Final = 256
_VACUUM_PAGES: Final = 256
_SPARE_PAGES: Final = 64
_PAUSE_S: Final = 0.0005

_INSERT: Final = """INSERT INTO entries
    (library_id, previous, checksum, "rows", dimension, operation_parts, vectors_parts, operation, vectors)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_SELECT: Final = """SELECT position, previous, checksum, "rows", dimension, operation_parts, vectors_parts,
    operation, vectors FROM entries WHERE library_id = ? AND position > ? ORDER BY position"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Raw:
    """An entry as it lies in the file, not yet checked."""

    position: int
    previous: int
    checksum: int
    shape: tuple[int, int] | None
    operation: list[bytes]
    vectors: list[bytes]


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
                return _last_position(connection)
            self._settle(connection)
            _ = connection.execute("BEGIN IMMEDIATE")
            try:
                position = self._insert(connection, batch)
                _ = connection.execute("COMMIT")
            except BaseException as error:
                self._undo(connection, error)
                raise
            return position

    def _insert(self, connection: sqlite3.Connection, batch: Sequence[JournalEntry]) -> int:
        last: dict[str, int] = {}
        position = 0
        for entry in batch:
            library_id = entry.library_id
            if library_id not in last:
                state = _library(connection, library_id)
                last[library_id] = 0 if state is None else state[0]
            position = self._insert_entry(connection, entry, last[library_id])
            last[library_id] = position
        _ = connection.executemany(
            "INSERT INTO libraries VALUES (?, ?, 0) ON CONFLICT (library_id) DO UPDATE SET last = excluded.last", list(last.items())
        )
        return position

    def _insert_entry(self, connection: sqlite3.Connection, entry: JournalEntry, previous: int) -> int:
        operation = memoryview(entry.operation)
        shape: tuple[int, int] | None = None
        vectors: memoryview | None = None
        if entry.vectors is not None:
            matrix = np.ascontiguousarray(entry.vectors, dtype="<f4")
            if matrix.ndim != 2:
                raise ValueError(f"Expected vectors of shape [rows, dim], received shape {matrix.shape}.")
            shape = (matrix.shape[0], matrix.shape[1])
            vectors = memoryview(matrix.reshape(-1).view(np.uint8))
        size = self._part_bytes
        more_operation = range(size, len(operation), size)
        more_vectors = range(size, 0 if vectors is None else len(vectors), size)
        checksum = _seal(entry.library_id, previous, shape)
        checksum = zlib.crc32(operation, checksum)
        cursor = connection.execute(
            _INSERT,
            (
                entry.library_id,
                previous,
                checksum if vectors is None else zlib.crc32(vectors, checksum),
                *(shape or (None, None)),
                len(more_operation),
                len(more_vectors),
                operation[:size],
                None if vectors is None else vectors[:size],
            ),
        )
        position = cursor.lastrowid
        if position is None:
            raise StorageFailed(f"SQLite gave an entry of {self._path} no position.")
        for kind, view, starts in (("operation", operation, more_operation), ("vectors", vectors, more_vectors)):
            for number, start in enumerate(starts):
                if view is not None:
                    _ = connection.execute(
                        "INSERT INTO parts VALUES (?, ?, ?, ?)", (position, kind, number, view[start : start + size])
                    )
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
                raise StorageFailed(f"An earlier write to {self._path} failed and cannot be undone yet. Try again.")
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
                slice_, complete = self._slice(connection, library_id, floor)
            for raw in slice_:
                yield raw.position, self._check(library_id, raw)
                floor = raw.position
            if complete:
                return

    def _slice(self, connection: sqlite3.Connection, library_id: str, floor: int) -> tuple[list[_Raw], bool]:
        state = _library(connection, library_id)
        last, trimmed = state or (0, 0)
        floor = max(floor, trimmed)
        found: list[_Raw] = []
        size = 0
        complete = True
        rows = connection.execute(_SELECT, (library_id, floor))
        try:
            for row in rows:
                raw = self._raw(connection, row)
                # Within a slice each entry follows the one before; its first follows something at or below the floor.
                if raw.previous > floor or (found and raw.previous != floor):
                    raise damaged(self._path, f"entry {raw.previous} of library {library_id!r} is gone")
                found.append(raw)
                floor = raw.position
                size += sum(map(len, raw.operation)) + sum(map(len, raw.vectors))
                if size >= _SLICE_BYTES or len(found) >= _SLICE_ROWS:
                    complete = False
                    break
        finally:
            rows.close()
        if complete and (last > floor or (found and state is None)):
            raise damaged(self._path, f"entry {last} of library {library_id!r}, its last, is gone")
        return found, complete

    def _raw(self, connection: sqlite3.Connection, row: tuple[object, ...]) -> _Raw:
        position, previous, checksum, rows, dimension, operation_parts, vectors_parts, operation, vectors = row
        return _Raw(
            position=_whole(position),
            previous=_whole(previous),
            checksum=_whole(checksum),
            shape=None if rows is None else (_whole(rows), _whole(dimension)),
            operation=[_bytes(operation), *self._parts(connection, position, "operation", operation_parts)],
            vectors=[]
            if vectors is None
            else [_bytes(vectors), *self._parts(connection, position, "vectors", vectors_parts)],
        )

    def _parts(self, connection: sqlite3.Connection, position: object, kind: str, count: object) -> list[bytes]:
        if not count:
            return []
        rows: list[tuple[object]] = connection.execute(
            "SELECT data FROM parts WHERE entry = ? AND kind = ? ORDER BY number", (position, kind)
        ).fetchall()
        if len(rows) != count:
            raise damaged(self._path, f"entry {position} has {len(rows)} of {count} further parts of its {kind}")
        return [_bytes(data) for (data,) in rows]

    def _check(self, library_id: str, raw: _Raw) -> JournalEntry:
        checksum = _seal(library_id, raw.previous, raw.shape)
        for part in (*raw.operation, *raw.vectors):
            checksum = zlib.crc32(part, checksum)
        size = sum(map(len, raw.vectors))
        if checksum != raw.checksum or (raw.shape is not None and raw.shape[0] * raw.shape[1] * 4 != size):
            raise damaged(self._path, f"entry {raw.position} of library {library_id!r} was altered")
        operation = raw.operation[0] if len(raw.operation) == 1 else b"".join(raw.operation)
        return JournalEntry(library_id=library_id, operation=operation, vectors=_matrix(raw))

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
            return _last_position(connection)

    def advance_to(self, position: int) -> None:
        """Give only positions above ``position`` from now on; durable when it returns.

        For a journal that was lost: snapshots remember positions, and must not take new entries for old ones.
        """
        with self._held("advance the journal") as connection:
            if position <= _last_position(connection):
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
            state = _library(connection, library_id)
            if state is None:
                return
            last, trimmed = state
            mark = max(min(up_to, last), trimmed)
            if mark > trimmed:
                with self._unsynced(connection):
                    _ = connection.execute("UPDATE libraries SET trimmed = ? WHERE library_id = ?", (mark, library_id))
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
                (library_id, mark, _SLICE_ROWS),
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
    def _unsynced(self, connection: sqlite3.Connection) -> Iterator[None]:
        """Run a transaction that need not be durable: after power loss it has happened or not, and both are fine."""
        with self._relaxed(connection):
            _ = connection.execute("BEGIN IMMEDIATE")
            yield
            _ = connection.execute("COMMIT")

    @contextmanager
    def _relaxed(self, connection: sqlite3.Connection) -> Iterator[None]:
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
    def _held(self, action: str) -> Iterator[sqlite3.Connection]:
        with self._lock, sqlite_told(self._path, action):
            if self._connection is None:
                raise EngineClosed(f"The journal {self._path} was closed. Open the engine again.")
            yield self._connection


def _library(connection: sqlite3.Connection, library_id: str) -> tuple[int, int] | None:
    """Give the library's last position, and the one up to which it was trimmed."""
    row: tuple[int, int] | None = connection.execute(
        "SELECT last, trimmed FROM libraries WHERE library_id = ?", (library_id,)
    ).fetchone()
    return row


def _has_parts(connection: sqlite3.Connection, position: int) -> bool:
    return connection.execute("SELECT 1 FROM parts WHERE entry = ? LIMIT 1", (position,)).fetchone() is not None


def _last_position(connection: sqlite3.Connection) -> int:
    row: tuple[int] | None = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'entries'").fetchone()
    return 0 if row is None else row[0]


def _seal(library_id: str, previous: int, shape: tuple[int, int] | None) -> int:
    return zlib.crc32(f"{library_id}\0{previous}\0{shape}\0".encode())


def _matrix(raw: _Raw) -> NDArray[np.float32] | None:
    if raw.shape is None:
        return None
    data = raw.vectors[0] if len(raw.vectors) == 1 else b"".join(raw.vectors)
    matrix = np.frombuffer(data, dtype="<f4").reshape(raw.shape)
    return matrix if sys.byteorder == "little" else matrix.astype(np.float32)


def _whole(value: object) -> int:
    return value if isinstance(value, int) else -1


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else b""
