"""Recovery: as far as what was damaged had come or not at all, again and again, beside files that mean nothing to us."""

from __future__ import annotations

import json
import logging
import shutil
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from engine_kit import add, build, fill, nearest

from vdb_core.engine.operations import Upsert
from vdb_core.errors import SnapshotDamaged, StorageFull
from vdb_core.persistence.numpy_snapshots import NumpySnapshotStore
from vdb_core.persistence.sqlite_journal import SqliteJournal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vdb_core.engine.state import LibraryState
    from vdb_core.services import Services


def two_generations(opener: Callable[..., Services], directory: Path) -> None:
    services = opener(directory)
    fill(services, 10)
    for number in (50, 51):
        add(services, [number])
        build(services, "numpy")
    add(services, [60])
    services.close()


def damage(directory: Path, generation: int, name: str = "vectors.npy") -> None:
    path = directory / "lib" / str(generation) / name
    raw = bytearray(path.read_bytes())
    raw[-3] ^= 0x10
    path.write_bytes(raw)


def test_what_was_replayed_is_told_with_its_rate(
    opener: Callable[..., Services], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    two_generations(opener, tmp_path)
    again = opener(tmp_path)
    with caplog.at_level(logging.INFO, "vdb_core.engine.recovery"):
        assert again.libraries.get("lib").chunks == 13
    (record,) = caplog.records
    assert "replayed the journal of library 'lib': 1 operations, 1 rows" in record.getMessage()
    assert (record.__dict__["operations"], record.__dict__["rows"]) == (1, 1)
    assert record.__dict__["rows_per_s"] > 0


def test_a_long_replay_says_how_far_it_is(
    opener: Callable[..., Services],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vdb_core.engine.recovery._SAY_EVERY_S", 0.0)
    services = opener(tmp_path)
    fill(services, 10)
    services.close()
    again = opener(tmp_path)
    with caplog.at_level(logging.INFO, "vdb_core.engine.recovery"):
        assert again.libraries.get("lib").chunks == 10
    said = [record.getMessage().split(" of ")[0] for record in caplog.records]
    assert said == ["replaying the journal", "replaying the journal", "replayed the journal"]


def test_recovery_that_is_cut_short_is_begun_again(
    opener: Callable[..., Services], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_generations(opener, tmp_path)
    damage(tmp_path, 2)
    apply = Upsert.apply

    class Crash(BaseException):
        pass

    for stop in range(3):
        count = 0

        def applied(self: Upsert, state: LibraryState, stop: int = stop) -> None:
            nonlocal count
            count += 1
            if count > stop:
                raise Crash
            apply(self, state)

        again = opener(tmp_path)
        with monkeypatch.context() as patches:
            patches.setattr(Upsert, "apply", applied)
            try:
                again.libraries.get("lib")
            except Crash:
                # Nothing was moved before something stood in its place.
                assert (tmp_path / "lib" / "2").is_dir()
        again.close()
    again = opener(tmp_path)
    assert again.libraries.get("lib").chunks == 13
    assert nearest(again, 60.0, 2) == ["c60", "c51"]
    assert not (tmp_path / "lib" / "2").exists()


def test_an_older_generation_that_comes_less_far_is_not_taken(
    opener: Callable[..., Services], tmp_path: Path
) -> None:
    """The newest is damaged, and the journal that led to it is lost: what is left is not what was acknowledged."""
    two_generations(opener, tmp_path)
    damage(tmp_path, 2)
    for file in tmp_path.glob("_journal.sqlite3*"):
        file.unlink()
    for _ in range(2):
        again = opener(tmp_path)
        with pytest.raises(SnapshotDamaged, match="comes to revision 3 only, and that one had 4"):
            again.libraries.get("lib")
        assert again.health()["unavailable"] == {"lib": "snapshot_damaged"}
        fill(again, 1, library=f"other{_}")
        again.close()
    # Nothing was set aside: whoever repairs the file has everything back.
    damage(tmp_path, 2)
    assert opener(tmp_path).libraries.get("lib").chunks == 12


def test_a_hole_in_the_journal_is_never_passed_over(opener: Callable[..., Services], tmp_path: Path) -> None:
    two_generations(opener, tmp_path)
    services = opener(tmp_path, durability="none")
    add(services, [70])
    services.close()  # a third generation, and nothing of it in the journal
    services = opener(tmp_path)
    add(services, [80])
    services.close()
    damage(tmp_path, 3)
    again = opener(tmp_path)
    with pytest.raises(
        SnapshotDamaged, match=r"is at revision 5, and the journal goes on at position .* revision 7"
    ):
        again.libraries.get("lib")
    again.close()
    damage(tmp_path, 3)
    assert opener(tmp_path).libraries.get("lib").chunks == 15


def test_the_index_that_was_chosen_last_comes_back(opener: Callable[..., Services], tmp_path: Path) -> None:
    """A build is in no journal: what the damaged snapshot says of it counts."""
    services = opener(tmp_path)
    fill(services, 10)
    build(services, "half")
    add(services, [20])
    services.close()
    damage(tmp_path, 1)
    for _ in range(2):  # the journal has it all, however often it is opened
        again = opener(tmp_path)
        assert again.libraries.get("lib").index.type == "half"
        assert again.libraries.get("lib").chunks == 11
        again.close()
    again = opener(tmp_path)
    assert again.libraries.get("lib").index.type == "half"
    build(again, "numpy")  # over an older generation
    assert [one.name for one in (tmp_path / "lib").iterdir() if one.is_dir()] == ["2"]
    add(again, [21])  # unchanged files are links: what damages one damages both
    build(again, "half")
    again.close()
    damage(tmp_path, generation_now(tmp_path), "metadata.json")
    again = opener(tmp_path)
    assert again.libraries.get("lib").index.type == "half"
    deadline = time.monotonic() + 20
    while again.indexing.status("lib")["state"] != "ready":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert again.libraries.get("lib").chunks == 12


def generation_now(directory: Path) -> int:
    return int(json.loads((directory / "lib" / "manifest.json").read_text())["generation"])


@pytest.mark.parametrize(
    "which", ["lib/junk", "lib/99", "lib/7/x", "junk", ".hidden", "_tmp", "lib/manifest.json.tmp"]
)
def test_files_that_mean_nothing_to_us_hinder_nothing(
    opener: Callable[..., Services], tmp_path: Path, which: str
) -> None:
    two_generations(opener, tmp_path)
    path = tmp_path / which
    path.parent.mkdir(parents=True, exist_ok=True)
    if which.endswith("99"):
        path.mkdir()
    else:
        path.write_bytes(b"what somebody left here")
    (tmp_path / "stray directory").mkdir()
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "empty").mkdir()
    again = opener(tmp_path)
    assert [one.id for one in again.libraries.list().items] == ["lib"]
    assert again.libraries.get("lib").chunks == 13
    build(again, "numpy")
    again.close()
    assert opener(tmp_path).libraries.get("lib").chunks == 13


def test_a_library_that_a_newer_version_wrote_stops_no_other(
    opener: Callable[..., Services], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_generations(opener, tmp_path)
    services = opener(tmp_path)
    fill(services, 3, library="other")
    services.close()
    from vdb_core.persistence import manifest as manifests

    with monkeypatch.context() as patches:
        patches.setattr(manifests, "FORMAT_VERSION", 2)
        store = NumpySnapshotStore(tmp_path)
        known = store._look("lib").manifest
        (tmp_path / "lib" / "manifest.json").write_bytes(manifests.encode(known))
    again = opener(tmp_path)
    assert again.health()["unavailable"] == {"lib": "format_unsupported"}
    assert [one.id for one in again.libraries.list().items] == ["other"]
    assert again.libraries.get("other").chunks == 3


def test_a_damaged_entry_of_the_journal_makes_its_library_unavailable_and_no_other(
    opener: Callable[..., Services], tmp_path: Path
) -> None:
    two_generations(opener, tmp_path)
    services = opener(tmp_path)
    fill(services, 3, library="other")
    services.close()
    with closing(sqlite3.connect(tmp_path / "_journal.sqlite3")) as connection:
        connection.execute(
            "UPDATE entries SET checksum = checksum + 1 WHERE position ="
            " (SELECT max(position) FROM entries WHERE library_id = 'lib')"
        )
        connection.commit()
    again = opener(tmp_path)
    assert [one.id for one in again.libraries.list().items] == ["other"]
    assert again.health()["unavailable"] == {"lib": "storage_failed"}


def test_an_opening_that_fails_can_be_tried_again(
    opener: Callable[..., Services], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_generations(opener, tmp_path)
    for file in tmp_path.glob("_journal.sqlite3*"):
        file.unlink()

    def full(self: SqliteJournal, position: int) -> None:
        raise StorageFull("no room")

    with monkeypatch.context() as patches:
        patches.setattr(SqliteJournal, "advance_to", full)
        with pytest.raises(StorageFull):
            opener(tmp_path)
    assert opener(tmp_path).libraries.get("lib").chunks == 12


def test_a_copy_of_a_crashed_directory_opens_like_the_directory(
    opener: Callable[..., Services], tmp_path: Path
) -> None:
    two_generations(opener, tmp_path / "data")
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    assert opener(tmp_path / "copy").libraries.get("lib").chunks == 13
