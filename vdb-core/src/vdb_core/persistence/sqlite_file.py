"""Creates and opens the SQLite file of the journal, and tells its errors in the operator's words.

Why write-ahead logging with ``synchronous=FULL``: a commit is one append to one file and one fsync, where a rollback
journal needs two or three. There is one connection, which holds the file exclusively: no shared memory, no second
reader, and none of the defects that need two of them.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from vdb_core.errors import FormatUnsupported, OperatorError, StorageBroken, StorageFailed, StorageFull
from vdb_core.persistence.durable import Disk, is_full, told
from vdb_core.persistence.journal_files import ENTRIES, entry_files
from vdb_core.persistence.sqlite_guard import check_sqlite, renew_log

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

__all__ = [
    "FORMAT_VERSION",
    "check_format",
    "damaged",
    "open_database",
    "pragma",
    "read_as_current",
    "sqlite_told",
    "translate",
    "write_schema",
]

FORMAT_VERSION: Final = 2
"""Kept in ``user_version``. This code writes this one and reads it and every older one."""

_APPLICATION_ID: Final = 0x7664626A  # "vdbj"
_MAGIC: Final = b"SQLite format 3\x00"
_PAGE_BYTES: Final = 8192
_LOG_BYTES: Final = 4 << 20
"""What the log keeps of the disk once it was copied into the file."""

_SCHEMA: Final = (
    # AUTOINCREMENT: a position is never given twice, however much was trimmed. `previous` is the position of the
    # library's entry before this one, so that a lost row is noticed. What exceeds one part goes to `parts`. Where
    # `operation_bytes` is not NULL, vectors and that many bytes of operation lie in the entry's own file; it comes
    # before the two, for SQLite reads a row from its beginning.
    """CREATE TABLE entries (
        position INTEGER PRIMARY KEY AUTOINCREMENT,
        library_id TEXT NOT NULL,
        previous INTEGER NOT NULL,
        checksum INTEGER NOT NULL,
        "rows" INTEGER,
        dimension INTEGER,
        operation_parts INTEGER NOT NULL,
        vectors_parts INTEGER NOT NULL,
        operation_bytes INTEGER,
        operation BLOB NOT NULL,
        vectors BLOB
    )""",
    "CREATE INDEX entries_by_library ON entries (library_id, position)",
    """CREATE TABLE parts (
        entry INTEGER NOT NULL,
        kind TEXT NOT NULL,
        number INTEGER NOT NULL,
        data BLOB NOT NULL,
        PRIMARY KEY (entry, kind, number)
    )""",
    """CREATE TABLE libraries (
        library_id TEXT NOT NULL PRIMARY KEY,
        last INTEGER NOT NULL,
        trimmed INTEGER NOT NULL
    ) WITHOUT ROWID""",
)


def pragma(connection: sqlite3.Connection, text: str) -> int | str | None:
    """Run a pragma to its end; gives the first value of its first row."""
    rows: list[tuple[int | str, ...]] = connection.execute(f"PRAGMA {text}").fetchall()
    return rows[0][0] if rows else None


@contextmanager
def sqlite_told(path: Path, action: str) -> Generator[None]:
    """Turn every SQLite error of a block into the operator's error; ``action`` completes "Could not ..."."""
    try:
        yield
    except sqlite3.Error as error:
        raise translate(error, path, action) from error
    except UnicodeDecodeError as error:
        # A damaged schema is quoted in SQLite's message, which Python then cannot read.
        raise damaged(path, f"SQLite's message about it is no text ({error})") from error


