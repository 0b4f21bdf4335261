"""Large entries lie in files beside the journal: there before the row that names them, gone after it."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import pytest

from vdb_core.errors import StorageBroken, StorageFailed, StorageFull, StorageReadOnly
from vdb_core.persistence import JournalEntry
from vdb_core.persistence.durable import Disk
from vdb_core.persistence.journal_files import ENTRIES, EntryFiles, entry_file
from vdb_core.persistence.sqlite_journal import SqliteJournal

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import FileIO
    from pathlib import Path

LARGE = 10_000


def entry(library_id: str, number: int, size: int = LARGE) -> JournalEntry:
    """One of about so many bytes, half of them vectors."""
    vectors = np.random.default_rng(number).random((size // 16, 2), dtype=np.float32)
    return JournalEntry(library_id=library_id, operation=b"%d" % number * (size // 2), vectors=vectors)


def opened(path: Path, file_bytes: int = LARGE // 2, *, fsync: bool = True) -> SqliteJournal:
    return SqliteJournal(path, file_bytes=file_bytes, fsync=fsync)


def same(journal: SqliteJournal, library_id: str, expected: dict[int, JournalEntry]) -> bool:
    found = dict(journal.replay(library_id, 0))
    return found.keys() == expected.keys() and all(
        found[at].operation == one.operation
        and found[at].vectors is not None
        and found[at].vectors.tobytes() == one.vectors.tobytes()
        for at, one in expected.items()
    )


def names(path: Path) -> list[str]:
    return sorted(one.name for one in (path / ENTRIES).glob("*"))


class Watched(Disk):
    """Tells what is done, and fails where it is told to."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.fails: dict[str, int] = {}

    def _do(self, name: str) -> None:
        self.done.append(name)
        if name in self.fails:
            raise OSError(self.fails[name], os.strerror(self.fails[name]))

    def create(self, path: Path, *, direct: bool = False) -> FileIO:
        self._do("create directly" if direct else "create")
        return super().create(path, direct=direct)

    def write(self, file: FileIO, data: bytes | bytearray | memoryview) -> None:
        self._do("write")
        super().write(file, data)

    def sync_file(self, file: FileIO) -> None:
        self._do("sync file")
        super().sync_file(file)

    def sync_directory(self, path: Path) -> None:
        self._do(f"sync {path.name if path.name == ENTRIES else 'parent'}")
        super().sync_directory(path)


def watched(journal: SqliteJournal) -> Watched:
    disk = Watched()
    journal._files = EntryFiles(journal.path, disk)
    return disk


def test_a_large_entry_has_a_file_and_a_small_one_has_none(tmp_path: Path) -> None:
    batch = {1: entry("a", 1), 2: entry("a", 2, 100), 3: entry("b", 3, 3 << 20), 4: entry("a", 4)}
    with closing(opened(tmp_path)) as journal:
        assert journal.append([*batch.values()]) == 4
        assert names(tmp_path) == ["1.bin", "3.bin", "4.bin"]
        assert all(path.stat().st_size % 4096 == 0 for path in (tmp_path / ENTRIES).iterdir())
        # The row is a row, and nothing more: the bytes are nowhere twice.
        assert journal.nbytes < sum(path.stat().st_size for path in (tmp_path / ENTRIES).iterdir()) + 200_000
        of_a = {at: one for at, one in batch.items() if one.library_id == "a"}
        assert same(journal, "a", of_a)
    with closing(opened(tmp_path)) as journal:
        assert same(journal, "a", of_a)
        assert same(journal, "b", {3: batch[3]})
        journal.trim("a", 2)
        assert names(tmp_path) == ["3.bin", "4.bin"]
        assert same(journal, "a", {4: batch[4]})
        journal.trim("a", 4)
        journal.trim("b", 4)
        assert names(tmp_path) == []
        assert journal.append([entry("a", 5)]) == 5
        assert names(tmp_path) == ["5.bin"]


def test_files_are_on_the_device_before_the_commit(tmp_path: Path) -> None:
    with closing(opened(tmp_path)) as journal:
        disk = watched(journal)
        assert journal._connection is not None
        journal._connection.set_trace_callback(
            lambda text: disk.done.append("COMMIT") if text == "COMMIT" else None
        )
        journal.append([entry("a", 1)])
        made = ["create directly", "write", "sync file", f"sync {ENTRIES}"]
        # That the directory is there is made certain once, whoever made it.
        assert disk.done == ["sync parent", *made, "COMMIT"]
        journal.append([entry("a", 2)])
        assert disk.done[-5:] == [*made, "COMMIT"]
        journal._connection.set_trace_callback(None)


