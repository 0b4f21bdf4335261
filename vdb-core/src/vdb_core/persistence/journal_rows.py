"""The rows of the journal: how an entry is laid down in SQLite, and how it is checked when it comes back.

::

    entries     position, library_id, previous (position of the library's entry before), checksum, shape,
                the first part of the operation and of the vectors, or that both lie in a file (see ``journal_files``)
    parts       what exceeds one part, numbered
    libraries   library_id, last (position of its last entry), trimmed (what lies at or below counts no more)

SQLite keeps no checksums of its pages, so each entry carries one of its own; ``previous`` and ``last`` make a chain
that shows a row that is gone.
"""

from __future__ import annotations

import os
import sys
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from vdb_core.persistence.contracts import JournalEntry
from vdb_core.persistence.durable import told
from vdb_core.persistence.journal_files import entry_file, file_size
from vdb_core.persistence.sqlite_file import damaged

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = [
    "COLUMNS",
    "LaidEntry",
    "RawEntry",
    "check",
    "delete_slice",
    "filed_positions",
    "insert",
    "last_position",
    "lay",
    "library_state",
    "read_entry",
    "read_slice",
]

_SLICE_BYTES: Final = 8 << 20
_SLICE_ROWS: Final = 256
_DELETED_BYTES: Final = 4 << 20

COLUMNS: Final = """library_id, position, previous, checksum, "rows", dimension, operation_parts, vectors_parts,
    operation_bytes, operation, vectors"""
"""Of a row of the table of entries."""
_INSERT: Final = f"INSERT INTO entries ({COLUMNS}) VALUES ({', '.join('?' * 11)})"  # noqa: S608 - constants
_ALL: Final = f"SELECT {COLUMNS} FROM entries"  # noqa: S608 - constants
_SELECT: Final = f"{_ALL} WHERE library_id = ? AND position > ? ORDER BY position"
_SELECT_ONE: Final = f"{_ALL} WHERE position = ?"


@dataclass(frozen=True, slots=True, kw_only=True)
class RawEntry:
    """An entry as it lies in the file, not yet checked."""

    position: int
    previous: int
    checksum: int
    shape: tuple[int, int] | None
    operation: list[bytes]
    vectors: list[bytes]


@dataclass(frozen=True, slots=True)
class LaidEntry:
    """An entry as bytes, without a copy of them where its vectors are as they are stored."""

    library_id: str
    operation: memoryview
    vectors: memoryview | None
    shape: tuple[int, int] | None

    @property
    def file_parts(self) -> tuple[memoryview, ...]:
        """What its own file holds: the vectors, aligned like the file, and then the operation."""
        return (self.operation,) if self.vectors is None else (self.vectors, self.operation)

    @property
    def nbytes(self) -> int:
        """Bytes of both."""
        return sum(map(len, self.file_parts))


def lay(entry: JournalEntry) -> LaidEntry:
    """Give an entry as bytes."""
    operation = memoryview(entry.operation)
    if entry.vectors is None:
        return LaidEntry(entry.library_id, operation, None, None)
    matrix = np.ascontiguousarray(entry.vectors, dtype="<f4")
    if matrix.ndim != 2:
        raise ValueError(f"Expected vectors of shape [rows, dim], received shape {matrix.shape}.")
    vectors = matrix.reshape(-1).view(np.uint8).data
    return LaidEntry(entry.library_id, operation, vectors, (matrix.shape[0], matrix.shape[1]))


def insert(
    connection: sqlite3.Connection, batch: Mapping[int, LaidEntry], filed: Collection[int], *, part_bytes: int
) -> None:
    """Insert entries at their positions within a transaction of the caller; those in ``filed`` lie in files already."""
    last: dict[str, int] = {}
    for position, entry in batch.items():
        library_id = entry.library_id
        if library_id not in last:
            state = library_state(connection, library_id)
            last[library_id] = 0 if state is None else state[0]
        _insert_entry(
            connection, position, entry, last[library_id], None if position in filed else part_bytes
        )
        last[library_id] = position
    _ = connection.executemany(
        "INSERT INTO libraries VALUES (?, ?, 0) ON CONFLICT (library_id) DO UPDATE SET last = excluded.last",
        list(last.items()),
    )