def translate(error: sqlite3.Error, path: Path, action: str) -> OperatorError:
    """Tell an error of SQLite in the operator's words; ``action`` completes "Could not ..."."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    primary = code & 0xFF
    name = getattr(error, "sqlite_errorname", "no code")
    # A failed fsync is never about room: what it was to write has been taken by the system, and is lost.
    if primary == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR_WRITE and _no_room_beside(path)):
        return StorageFull(f"Could not {action}: no room for {path}. Free some space and try again.")
    if primary == sqlite3.SQLITE_IOERR:
        return StorageBroken(f"Could not {action}: {error} ({name}) in {path}.")
    if primary in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return damaged(path, f"SQLite reports: {error}")
    if primary in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return StorageFailed(
            f"Could not {action}: another program has {path} open. Close it there and try again."
        )
    return StorageFailed(f"Could not {action}: {error} ({name}) in {path}.")


def _no_room_beside(path: Path) -> bool:
    """SQLite calls a used-up quota an I/O error: find out by trying."""
    probe = path.with_name(f"{path.name}.probe")
    disk = Disk()
    try:
        with suppress(FileExistsError), disk.create(probe) as file:
            disk.write(file, bytes(64 << 10))
            disk.sync_file(file)
    except OSError as error:
        return is_full(error)
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)
    return False


def damaged(path: Path, why: str) -> StorageFailed:
    """Make the error of a journal that cannot be trusted; ``why`` names what was found."""
    return StorageFailed(
        f"The journal {path} is damaged: {why}. It holds acknowledged writes, so nothing goes on without it: restore "
        f"it from a backup, or move it, its -wal file and {ENTRIES} away to go on without what only they hold."
    )


def open_database(path: Path) -> sqlite3.Connection:
    """Open the file, creating it where there is none, and take hold of it exclusively.

    Raises:
        StorageFailed: it is damaged, in use, or was removed from beside its ``-wal`` file.
        StorageFull: there is no room to create it.
        FormatUnsupported: a newer version wrote it.
    """
    check_sqlite()
    with told(f"open the journal {path}"):
        if not path.exists():
            wal = path.with_name(f"{path.name}-wal")
            if wal.exists():
                raise damaged(path, f"it is missing, while {wal.name} is there with what came last")
            if any(entry_files(path)):
                raise damaged(path, f"it is missing, while {ENTRIES} is there with entries of it")
            _create(path)
        with path.open("rb") as file:
            start = file.read(len(_MAGIC))
        if start != _MAGIC:
            # SQLite would take an empty file for an empty database.
            raise damaged(path, f"it begins with {start!r} instead of {_MAGIC!r}")
    renew_log(path)
    with sqlite_told(path, "open the journal"):
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw",
            uri=True,
            timeout=1,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            _configure(connection, path)
            # SQLite syncs the directory of a log that it makes, and takes no notice where that fails. It has made one
            # now; its name, and that an older one is gone, must be safe before anything relies on it.
            with told(f"open the journal {path}"):
                Disk().sync_directory(path.parent)
        except BaseException:
            connection.close()
            raise
    return connection


def _configure(connection: sqlite3.Connection, path: Path) -> None:
    _ = pragma(connection, "locking_mode=EXCLUSIVE")
    check_format(connection, path)
    mode = pragma(connection, "journal_mode=WAL")
    if mode != "wal":
        raise StorageFailed(f"SQLite cannot keep a write-ahead log for {path}: it chose the mode {mode!r}.")
    _ = pragma(connection, "synchronous=FULL")
    # On macOS an fsync alone stays in the drive's cache; elsewhere these two change nothing.
    _ = pragma(connection, "fullfsync=ON")
    _ = pragma(connection, "checkpoint_fullfsync=ON")
    _ = pragma(connection, "secure_delete=OFF")
    # No append does a checkpoint: it would wait for it, and SQLite hides from it whether it failed.
    _ = pragma(connection, "wal_autocheckpoint=0")
    _ = pragma(connection, f"journal_size_limit={_LOG_BYTES}")
    # Entries are written once and read once, in a replay: a larger cache would only be memory.
    _ = pragma(connection, "cache_size=-2048")
    if pragma(connection, "user_version") != FORMAT_VERSION:
        _upgrade(connection)
    _ = connection.execute("BEGIN IMMEDIATE")
    _ = connection.execute("COMMIT")


def check_format(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a file that is no journal, or one that a newer version wrote.

    Raises:
        StorageFailed: it is something else.
        FormatUnsupported: a newer version wrote it.
    """
    application, version = pragma(connection, "application_id"), pragma(connection, "user_version")
    if application != _APPLICATION_ID:
        raise damaged(path, f"its application id is {application}; expected {_APPLICATION_ID}")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise FormatUnsupported(
            f"The journal {path} has format version {version}; this vdb reads versions 1 to {FORMAT_VERSION}. "
            f"Open it with the newer vdb that wrote it."
        )
    rows: list[tuple[str]] = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table'"
    ).fetchall()
    found = {name for (name,) in rows}
    known = isinstance(version, int) and version >= 1
    if not ({"entries", "parts", "libraries"} <= found and known):
        raise damaged(
            path,
            f"expected a version up to {FORMAT_VERSION} with its tables, found {version} with {sorted(found)}",
        )


def read_as_current(connection: sqlite3.Connection) -> None:
    """Let a file of an older version be read like one of this version, by this connection, and stay what it is."""
    if _lacks_operation_bytes(connection):
        _ = connection.execute(
            "CREATE TEMP VIEW entries AS SELECT *, NULL AS operation_bytes FROM main.entries"
        )


def _upgrade(connection: sqlite3.Connection) -> None:
    """Make a file of an older version one of this version, in one transaction."""
    _ = connection.execute("BEGIN IMMEDIATE")
    if _lacks_operation_bytes(connection):
        _ = connection.execute("ALTER TABLE entries ADD COLUMN operation_bytes INTEGER")
    _ = pragma(connection, f"user_version={FORMAT_VERSION}")
    _ = connection.execute("COMMIT")


def _lacks_operation_bytes(connection: sqlite3.Connection) -> bool:
    columns: list[tuple[object, ...]] = connection.execute("PRAGMA main.table_info(entries)").fetchall()
    return "operation_bytes" not in {column[1] for column in columns}


def write_schema(connection: sqlite3.Connection) -> None:
    """Make an empty journal of a new file."""
    _ = pragma(connection, f"page_size={_PAGE_BYTES}")
    _ = pragma(connection, "auto_vacuum=INCREMENTAL")
    _ = connection.execute("BEGIN IMMEDIATE")
    for statement in _SCHEMA:
        _ = connection.execute(statement)
    _ = pragma(connection, f"application_id={_APPLICATION_ID}")
    _ = pragma(connection, f"user_version={FORMAT_VERSION}")
    _ = connection.execute("COMMIT")


def _create(path: Path) -> None:
    """Make a complete empty journal under another name first: a half-made one must not look like a damaged one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.new")
    for leftover in (fresh, fresh.with_name(f"{fresh.name}-journal")):
        leftover.unlink(missing_ok=True)
    with sqlite_told(path, "create the journal"):
        connection = sqlite3.connect(fresh, isolation_level=None)
        try:
            write_schema(connection)
        finally:
            connection.close()
    disk = Disk()
    disk.sync_path(fresh)
    fresh.replace(path)
    disk.sync_directory(path.parent)
    disk.sync_directory(path.parent.absolute().parent)