def refuse(call: str, code: int) -> Callable[[Watched], None]:
    return lambda disk: disk.fails.update({call: code})


@pytest.mark.parametrize("call", ["create directly", "write", "sync file", f"sync {ENTRIES}", "sync parent"])
def test_no_room_for_a_file_is_a_refusal_that_passes(tmp_path: Path, call: str) -> None:
    with closing(opened(tmp_path)) as journal:
        disk = watched(journal)
        disk.fails[call] = errno.ENOSPC
        with pytest.raises(StorageFull, match="Could not append to the journal"):
            journal.append([entry("a", 1), entry("a", 2)])
        assert names(tmp_path) == []
        assert journal.position == 0
        assert journal.nbytes < 200_000
        assert journal.broken is None
        disk.fails.clear()
        assert journal.append([entry("a", 3)]) == 1
        assert same(journal, "a", {1: entry("a", 3)})


@pytest.mark.parametrize("call", ["create directly", "write", "sync file", f"sync {ENTRIES}", "sync parent"])
def test_a_device_that_fails_ends_all_writing(tmp_path: Path, call: str) -> None:
    with closing(opened(tmp_path)) as journal:
        disk = watched(journal)
        disk.fails[call] = errno.EIO
        with pytest.raises(StorageBroken):
            journal.append([entry("a", 1)])
        disk.fails.clear()
        with pytest.raises(StorageReadOnly):
            journal.append([entry("a", 2, 10)])
    with closing(opened(tmp_path)) as journal:
        assert journal.position == 0
        assert names(tmp_path) == []


def test_a_commit_that_finds_no_room_leaves_no_file(tmp_path: Path) -> None:
    with closing(opened(tmp_path)) as journal:
        journal.append([entry("a", 1)])
        connection = journal._connection
        assert connection is not None
        ((pages,),) = connection.execute("PRAGMA page_count").fetchall()
        connection.execute(f"PRAGMA max_page_count = {pages}")
        small = [JournalEntry(library_id=f"l{n}", operation=b"x" * 4000) for n in range(9)]
        with pytest.raises(StorageFull):
            journal.append([entry("a", 2), *small])
        assert names(tmp_path) == ["1.bin"]
        connection.execute("PRAGMA max_page_count = 1000000")
        assert journal.append([entry("a", 3)]) == 2
        assert same(journal, "a", {1: entry("a", 1), 2: entry("a", 3)})


def test_a_file_that_could_not_be_taken_back_is_in_nobodys_way(tmp_path: Path) -> None:
    class Stubborn(Watched):
        def remove_file(self, path: Path) -> None:
            self._do("remove")
            super().remove_file(path)

    with closing(opened(tmp_path)) as journal:
        disk = Stubborn()
        journal._files = EntryFiles(journal.path, disk)
        disk.fails = {"sync file": errno.ENOSPC, "remove": errno.EACCES}
        with pytest.raises(StorageFull):
            journal.append([entry("a", 1)])
        assert names(tmp_path) == ["1.bin"]
        disk.fails.clear()
        assert journal.append([entry("a", 2)]) == 1
        assert same(journal, "a", {1: entry("a", 2)})


@pytest.mark.parametrize("call", ["create directly", "write"])
def test_a_file_system_without_direct_writes_does_as_well(tmp_path: Path, call: str) -> None:
    class Plain(Watched):
        def _do(self, name: str) -> None:
            super()._do(name)
            if name == "create":
                self.fails.clear()

    with closing(opened(tmp_path)) as journal:
        disk = Plain()
        disk.fails[call] = errno.EINVAL
        journal._files = EntryFiles(journal.path, disk)
        journal.append([entry("a", 1, 3 << 20)])
        assert "create" in disk.done
        assert same(journal, "a", {1: entry("a", 1, 3 << 20)})


