"""When the storage below the journal fails: one failed write or fsync ends all writing, a full disk does not."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from vdb_core.errors import StorageBroken, StorageFull, StorageReadOnly, WriteUncertain
from vdb_core.persistence import JournalEntry
from vdb_core.persistence.sqlite_file import pragma
from vdb_core.persistence.sqlite_journal import SqliteJournal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Failing:
    """A connection whose chosen statements fail, before or after they were carried out."""

    def __init__(self, inner: sqlite3.Connection, statement: str, code: int, *, after: bool = False) -> None:
        self._inner, self._statement, self._code, self._after = inner, statement, code, after
        self.seen: list[str] = []

    def execute(self, text: str, *arguments: Any) -> Any:
        self.seen.append(text)
        if self._statement in text:
            if self._after:
                self._inner.execute(text, *arguments)
            raise error(self._code)
        return self._inner.execute(text, *arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def error(code: int) -> sqlite3.OperationalError:
    made = sqlite3.OperationalError("disk I/O error")
    made.sqlite_errorcode = code
    made.sqlite_errorname = f"code {code}"
    return made


def entry(text: str) -> JournalEntry:
    return JournalEntry(library_id="a", operation=text.encode())


def texts(journal: SqliteJournal) -> list[bytes]:
    return [item.operation for _, item in journal.replay("a", 0)]


def spoil(journal: SqliteJournal, statement: str, code: int, *, after: bool = False) -> Failing:
    assert journal._connection is not None
    failing = Failing(journal._connection, statement, code, after=after)
    journal._connection = failing  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
    return failing


@pytest.mark.parametrize("code", [sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_WRITE])
@pytest.mark.parametrize("kept", [True, False])
def test_a_failed_commit_is_uncertain_and_the_last_thing_written(
    tmp_path: Path, code: int, *, kept: bool
) -> None:
    journal = SqliteJournal(tmp_path)
    journal.append([entry("before")])
    assert journal.broken is None
    failing = spoil(journal, "COMMIT", code, after=kept)
    with pytest.raises(WriteUncertain, match="Whether the write is kept is known after a restart"):
        journal.append([entry("uncertain")])
    assert journal.broken is not None
    asked = len(failing.seen)
    changes: list[Callable[[], object]] = [
        lambda: journal.append([entry("after")]),
        lambda: journal.trim("a", 1),
        lambda: journal.advance_to(50),
        journal.checkpoint,
    ]
    for change in changes:
        with pytest.raises(StorageReadOnly, match="nothing is written since an earlier failure"):
            change()
    # Not one statement reached the file, and reading goes on.
    assert len(failing.seen) == asked
    assert texts(journal)[:1] == [b"before"]
    journal.close()
    with closing(SqliteJournal(tmp_path)) as again:
        assert texts(again) == ([b"before", b"uncertain"] if kept else [b"before"])
        again.append([entry("later")])
        assert texts(again)[-1] == b"later"


def test_a_failure_before_the_commit_is_a_refusal(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path)
    spoil(journal, "INSERT INTO entries", sqlite3.SQLITE_IOERR_WRITE)
    with pytest.raises(StorageBroken) as caught:
        journal.append([entry("refused")])
    assert not isinstance(caught.value, WriteUncertain)
    with pytest.raises(StorageReadOnly):
        journal.append([entry("after")])
    journal.close()
    with closing(SqliteJournal(tmp_path)) as again:
        assert texts(again) == []


@pytest.mark.parametrize("code", [sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE])
def test_no_room_is_a_refusal_that_passes(tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A used-up quota reaches SQLite as a write error; what tells it from a broken device is that there is no room."""
    monkeypatch.setattr("vdb_core.persistence.sqlite_file._no_room_beside", lambda _: True)
    journal = SqliteJournal(tmp_path)
    journal.append([entry("before")])
    inner = journal._connection
    failing = spoil(journal, "COMMIT", code)
    with pytest.raises(StorageFull, match="no room"):
        journal.append([entry("refused")])
    # What may be left of it in the log is gone before the answer.
    assert "PRAGMA wal_checkpoint(TRUNCATE)" in failing.seen
    assert journal.broken is None
    journal._connection = inner
    journal.append([entry("after")])
    assert texts(journal) == [b"before", b"after"]
    journal.close()


def test_a_failed_fsync_is_never_taken_for_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vdb_core.persistence.sqlite_file._no_room_beside", lambda _: True)
    journal = SqliteJournal(tmp_path)
    spoil(journal, "COMMIT", sqlite3.SQLITE_IOERR_FSYNC)
    with pytest.raises(WriteUncertain):
        journal.append([entry("x")])
    journal.close()


def test_nothing_is_appended_while_what_found_no_room_cannot_be_undone(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path)
    journal.append([entry("before")])
    inner = journal._connection
    assert inner is not None
    spoil(journal, "COMMIT", sqlite3.SQLITE_FULL)
    spoil(journal, "wal_checkpoint", sqlite3.SQLITE_FULL)
    with pytest.raises(StorageFull):
        journal.append([entry("refused")])
    journal._connection = inner
    failing = spoil(journal, "wal_checkpoint", sqlite3.SQLITE_FULL)
    with pytest.raises(StorageFull):
        journal.append([entry("refused too")])
    assert not [text for text in failing.seen if "INSERT" in text]
    journal._connection = inner
    journal.append([entry("after")])
    assert texts(journal) == [b"before", b"after"]
    journal.close()


def test_a_failed_checkpoint_ends_all_writing_and_says_so(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path)
    journal.append([entry("before")])
    spoil(journal, "wal_checkpoint(TRUNCATE)", sqlite3.SQLITE_IOERR_FSYNC)
    with pytest.raises(StorageBroken):
        journal.checkpoint()
    assert "Could not checkpoint the journal" in (journal.broken or "")
    with pytest.raises(StorageReadOnly):
        journal.append([entry("after")])
    assert texts(journal) == [b"before"]
    journal.close()


def test_the_log_is_copied_into_the_file_beside_the_appends(tmp_path: Path) -> None:
    import time

    journal = SqliteJournal(tmp_path, file_bytes=1 << 30)
    assert journal._connection is not None
    assert pragma(journal._connection, "wal_autocheckpoint") == 0
    failing = spoil(journal, "never", 0)
    log = tmp_path / "_journal.sqlite3-wal"
    journal.append([entry("x" * 5_000_000)])
    assert log.stat().st_size > 5_000_000
    assert "PRAGMA wal_checkpoint(TRUNCATE)" not in failing.seen
    deadline = time.monotonic() + 20
    while "PRAGMA wal_checkpoint(TRUNCATE)" not in failing.seen:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    journal.checkpoint()  # waits for the other
    # Nothing is left that could go bad and hide what the file has.
    assert log.stat().st_size == 0
    journal.append([entry("small")])
    # Under load there is no lull: then its size alone decides.
    for _ in range(40):
        journal.append([entry("x" * 1_000_000)])
    while failing.seen.count("PRAGMA wal_checkpoint(TRUNCATE)") < 3:
        assert time.monotonic() < deadline
        journal.append([entry("x" * 1_000_000)])
    journal.close()


def test_the_log_of_small_writes_is_bounded_as_well(tmp_path: Path) -> None:
    """Each takes four pages of it, however few its bytes are."""
    with closing(SqliteJournal(tmp_path)) as journal:
        log, most = tmp_path / "_journal.sqlite3-wal", 0
        for _ in range(1500):
            journal.append([entry("small")])
            most = max(most, log.stat().st_size)
        assert most < 40 << 20
