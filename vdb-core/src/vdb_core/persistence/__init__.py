"""Persistence: the contracts of a snapshot store and of a journal, and what the default ones are made of.

The defaults themselves, ``numpy_snapshots.NumpySnapshotStore`` and ``sqlite_journal.SqliteJournal``, are opened
through the same plugin hooks as anybody's and are therefore not imported here.
"""

from __future__ import annotations

from vdb_core.persistence.contracts import (
    Embedder,
    Journal,
    JournalEntry,
    MeasuredJournal,
    SnapshotParts,
    SnapshotStore,
    StoredSnapshot,
)
from vdb_core.persistence.directory_lock import DirectoryLock, lock_directory
from vdb_core.persistence.npy import map_npy, read_npy_bytes, write_npy

__all__ = [
    "DirectoryLock",
    "Embedder",
    "Journal",
    "JournalEntry",
    "MeasuredJournal",
    "SnapshotParts",
    "SnapshotStore",
    "StoredSnapshot",
    "lock_directory",
    "map_npy",
    "read_npy_bytes",
    "write_npy",
]