def test_half_of_a_block_is_written_anew(tmp_path: Path) -> None:
    class Short(Disk):
        def write(self, file: FileIO, data: bytes | bytearray | memoryview) -> None:
            view = memoryview(data).cast("B")
            written = file.write(view[: len(view) // 2 // 512 * 512])
            super().write(file, view[written:])

    with closing(opened(tmp_path)) as journal:
        journal._files = EntryFiles(journal.path, Short())
        journal.append([entry("a", 1, 3 << 20)])
        assert same(journal, "a", {1: entry("a", 1, 3 << 20)})


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda path: path.unlink(), "2.bin, which holds entry 2, is gone"),
        (lambda path: os.truncate(path, 4096), r"2.bin has 4096 bytes; entry 2 takes 12288"),
        (lambda path: os.truncate(path, 1 << 20), r"2.bin has 1048576 bytes"),
        (lambda path: path.write_bytes(path.read_bytes()[::-1]), "entry 2 of library 'a' was altered"),
    ],
)
def test_a_file_that_is_not_what_it_was_is_noticed(
    tmp_path: Path, harm: Callable[[Path], object], told: str
) -> None:
    with closing(opened(tmp_path)) as journal:
        journal.append([entry("a", 1), entry("a", 2), entry("b", 3)])
    harm(entry_file(tmp_path / "_journal.sqlite3", 2))
    with closing(opened(tmp_path)) as journal:
        with pytest.raises(StorageFailed, match=told):
            list(journal.replay("a", 0))
        # Other libraries, and what comes after, do not need it.
        assert same(journal, "b", {3: entry("b", 3)})
        assert list(journal.replay("a", 2)) == []


@pytest.mark.parametrize("value", [-1, 0, 4_999, 5_001, 1 << 40, "NULL", "'x'"])
def test_a_row_that_says_something_else_of_its_file_is_noticed(tmp_path: Path, value: object) -> None:
    with closing(opened(tmp_path)) as journal:
        journal.append([entry("a", 1)])
    with closing(sqlite3.connect(tmp_path / "_journal.sqlite3")) as connection, connection:
        connection.execute(f"UPDATE entries SET operation_bytes = {value}")
    with closing(opened(tmp_path)) as journal, pytest.raises(StorageFailed, match="is damaged"):
        list(journal.replay("a", 0))


def test_what_no_row_names_goes_when_the_journal_is_opened(tmp_path: Path) -> None:
    with closing(opened(tmp_path)) as journal:
        journal.append([entry("a", 1)])
    folder = tmp_path / ENTRIES
    for name in ("2.bin", "77.bin", "02.bin", "x.bin", "1.bin.old", "2.txt"):
        (folder / name).write_bytes(b"")
    with closing(opened(tmp_path)) as journal:
        assert names(tmp_path) == ["02.bin", "1.bin", "1.bin.old", "2.txt", "x.bin"]
        assert same(journal, "a", {1: entry("a", 1)})


def test_rows_that_cannot_be_read_cost_no_file(tmp_path: Path) -> None:
    with closing(opened(tmp_path)) as journal:
        journal.append([entry("a", 1), *(entry("b", number, 3_000) for number in range(40))])
    file = tmp_path / "_journal.sqlite3"
    data = bytearray(file.read_bytes())
    # Every page but the first, which tells where the tables are.
    data[8192:] = b"\xff" * (len(data) - 8192)
    file.write_bytes(data)
    with closing(opened(tmp_path)) as journal:
        with pytest.raises(StorageFailed, match="is damaged"):
            list(journal.replay("a", 0))
        assert names(tmp_path) == ["1.bin"]


def test_a_file_stays_until_its_row_cannot_come_back(tmp_path: Path) -> None:
    with closing(opened(tmp_path)) as journal:
        journal.append([entry("a", 1)])
        journal._shrink = lambda: False  # type: ignore[method-assign]  # the log could not be emptied
        journal.trim("a", 1)
        assert list(journal.replay("a", 0)) == []
        assert names(tmp_path) == ["1.bin"]
    with closing(opened(tmp_path)) as journal:
        assert names(tmp_path) == []


def test_where_nobody_waits_for_the_device_there_are_no_files(tmp_path: Path) -> None:
    with closing(opened(tmp_path)) as journal:
        journal.append([entry("a", 1)])
    with closing(opened(tmp_path, fsync=False)) as journal:
        journal.append([entry("a", 2)])
        assert names(tmp_path) == ["1.bin"]
        assert same(journal, "a", {1: entry("a", 1), 2: entry("a", 2)})
        journal.trim("a", 2)
        assert names(tmp_path) == []


def test_files_without_their_journal_are_not_given_to_a_new_one(tmp_path: Path) -> None:
    with closing(opened(tmp_path)) as journal:
        journal.append([entry("a", 1)])
    (tmp_path / "_journal.sqlite3").unlink()
    with pytest.raises(StorageFailed, match=f"it is missing, while {ENTRIES} is there"):
        opened(tmp_path)
    assert names(tmp_path) == ["1.bin"]
    shutil.rmtree(tmp_path / ENTRIES)
    opened(tmp_path).close()
