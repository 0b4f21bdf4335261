"""A store and a journal that only read, so that the engine's own recovery can be tried without changing a byte.

The journal: SQLite would bring its write-ahead log into the file as soon as it opens it for writing, and needs a file
beside it even for reading. So where there is a log, the file and the log are copied and the copy is opened; where there is
none, the file is opened as one that nobody changes, which reads it and touches nothing.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn, final

from vdb_core.errors import StorageFailed
from vdb_core.persistence.durable import told
from vdb_core.persistence.journal_files import ENTRIES
from vdb_core.persistence.journal_rows import check, last_position, read_slice
from vdb_core.persistence.kept_by import JOURNAL
from vdb_core.persistence.sqlite_file import check_format, damaged, read_as_current, sqlite_told

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterator, Mapping, Sequence

    from vdb_core.persistence import JournalEntry, SnapshotParts, StoredSnapshot
    from vdb_core.persistence.numpy_snapshots import NumpySnapshotStore

__all__ = ["ReadJournal", "ReadStore", "journal_connection"]

_MAGIC: Final = b"SQLite format 3\x00"


@contextmanager
def journal_connection(data_dir: Path) -> Generator[sqlite3.Connection]:
    """Open the journal of a directory without changing anything there, the log that is not in the file yet included.

    Raises:
        StorageFailed: it is missing beside its log, or no SQLite file, or there is no room for the copy.
    """
    path = data_dir / JOURNAL
    log = data_dir / f"{JOURNAL}-wal"
    with told(f"read the journal {path}"):
        hot = log.exists() and log.stat().st_size > 0
        if not path.exists():
            raise damaged(path, f"it is missing, while {log.name} or {ENTRIES} is there with what came last")
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise damaged(path, "it does not begin as an SQLite file does")
    if not hot:
        address = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
        with _connected(path, address) as connection:
            yield connection
        return
    with tempfile.TemporaryDirectory(prefix="vdb-check-") as scratch:
        copy = Path(scratch) / JOURNAL
        with told(f"copy the journal to {scratch} (set TMPDIR to a place with room)"):
            shutil.copyfile(path, copy)
            shutil.copyfile(log, f"{copy}-wal")
        with _connected(path, copy.as_uri()) as connection:
            yield connection


@contextmanager
def _connected(path: Path, address: str) -> Generator[sqlite3.Connection]:
    """Connect to a journal, whatever its version is, as to one of this version."""
    with (
        sqlite_told(path, "read the journal"),
        closing(sqlite3.connect(address, uri=True, isolation_level=None)) as connection,
    ):
        read_as_current(connection)
        yield connection


@final
class ReadJournal:
    """A journal over such a connection. What would change it is not done."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        """Check that it is a journal of a format that is known here; beside ``path`` lie the files of its entries."""
        check_format(connection, path)
        self._connection = connection
        self._path = path

    @property
    def position(self) -> int:
        """The last position that was ever given."""
        return last_position(self._connection)

    def libraries(self) -> Sequence[str]:
        """Ids with entries, those included that the table of libraries does not name."""
        rows: list[tuple[str]] = self._connection.execute(
            "SELECT library_id FROM libraries WHERE last > trimmed UNION SELECT DISTINCT library_id FROM entries"
            " WHERE library_id NOT IN (SELECT library_id FROM libraries) ORDER BY library_id"
        ).fetchall()
        return [one for (one,) in rows]

    def replay(self, library_id: str, after: int) -> Iterator[tuple[int, JournalEntry]]:
        """Iterate over the library's entries, each checked."""
        floor, complete = after, False
        while not complete:
            with sqlite_told(self._path, "read the journal"):
                found, complete = read_slice(self._connection, self._path, library_id, floor)
            for raw in found:
                yield raw.position, check(self._path, library_id, raw)
                floor = raw.position

    def advance_to(self, position: int) -> None:
        """Not done."""
        del position

    def trim(self, library_id: str, up_to: int) -> None:
        """Not done."""
        del library_id, up_to

    def append(self, batch: Sequence[JournalEntry]) -> int:
        """Refused."""
        del batch
        _refuse()

    def close(self) -> None:
        """Whoever opened the connection closes it."""


@final
class ReadStore:
    """The snapshot store without what changes it; a generation that would be set aside is noted."""

    def __init__(self, store: NumpySnapshotStore, only: Mapping[str, Collection[int]] | None = None) -> None:
        """Read a store; of the libraries in ``only``, these generations and no others."""
        self._store = store
        self._only = only or {}
        self.set_aside: list[tuple[str, int, str]] = []

    def read(self, library_id: str, generation: int) -> StoredSnapshot:
        """Read and verify."""
        return self._store.read(library_id, generation)

    def header(self, library_id: str, generation: int) -> Mapping[str, object]:
        """Read the header."""
        return self._store.header(library_id, generation)

    def libraries(self) -> Sequence[str]:
        """Ids of libraries."""
        return self._store.libraries()

    def generations(self, library_id: str) -> Sequence[int]:
        """Their generations."""
        wanted = self._only.get(library_id)
        if wanted is not None and not wanted:
            return ()
        found = self._store.generations(library_id)
        return found if wanted is None else [one for one in found if one in wanted]

    def quarantine(self, library_id: str, generation: int, reason: str) -> None:
        """Only noted."""
        self.set_aside.append((library_id, generation, reason))

    def delete(self, library_id: str, generation: int | None = None) -> None:
        """Not done."""
        del library_id, generation

    def write(self, library_id: str, generation: int, parts: SnapshotParts) -> None:
        """Refused."""
        del library_id, generation, parts
        _refuse()

    def close(self) -> None:
        """Nothing is held."""


def _refuse() -> NoReturn:
    raise StorageFailed("This directory is only being read.")
