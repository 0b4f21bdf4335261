"""What keeps SQLite's known defects away: one connection, exclusive, a version that can do it, a log that is on disk."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from vdb_core.errors import StorageFailed
from vdb_core.persistence import JournalEntry
from vdb_core.persistence.durable import Disk
from vdb_core.persistence.sqlite_file import pragma
from vdb_core.persistence.sqlite_guard import check_sqlite, renew_log
from vdb_core.persistence.sqlite_journal import SqliteJournal

if TYPE_CHECKING:
    from pathlib import Path


def entry(text: str) -> JournalEntry:
    return JournalEntry(library_id="a", operation=text.encode())


def test_one_connection_does_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    SqliteJournal(
        tmp_path
    ).close()  # Making the file takes another one, which is closed before the file has its name.
    opened: list[object] = []
    connect = sqlite3.connect

    def counted(*arguments: Any, **options: Any) -> sqlite3.Connection:
        opened.append(arguments)
        return connect(*arguments, **options)

    monkeypatch.setattr(sqlite3, "connect", counted)
    with closing(SqliteJournal(tmp_path)) as journal:

        def work() -> None:
            for number in range(20):
                last = journal.append([entry(str(number))])
                assert list(journal.replay("a", last - 1))
                journal.trim("a", last - 3)
                journal.checkpoint()

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(opened) == 1


def test_nobody_else_gets_in(tmp_path: Path) -> None:
    with closing(SqliteJournal(tmp_path)) as journal:
        journal.append([entry("x")])
        assert journal._connection is not None
        assert pragma(journal._connection, "locking_mode") == "exclusive"
        for mode in ("rw", "ro"):
            with (
                closing(
                    sqlite3.connect(f"{journal.path.as_uri()}?mode={mode}", uri=True, timeout=0)
                ) as second,
                pytest.raises(sqlite3.OperationalError, match="locked"),
            ):
                second.execute("SELECT count(*) FROM entries").fetchall()
        code = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('PRAGMA wal_checkpoint').fetchall()"
        other = subprocess.run(
            [sys.executable, "-c", code, str(journal.path)], capture_output=True, text=True, check=False
        )
        assert "database is locked" in other.stderr
        # The index of the log lies in this process's memory: there is nothing that a second one could share.
        assert not journal.path.with_name(f"{journal.path.name}-shm").exists()


def test_an_sqlite_that_cannot_do_it_is_refused_in_words() -> None:
    check_sqlite()
    check_sqlite((3, 24, 0), 1)
    with pytest.raises(StorageFailed, match=r"needs SQLite 3\.24\.0 or newer; .* linked with 3\.23\.1"):
        check_sqlite((3, 23, 1))
    with pytest.raises(StorageFailed, match="compiled for a single thread"):
        check_sqlite((3, 51, 3), 0)


CRASH = """
import os, sys
from pathlib import Path
from vdb_core.persistence import JournalEntry
from vdb_core.persistence.sqlite_journal import SqliteJournal
journal = SqliteJournal(Path(sys.argv[1]))
for number in range(3):
    journal.append([JournalEntry(library_id="a", operation=b"%d" % number)])
os._exit(0)
"""


def crashed(directory: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", CRASH, str(directory)], env=environment, check=True)


def test_what_a_crash_left_in_the_log_is_written_anew_before_it_is_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashed(tmp_path)
    log = tmp_path / "_journal.sqlite3-wal"
    before, content = log.stat().st_ino, log.read_bytes()
    steps: list[str] = []
    for name in ("sync_file", "rename", "sync_directory"):
        real = getattr(Disk, name)

        def noted(self: Disk, *arguments: Any, name: str = name, real: Any = real) -> None:
            steps.append(name)
            real(self, *arguments)

        monkeypatch.setattr(Disk, name, noted)
    renew_log(tmp_path / "_journal.sqlite3")
    assert steps == ["sync_file", "rename", "sync_directory"]
    assert log.stat().st_ino != before
    assert log.read_bytes() == content
    with closing(SqliteJournal(tmp_path)) as journal:
        assert [item.operation for _, item in journal.replay("a", 0)] == [b"0", b"1", b"2"]


def test_a_log_that_cannot_be_written_anew_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashed(tmp_path)

    def fail(self: Disk, file: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patches:
        patches.setattr(Disk, "sync_file", fail)
        with pytest.raises(StorageFailed, match="Could not renew the journal's log"):
            SqliteJournal(tmp_path)
    assert not (tmp_path / "_journal.sqlite3-wal.new").exists()
    with closing(SqliteJournal(tmp_path)) as journal:
        assert len(list(journal.replay("a", 0))) == 3


def test_a_renewal_cut_short_is_begun_again(tmp_path: Path) -> None:
    crashed(tmp_path)
    (tmp_path / "_journal.sqlite3-wal.new").write_bytes(b"half")
    with closing(SqliteJournal(tmp_path)) as journal:
        assert len(list(journal.replay("a", 0))) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["_journal.sqlite3"]


def test_the_name_of_the_log_is_safe_before_anything_relies_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite ignores a failed fsync of the directory in which it makes its log: power loss would take it, commits and all."""
    SqliteJournal(tmp_path).close()
    synced: list[tuple[Path, bool]] = []

    def sync(self: Disk, path: Path) -> None:
        synced.append((path, (tmp_path / "_journal.sqlite3-wal").exists()))
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patches:
        patches.setattr(Disk, "sync_directory", sync)
        with pytest.raises(StorageFailed, match="Could not open the journal"):
            SqliteJournal(tmp_path)
    assert synced == [(tmp_path, True)]
    SqliteJournal(tmp_path).close()
