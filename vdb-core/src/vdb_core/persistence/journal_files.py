"""Large entries of the journal, each in a file of its own beside it: ``_journal_entries/<position>.bin``.

::

    write       the file, then fsync of it and of its directory; only after that the row that names it is committed
    remove      only once the removal of its row is on the device
    sweep       when the journal is opened: files that no row names

SQLite would write every byte twice, into its log and from there into its file, and copy it on the way: of 2,000 rows of
384 floats that takes three times as long. A file is never changed. It is the vectors and then the operation, and zeros
up to whole blocks: the bytes go past the page cache where the system can do that, for nobody reads them soon. Their
checksum is in the row.
"""

from __future__ import annotations

import errno
import mmap
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from vdb_core.persistence.durable import Disk, told

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["ENTRIES", "EntryFiles", "entry_file", "entry_files", "file_size"]

ENTRIES: Final = "_journal_entries"
_SUFFIX: Final = ".bin"
_BLOCK: Final = 4096
"""What is written past the page cache comes in multiples of a device's blocks, from memory that begins at a page."""
_BUFFER_BYTES: Final = 4 << 20
"""Of memory that begins at a block, through which everything goes: few writes, for each lets go of Python's lock."""


def entry_file(journal: Path, position: int) -> Path:
    """Where the entry at a position lies, beside the journal's file, if it has a file."""
    return journal.parent / ENTRIES / f"{position}{_SUFFIX}"


def entry_files(journal: Path) -> Iterator[tuple[int, Path]]:
    """Give the entries' files that are there, with their positions; what has another name is none of ours."""
    with suppress(FileNotFoundError):
        for path in (journal.parent / ENTRIES).iterdir():
            if path.suffix == _SUFFIX and path.stem.isdecimal() and path.name == f"{int(path.stem)}{_SUFFIX}":
                yield int(path.stem), path


def file_size(content: int) -> int:
    """Give the size of a file that holds so many bytes."""
    return -(-content // _BLOCK) * _BLOCK


class EntryFiles:
    """The files of one journal. Not safe for several threads: the journal's lock is held."""

    def __init__(self, journal: Path, disk: Disk | None = None) -> None:
        """See what files there are; ``journal`` is the journal's file.

        Raises:
            StorageFailed: they cannot be listed.
        """
        self._journal = journal
        self._disk = disk or Disk()
        self._directory = journal.parent / ENTRIES
        self._buffer: memoryview | None = None
        self._ready: bool = False
        with told(f"list {self._directory}"):
            self._sizes = {position: path.stat().st_size for position, path in entry_files(journal)}

    @property
    def nbytes(self) -> int:
        """Bytes of all files."""
        return sum(self._sizes.copy().values())

    def write(self, entries: Mapping[int, Sequence[memoryview]]) -> None:
        """Make the files of some positions durable, each of some parts; where that fails, none of them is there.

        Raises:
            StorageFull: there is no room.
            StorageBroken: the storage failed.
            StorageFailed: it refused.
        """
        if not entries:
            return
        try:
            with told("append to the journal"):
                self._make_ready()
                for position, parts in entries.items():
                    self._put(position, parts)
                self._disk.sync_directory(self._directory)
        except BaseException:
            self.drop(entries)
            raise

    def drop(self, positions: Collection[int]) -> None:
        """Remove what was written for rows that were not committed; what stays there is swept at the next opening."""
        for position in positions:
            with suppress(OSError):
                self._remove(position)

    def remove(self, position: int) -> None:
        """Remove a file whose row is gone for good."""
        with told("trim the journal"):
            self._remove(position)

    def sweep(self, named: Collection[int]) -> None:
        """Remove the files that no row names."""
        self.drop(self._sizes.keys() - named)

    def _make_ready(self) -> None:
        """See to it that the directory is there and stays, also if an earlier process has just made it."""
        if not self._ready:
            if not self._directory.is_dir():
                self._disk.make_directory(self._directory)
            self._disk.sync_directory(self._directory.parent)
            self._ready = True

    def _remove(self, position: int) -> None:
        self._disk.remove_file(entry_file(self._journal, position))
        _ = self._sizes.pop(position, None)

    def _put(self, position: int, parts: Sequence[memoryview]) -> None:
        path = entry_file(self._journal, position)
        if position in self._sizes:  # of an append that failed: its position was not taken
            self._disk.remove_file(path)
        self._sizes[position] = file_size(sum(map(len, parts)))
        try:
            self._fill(path, parts, direct=True)
        except OSError as error:
            # The file system does not do this, or took half a block.
            if error.errno != errno.EINVAL:
                raise
            self._disk.remove_file(path)
            self._fill(path, parts, direct=False)

    def _fill(self, path: Path, parts: Sequence[memoryview], *, direct: bool) -> None:
        if self._buffer is None:
            self._buffer = memoryview(mmap.mmap(-1, _BUFFER_BYTES))
        buffer, used = self._buffer, 0
        with self._disk.create(path, direct=direct) as file:
            for part in parts:
                rest = part
                while rest:
                    taken = rest[: _BUFFER_BYTES - used]
                    buffer[used : used + len(taken)] = taken
                    used, rest = used + len(taken), rest[len(taken) :]
                    if used == _BUFFER_BYTES:
                        self._disk.write(file, buffer)
                        used = 0
            end = file_size(used)
            buffer[used:end] = bytes(end - used)
            self._disk.write(file, buffer[:end])
            self._disk.sync_file(file)