def _insert_entry(
    connection: sqlite3.Connection, position: int, entry: LaidEntry, previous: int, part_bytes: int | None
) -> None:
    """Insert one; no ``part_bytes``: only that it lies in a file."""
    operation, vectors = entry.operation, entry.vectors
    checksum = _seal(entry.library_id, previous, entry.shape)
    checksum = zlib.crc32(operation, checksum)
    if vectors is not None:
        checksum = zlib.crc32(vectors, checksum)
    head = (entry.library_id, position, previous, checksum, *(entry.shape or (None, None)))
    if part_bytes is None:
        _ = connection.execute(_INSERT, (*head, 0, 0, len(operation), b"", None))
        return
    size = part_bytes
    more_operation = range(size, len(operation), size)
    more_vectors = range(size, 0 if vectors is None else len(vectors), size)
    first = (operation[:size], None if vectors is None else vectors[:size])
    _ = connection.execute(_INSERT, (*head, len(more_operation), len(more_vectors), None, *first))
    for kind, view, starts in (("operation", operation, more_operation), ("vectors", vectors, more_vectors)):
        for number, start in enumerate(starts):
            if view is not None:
                _ = connection.execute(
                    "INSERT INTO parts VALUES (?, ?, ?, ?)",
                    (position, kind, number, view[start : start + size]),
                )


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
    return None if row is None else (str(row[0]), _raw(connection, path, row))


def _raw(connection: sqlite3.Connection, path: Path, row: tuple[object, ...]) -> RawEntry:
    _, position, previous, checksum, rows, dimension, operation_parts, vectors_parts, filed, *first = row
    shape = None if rows is None else (_whole(rows), _whole(dimension))
    if filed is not None:
        operation, vectors = _from_file(path, _whole(position), _whole(filed), shape)
    else:
        operation = [_bytes(first[0]), *_parts(connection, path, position, "operation", operation_parts)]
        vectors = []
        if first[1] is not None:
            vectors = [_bytes(first[1]), *_parts(connection, path, position, "vectors", vectors_parts)]
    return RawEntry(
        position=_whole(position),
        previous=_whole(previous),
        checksum=_whole(checksum),
        shape=shape,
        operation=operation,
        vectors=vectors,
    )


def _from_file(
    path: Path, position: int, operation_bytes: int, shape: tuple[int, int] | None
) -> tuple[list[bytes], list[bytes]]:
    """Read an entry's own file: its operation, and its vectors."""
    vector_bytes = 0 if shape is None else shape[0] * shape[1] * 4
    place = entry_file(path, position)
    with told(f"read {place}"):
        try:
            with place.open("rb") as file:
                found, expected = os.fstat(file.fileno()).st_size, file_size(vector_bytes + operation_bytes)
                # No size is believed that the file does not have.
                if found != expected or min(vector_bytes, operation_bytes) < 0:
                    raise damaged(path, f"{place.name} has {found} bytes; entry {position} takes {expected}")
                vectors = [] if shape is None else [file.read(vector_bytes)]
                return [file.read(operation_bytes)], vectors
        except FileNotFoundError:
            raise damaged(path, f"{place.name}, which holds entry {position}, is gone") from None


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


def delete_slice(connection: sqlite3.Connection, library_id: str, mark: int) -> list[int] | None:
    """Delete some of the library's rows at or below a position, within a transaction of the caller.

    Gives the positions among them whose entries lie in files; none where there was nothing left to delete.
    """
    rows: list[tuple[int, int, int | None]] = connection.execute(
        "SELECT position, length(operation) + coalesce(length(vectors), 0), operation_bytes FROM entries"
        " WHERE library_id = ? AND position <= ? ORDER BY position LIMIT ?",
        (library_id, mark, _SLICE_ROWS),
    ).fetchall()
    if not rows:
        return None
    part: tuple[int] | None = connection.execute(
        "SELECT rowid FROM parts WHERE entry = ? LIMIT 1", (rows[0][0],)
    ).fetchone()
    if part is not None:
        _ = connection.execute("DELETE FROM parts WHERE rowid = ?", part)
        return []
    size = 0
    filed: list[int] = []
    for position, length, operation_bytes in rows:
        if size and (size + length > _DELETED_BYTES or _has_parts(connection, position)):
            break
        size += max(length, 1)
        _ = connection.execute("DELETE FROM entries WHERE position = ?", (position,))
        if operation_bytes is not None:
            filed.append(position)
    _ = connection.execute(
        "DELETE FROM libraries WHERE library_id = ? AND last <= trimmed"
        " AND NOT EXISTS (SELECT 1 FROM entries WHERE entries.library_id = libraries.library_id)",
        (library_id,),
    )
    return filed


def _has_parts(connection: sqlite3.Connection, position: int) -> bool:
    return (
        connection.execute("SELECT 1 FROM parts WHERE entry = ? LIMIT 1", (position,)).fetchone() is not None
    )


def filed_positions(connection: sqlite3.Connection) -> set[int]:
    """Give the positions of entries that lie in files of their own."""
    rows: list[tuple[int]] = connection.execute(
        "SELECT position FROM entries WHERE operation_bytes IS NOT NULL"
    ).fetchall()
    return {position for (position,) in rows}


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
