"""A failed fsync makes the database read-only until a restart: it says so, reads go on, and nothing is tried again."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import pytest
from engine_kit import add, build, fill, nearest

from vdb_core.errors import StorageFull, StorageReadOnly, WriteUncertain
from vdb_core.persistence.durable import Disk
from vdb_core.persistence.sqlite_journal import SqliteJournal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vdb_core.services import Services


def break_the_journal(services: Services, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let the next append fail as a failed fsync does; counts the appends that are tried."""
    tried: list[int] = []

    def fail(self: SqliteJournal, batch: list[object]) -> int:
        tried.append(len(batch))
        raise WriteUncertain("the flush failed")

    monkeypatch.setattr(SqliteJournal, "append", fail)
    with pytest.raises(WriteUncertain):
        add(services, [100])
    return tried


def test_after_a_failed_fsync_writes_are_refused_and_reads_go_on(
    opener: Callable[..., Services],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    services = opener(tmp_path)
    fill(services, 10)
    build(services, "numpy")
    assert services.health()["read_only"] is False
    with caplog.at_level(logging.CRITICAL):
        tried = break_the_journal(services, monkeypatch)
    assert any("read-only" in record.getMessage() for record in caplog.records)
    assert services.health()["read_only"] is True
    assert services.statistics()["read_only"] == 1
    writes: list[Callable[[], Any]] = [
        lambda: services.libraries.upsert_chunks("lib", [{"id": "x", "embedding": [1.0, 1.0]}]),
        lambda: services.libraries.delete_chunk("lib", "c1"),
        lambda: services.libraries.create({"name": "other"}),
        lambda: services.libraries.delete("lib").result(10),
        lambda: services.indexing.start("lib", {"type": "numpy"}),
    ]
    for write in writes:
        with pytest.raises(
            StorageReadOnly, match="read-only since a failure of its storage: the flush failed"
        ):
            write()
    assert tried == [1]
    # What was uncertain is shown to nobody.
    assert nearest(services, 100.0, 1) == ["c9"]
    assert services.libraries.get("lib").chunks == 10
    services.close()
    monkeypatch.undo()
    again = opener(tmp_path)
    assert again.health()["read_only"] is False
    add(again, [100])
    assert again.libraries.get("lib").chunks == 11


def test_writes_that_wait_behind_a_failed_fsync_are_refused(
    opener: Callable[..., Services], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    services = opener(tmp_path)
    fill(services, 1)
    gate, begun = threading.Event(), threading.Event()

    def fail(self: SqliteJournal, batch: object) -> int:
        begun.set()
        gate.wait(10)
        raise WriteUncertain("the flush failed")

    monkeypatch.setattr(SqliteJournal, "append", fail)
    rows = [{"id": f"x{n}", "embedding": [n, 1]} for n in range(3)]
    first = services.libraries.upsert_chunks("lib", rows[:1])
    assert begun.wait(10)
    behind = [services.libraries.upsert_chunks("lib", [row]) for row in rows]
    gate.set()
    assert isinstance(first.exception(10), WriteUncertain)
    for future in behind:
        assert isinstance(future.exception(10), StorageReadOnly)


def test_a_full_disk_is_no_reason_to_stop(
    opener: Callable[..., Services], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = opener(tmp_path)
    fill(services, 3)

    def full(self: SqliteJournal, batch: object) -> int:
        raise StorageFull("no room")

    with monkeypatch.context() as patches:
        patches.setattr(SqliteJournal, "append", full)
        with pytest.raises(StorageFull):
            add(services, [9])
    assert services.health()["read_only"] is False
    add(services, [9])


@pytest.mark.parametrize("operation", ["sync_file", "sync_directory", "sync_path"])
def test_a_snapshot_whose_fsync_fails_makes_it_read_only_and_loses_nothing(
    opener: Callable[..., Services], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    services = opener(tmp_path)
    fill(services, 10)
    build(services, "numpy")
    add(services, [20])

    def fail(self: Disk, where: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patches:
        patches.setattr(Disk, operation, fail)
        job = services.indexing.start("lib", {"type": "half"})
        assert job.wait(10)
        assert (job.state, job.error_code) == ("failed", "storage_broken")
        assert services.health()["read_only"] is True
        with pytest.raises(StorageReadOnly):
            add(services, [30])
        assert nearest(services, 20.0, 1) == ["c20"]
        services.close()
    again = opener(tmp_path)
    assert again.libraries.get("lib").chunks == 11
    assert nearest(again, 20.0, 1) == ["c20"]
    build(again, "half")


def test_a_snapshot_that_finds_no_room_leaves_it_writable(
    opener: Callable[..., Services], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = opener(tmp_path)
    fill(services, 10)

    def full(self: Disk, *_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patches:
        patches.setattr(Disk, "write", full)
        job = services.indexing.snapshot("lib")
        assert job.wait(10)
        assert (job.state, job.error_code) == ("failed", "storage_full")
    add(services, [20])
    assert services.indexing.snapshot("lib").wait(10)


def test_trouble_that_the_journal_finds_by_itself_is_seen(
    opener: Callable[..., Services], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint of its log fails on a thread of its own, while nobody writes."""
    services = opener(tmp_path)
    fill(services, 1)
    monkeypatch.setattr(SqliteJournal, "broken", "its checkpoint failed")
    assert services.read_only
    with pytest.raises(StorageReadOnly, match="its checkpoint failed"):
        add(services, [2])


def test_a_deletion_that_is_durable_is_answered_whatever_its_files_do(
    opener: Callable[..., Services], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = opener(tmp_path)
    fill(services, 10)
    build(services, "numpy")

    def fail(self: Disk, *_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patches:
        patches.setattr(Disk, "rename", fail)
        services.libraries.delete("lib").result(10)
    assert services.libraries.list().items == []
    assert services.read_only
    services.close()
    assert (tmp_path / "lib").is_dir()
    again = opener(tmp_path)
    deadline = time.monotonic() + 5
    assert again.libraries.list().items == []
    assert time.monotonic() < deadline
    assert not (tmp_path / "lib").exists()
    fill(again, 2)


def full(self: object, *_: object) -> None:
    raise StorageFull("no room")


def test_a_deletion_is_answered_where_there_is_no_room_to_trim(
    opener: Callable[..., Services], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = opener(tmp_path)
    fill(services, 10)
    with monkeypatch.context() as patches:
        patches.setattr(SqliteJournal, "trim", full)
        services.libraries.delete("lib").result(10)
    assert services.libraries.list().items == []
    fill(services, 2)
    services.close()
    assert opener(tmp_path).libraries.get("lib").chunks == 2


def test_a_build_has_succeeded_where_only_the_old_could_not_be_forgotten(
    opener: Callable[..., Services], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = opener(tmp_path)
    fill(services, 10)
    build(services, "numpy")
    add(services, [20])
    with monkeypatch.context() as patches:
        patches.setattr(SqliteJournal, "trim", full)
        build(services, "half")
    add(services, [30])
    build(services, "numpy")
    services.close()
    journal = SqliteJournal(tmp_path)
    assert len(list(journal.replay("lib", 0))) == 1
    journal.close()


def test_an_end_that_finds_no_room_lets_go_of_the_directory(
    opener: Callable[..., Services], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = opener(tmp_path)
    fill(services, 10)
    close = SqliteJournal.close

    def close_and_fail(self: SqliteJournal) -> None:
        close(self)
        raise StorageFull("no room")

    with monkeypatch.context() as patches:
        patches.setattr(SqliteJournal, "close", close_and_fail)
        with pytest.raises(StorageFull):
            services.close()
    assert opener(tmp_path).libraries.get("lib").chunks == 10
