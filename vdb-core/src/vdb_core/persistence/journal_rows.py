"""The rows of the journal: how an entry is laid down in SQLite, and how it is checked when it comes back.

::

    entries     position, library_id, previous (position of the library's entry before), checksum, shape,
                the first part of the operation and of the vectors
    parts       what exceeds one part, numbered
    libraries   library_id, last (position of its last entry), trimmed (what lies at or below counts no more)

SQLite keeps no checksums of its pages, so each entry carries one of its own; ``previous`` and ``last`` make a chain
that shows a row that is gone.
"""

from __future__ import annotations

import sys
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from vdb_core.errors import StorageFailed
from vdb_core.persistence.contracts import JournalEntry
from vdb_core.persistence.sqlite_file import damaged

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["RawEntry", "check", "insert", "last_position", "library_state", "read_entry", "read_slice"]

_SLICE_BYTES: Final = 8 << 20
_SLICE_ROWS: Final = 256

_INSERT: Final = """INSERT INTO entries
    (library_id, previous, checksum, "rows", dimension, operation_parts, vectors_parts, operation, vectors)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_SELECT: Final = """SELECT position, previous, checksum, "rows", dimension, operation_parts, vectors_parts,
    operation, vectors FROM entries WHERE library_id = ? AND position > ? ORDER BY position"""

_SELECT_ONE: Final = """SELECT library_id, position, previous, checksum, "rows", dimension, operation_parts,
    vectors_parts, operation, vectors FROM entries WHERE position = ?"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawEntry:
    """An entry as it lies in the file, not yet checked."""

    position: int
    previous: int
    checksum: int
    shape: tuple[int, int] | None
    operation: list[bytes]
    vectors: list[bytes]


def insert(connection: sqlite3.Connection, batch: Sequence[JournalEntry], *, part_bytes: int) -> int:
    """Insert a batch within a transaction of the caller; returns the position of its last entry."""
    last: dict[str, int] = {}
    position = 0
    for entry in batch:
        library_id = entry.library_id
        if library_id not in last:
            state = library_state(connection, library_id)
            last[library_id] = 0 if state is None else state[0]
        position = _insert_entry(connection, entry, last[library_id], part_bytes)
        last[library_id] = position
    _ = connection.executemany(
        "INSERT INTO libraries VALUES (?, ?, 0) ON CONFLICT (library_id) DO UPDATE SET last = excluded.last",
        list(last.items()),
    )
    return position


def _insert_entry(connection: sqlite3.Connection, entry: JournalEntry, previous: int, part_bytes: int) -> int:
    operation = memoryview(entry.operation)
    shape: tuple[int, int] | None = None
    vectors: memoryview | None = None
    if entry.vectors is not None:
        matrix = np.ascontiguousarray(entry.vectors, dtype="<f4")
        if matrix.ndim != 2:
            raise ValueError(f"Expected vectors of shape [rows, dim], received shape {matrix.shape}.")
        shape = (matrix.shape[0], matrix.shape[1])
        vectors = matrix.reshape(-1).view(np.uint8).data
    size = part_bytes
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
        raise StorageFailed("SQLite gave an entry of the journal no position.")
    for kind, view, starts in (("operation", operation, more_operation), ("vectors", vectors, more_vectors)):
        for number, start in enumerate(starts):
            if view is not None:
                _ = connection.execute(
                    "INSERT INTO parts VALUES (?, ?, ?, ?)",
                    (position, kind, number, view[start : start + size]),
                )
    return position


def read_slice(
    connection: sqlite3.Connection, path: Path, library_id: str, floor: int
) -> tuple[list[RawEntry], bool]:
    """Read some of the library's entries above ``floor``, in order, and tell whether these were the last.

    Raises:
        StorageFailed: an entry is gone; ``path`` names the file.
    """
    state = library_state(connection, library_id)
    last, trimmed = state or (0, 0)
    floor = max(floor, trimmed)
    found: list[RawEntry] = []
    size = 0
    complete = True
    rows = connection.execute(_SELECT, (library_id, floor))
    try:
        for row in rows:
            raw = _raw(connection, path, row)
            # Within a slice each entry follows the one before; its first follows something at or below the floor.
            if raw.previous > floor or (found and raw.previous != floor):
                raise damaged(path, f"entry {raw.previous} of library {library_id!r} is gone")
            found.append(raw)
            floor = raw.position
            size += sum(map(len, raw.operation)) + sum(map(len, raw.vectors))
            if size >= _SLICE_BYTES or len(found) >= _SLICE_ROWS:
                complete = False
                break
    finally:
        rows.close()
    if complete and (last > floor or (found and state is None)):
        raise damaged(path, f"entry {last} of library {library_id!r}, its last, is gone")
    return found, complete


