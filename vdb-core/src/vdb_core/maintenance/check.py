"""Reads all of a data directory: every checksum of every generation, the journal, and what a start would make of them.

Nothing is opened for writing and nothing is changed, so that a damaged disk is not damaged further; see ``reading``.
Plugins are not needed: an index whose type is not installed has its files verified like any other.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import orjson

from vdb_core.engine.answers import ANSWERS
from vdb_core.engine.operations import decode as decode_operation
from vdb_core.engine.storage import Storage
from vdb_core.errors import FormatUnsupported, StorageFailed, VdbError
from vdb_core.maintenance.generations import look_at_library
from vdb_core.maintenance.log_frames import passed_over
from vdb_core.maintenance.reading import ReadJournal, ReadStore, journal_connection
from vdb_core.maintenance.report import CheckReport, LibraryReport
from vdb_core.persistence.directory_lock import lock_for_reading
from vdb_core.persistence.durable import told
from vdb_core.persistence.journal_files import ENTRIES, entry_files
from vdb_core.persistence.journal_rows import filed_positions
from vdb_core.persistence.kept_by import JOURNAL, kept_by
from vdb_core.persistence.numpy_snapshots import NumpySnapshotStore
from vdb_core.plugins import PluginManager

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vdb_core.persistence import DirectoryLock

__all__ = ["check_directory", "check_locked", "lock_of"]

_LIBRARY_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_LEFTOVERS: Final = (
    f"{JOURNAL}-shm",
    f"{JOURNAL}-wal.new",
    f"{JOURNAL}.new",
    f"{JOURNAL}.new-journal",
    f"{JOURNAL}.probe",
    f"{JOURNAL}.repaired.tmp",
)
_LEFT: Final = "left by an interrupted write or deletion; the next one removes it"
_QUARANTINE: Final = "_quarantine"
_MAX_REASON: Final = 4096


def check_directory(
    data_dir: Path, *, report: Callable[[float, str], None] = lambda _done, _what: None
) -> CheckReport:
    """Check a data directory; ``report`` is told the share that is done, and of what.

    Raises:
        StorageFailed: there is no such directory, or it cannot be read.
        DataDirectoryLocked: an engine has it open.
    """
    with ExitStack() as held:
        lock = lock_of(data_dir)
        if lock is not None:
            held.enter_context(lock)
        return check_locked(data_dir, report=report)


def lock_of(data_dir: Path) -> DirectoryLock | None:
    """Lock an existing directory without writing to it."""
    if not data_dir.is_dir():
        raise StorageFailed(f"There is no data directory {data_dir}.")
    kept = kept_by(data_dir)
    if kept is not None:
        raise StorageFailed(
            f"{data_dir} is kept by the snapshot store {kept['snapshot_store']!r} and the journal {kept['journal']!r}; only what "
            "the built-in ones keep can be checked and repaired here."
        )
    return lock_for_reading(data_dir)


def check_locked(
    data_dir: Path, *, report: Callable[[float, str], None] = lambda _done, _what: None
) -> CheckReport:
    """Check a directory that the caller has locked."""
    result = CheckReport(directory=str(data_dir))
    _look_around(data_dir, result)
    with ExitStack() as opened:
        journal = _open_journal(data_dir, result, opened)
        ids = set(NumpySnapshotStore(data_dir).libraries())
        if journal is not None:
            report(0.0, "journal")
            ids.update(_read_chains(journal, result))
        store = ReadStore(NumpySnapshotStore(data_dir))
        for number, library_id in enumerate(sorted(ids)):
            report((number + 1) / (len(ids) + 1), library_id)
            library = look_at_library(data_dir, library_id, result)
            result.libraries.append(library)
            if result.journal.problem is None:
                _try_recovery(store, journal, library, result)
            else:
                library.problem = "the journal cannot be read, so nothing opens"
    positions = [one.journal_position or 0 for library in result.libraries for one in library.generations]
    if result.journal.problem is None and max(positions, default=0) > result.journal.position:
        what = f"it ends at position {result.journal.position}" if result.journal.exists else "there is none"
        text = f"{what}, and snapshots are at {max(positions)}: it was lost, with the writes that only it had"
        result.add("error", JOURNAL, text)
    report(1.0, "done")
    result.finish()
    return result


def _look_around(data_dir: Path, result: CheckReport) -> None:
    """Name what lies in the directory and is neither a library nor the journal."""
    with told(f"list {data_dir}"):
        found = sorted(data_dir.iterdir())
    for path in found:
        if path.name in {"_lock", "_api_key", JOURNAL, f"{JOURNAL}-wal", ENTRIES}:
            continue
        if path.name == _QUARANTINE and path.is_dir():
            _look_into_quarantine(path, result)
        elif path.name.startswith("_deleted-") or path.name in _LEFTOVERS:
            result.add("note", path.name, _LEFT)
        elif path.is_symlink():
            result.add("note", path.name, "a symbolic link, which is not followed")
        elif not (path.is_dir() and _LIBRARY_ID.fullmatch(path.name)):
            result.add("note", path.name, "not vdb's; harmless")
        elif not any(one.name == "manifest.json" or one.name.isdigit() for one in path.iterdir()):
            result.add("note", path.name, "a directory without a library in it; harmless")


def _look_into_quarantine(directory: Path, result: CheckReport) -> None:
    for path in sorted(directory.iterdir()):
        reason = ""
        try:
            with (path / "reason.txt").open("rb") as file:
                reason = file.read(_MAX_REASON).decode("utf-8", "replace").strip()
        except OSError:
            reason = "no reason was written"
        result.quarantine.append({"name": path.name, "reason": reason})
        result.add("note", f"{_QUARANTINE}/{path.name}", f"set aside: {reason}")


def _open_journal(data_dir: Path, result: CheckReport, opened: ExitStack) -> ReadJournal | None:
    path = data_dir / JOURNAL
    log = data_dir / f"{JOURNAL}-wal"
    result.journal.log_bytes = log.stat().st_size if log.exists() else 0
    filed = dict(entry_files(path))
    if not (path.exists() or log.exists() or filed):
        return None
    result.journal.exists = True
    if result.journal.log_bytes:
        with told(f"read {log}"):
            unseen = passed_over(log)
        if unseen is not None:
            result.add("warning", log.name, unseen)
    result.journal.bytes = path.stat().st_size if path.exists() else 0
    result.journal.file_bytes = sum(file.stat().st_size for file in filed.values())
    try:
        connection = opened.enter_context(journal_connection(data_dir))
        problems = _integrity(connection)
        journal = ReadJournal(connection, path)
        result.journal.position = journal.position
        ((result.journal.entries,),) = connection.execute("SELECT count(*) FROM entries").fetchall()
        unnamed = filed.keys() - filed_positions(connection)
    except (FormatUnsupported, StorageFailed) as error:
        result.journal.problem = str(error)
    except (sqlite3.Error, ValueError) as error:
        result.journal.problem = f"SQLite reports: {error}"
    else:
        for problem in problems:
            result.add("error", JOURNAL, f"SQLite reports: {problem}")
        for position in sorted(unnamed):
            result.add("note", f"{ENTRIES}/{filed[position].name}", _LEFT)
        return journal
    result.add("error", JOURNAL, result.journal.problem)
    return None


def _integrity(connection: sqlite3.Connection) -> list[str]:
    """What SQLite finds wrong with its own structure."""
    rows: list[tuple[str]] = connection.execute("PRAGMA integrity_check(20)").fetchall()
    return [text for (text,) in rows if text != "ok"]


def _read_chains(journal: ReadJournal, result: CheckReport) -> list[str]:
    """Check each entry of each chain; gives the libraries that have entries."""
    try:
        ids = [*journal.libraries()]
    except sqlite3.Error as error:
        result.journal.problem = f"SQLite reports: {error}"
        result.add("error", JOURNAL, result.journal.problem)
        return []
    for library_id in ids:
        try:
            for _, entry in journal.replay(library_id, 0):
                _ = orjson.loads(entry.operation) if library_id == ANSWERS else decode_operation(entry)
        except (VdbError, sqlite3.Error, KeyError, ValueError, TypeError) as error:
            result.journal.damaged[library_id] = str(error)
            if library_id == ANSWERS:
                result.add(
                    "warning",
                    JOURNAL,
                    f"remembered answers to repeated writes are damaged and would be forgotten: {error}",
                )
    return [one for one in ids if one != ANSWERS]


def _try_recovery(
    store: ReadStore, journal: ReadJournal | None, library: LibraryReport, result: CheckReport
) -> None:
    """Open the library as a start would, and let go of it again."""
    plugins = PluginManager(entry_points=lambda: ())
    plugins.load()
    before = len(store.set_aside)
    try:
        state = Storage(plugins, store, journal).load(library.id)
        if journal is not None:
            after = 0 if state is None or state.snapshot_position < 0 else state.snapshot_position
            library.journal_entries = sum(1 for _ in journal.replay(library.id, after))
    except (VdbError, sqlite3.Error) as error:
        library.problem = str(error)
        result.add("error", library.id, f"it would not open: {error}")
        return
    except (KeyError, ValueError, TypeError) as error:
        library.problem = f"{type(error).__name__}: {error}"
        result.add("error", library.id, f"it would not open: {library.problem}")
        return
    damaged = store.set_aside[before:]
    for _, generation, reason in damaged:
        result.add(
            "warning",
            f"{library.id}/{generation}",
            f"damaged; an older state and the journal take its place: {reason}",
        )
    if library.id in result.journal.damaged:
        result.add(
            "warning",
            library.id,
            f"entries that no start needs are damaged: {result.journal.damaged[library.id]}",
        )
    library.opens = True
    if state is None:
        library.problem = "it was deleted; what is left of it would be removed"
        result.add("note", library.id, library.problem)
        return
    library.revision = state.info["revision"]
    library.documents, library.chunks = len(state.documents), state.live
    library.index_type = state.info["index_type"]
    library.generation = state.base_generation or (None if state.snapshot_position < 0 else state.generation)
    for block in state.blocks():
        block.close()
    if state.active is not None:
        state.active.index.close()
        state.active = None