def read_entry(connection: sqlite3.Connection, path: Path, position: int) -> tuple[str, RawEntry] | None:
    """Read the entry at a position, unchecked, and whose it says it is; none where there is none.

    Raises:
        StorageFailed: parts of it are gone; ``path`` names the file.
        sqlite3.Error: the file cannot be read there.
    """
    row: tuple[object, ...] | None = connection.execute(_SELECT_ONE, (position,)).fetchone()
    return None if row is None else (str(row[0]), _raw(connection, path, row[1:]))


def _raw(connection: sqlite3.Connection, path: Path, row: tuple[object, ...]) -> RawEntry:
    position, previous, checksum, rows, dimension, operation_parts, vectors_parts, operation, vectors = row
    return RawEntry(
        position=_whole(position),
        previous=_whole(previous),
        checksum=_whole(checksum),
        shape=None if rows is None else (_whole(rows), _whole(dimension)),
        operation=[_bytes(operation), *_parts(connection, path, position, "operation", operation_parts)],
        vectors=[]
        if vectors is None
        else [_bytes(vectors), *_parts(connection, path, position, "vectors", vectors_parts)],
    )


def _parts(
    connection: sqlite3.Connection, path: Path, position: object, kind: str, count: object
) -> list[bytes]:
    if not count:
        return []
    rows: list[tuple[object]] = connection.execute(
        "SELECT data FROM parts WHERE entry = ? AND kind = ? ORDER BY number", (position, kind)
    ).fetchall()
    if len(rows) != count:
        raise damaged(path, f"entry {position} has {len(rows)} of {count} further parts of its {kind}")
    return [_bytes(data) for (data,) in rows]


def check(path: Path, library_id: str, raw: RawEntry) -> JournalEntry:
    """Give the entry that a row holds.

    Raises:
        StorageFailed: it is not what was appended; ``path`` names the file.
    """
    checksum = _seal(library_id, raw.previous, raw.shape)
    for part in (*raw.operation, *raw.vectors):
        checksum = zlib.crc32(part, checksum)
    size = sum(map(len, raw.vectors))
    if checksum != raw.checksum or (raw.shape is not None and raw.shape[0] * raw.shape[1] * 4 != size):
        raise damaged(path, f"entry {raw.position} of library {library_id!r} was altered")
    operation = raw.operation[0] if len(raw.operation) == 1 else b"".join(raw.operation)
    return JournalEntry(library_id=library_id, operation=operation, vectors=_matrix(raw))


def library_state(connection: sqlite3.Connection, library_id: str) -> tuple[int, int] | None:
    """Give the library's last position, and the one up to which it was trimmed."""
    row: tuple[int, int] | None = connection.execute(
        "SELECT last, trimmed FROM libraries WHERE library_id = ?", (library_id,)
    ).fetchone()
    return row


def last_position(connection: sqlite3.Connection) -> int:
    """Give the last position that was ever given, trimmed or not; 0 in a new journal.

    SQLite gives the next one above both: its counter, and the entries there are, should the counter be damaged.
    """
    row: tuple[int] = connection.execute(
        "SELECT max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'entries'), 0),"
        " coalesce((SELECT max(position) FROM entries), 0))"
    ).fetchone()
    return row[0]


def _seal(library_id: str, previous: int, shape: tuple[int, int] | None) -> int:
    return zlib.crc32(f"{library_id}\0{previous}\0{shape}\0".encode())


def _matrix(raw: RawEntry) -> NDArray[np.float32] | None:
    if raw.shape is None:
        return None
    data = raw.vectors[0] if len(raw.vectors) == 1 else b"".join(raw.vectors)
    matrix = np.frombuffer(data, dtype="<f4").reshape(raw.shape)
    return matrix if sys.byteorder == "little" else matrix.astype(np.float32)


def _whole(value: object) -> int:
    return value if isinstance(value, int) else -1


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else b""
