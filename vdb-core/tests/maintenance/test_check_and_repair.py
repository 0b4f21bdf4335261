"""A check changes nothing and misses nothing; a repair loses nothing that can be saved, and says what cannot."""

from __future__ import annotations

import hashlib
import random
import shutil
import sqlite3
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from vdb_core.errors import DataDirectoryLocked, StorageFailed, VdbError
from vdb_core.maintenance import check_directory, plan_repair
from vdb_core.persistence import lock_directory
from vdb_core.persistence.durable import Disk
from vdb_core.persistence.journal_files import ENTRIES, entry_file, entry_files
from vdb_core.persistence.manifest import Manifest, decode, encode
from vdb_core.persistence.sqlite_journal import SqliteJournal
from vdb_core.plugins import PluginManager
from vdb_core.services import EngineSettings, open_services

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

JOURNAL = "_journal.sqlite3"


def engine(data_dir: Path) -> Any:
    plugins = PluginManager(entry_points=lambda: ())
    plugins.load()
    return open_services(EngineSettings(data_dir=data_dir), plugins=plugins)


def upsert(services: Any, library: str, number: int, rows: int = 5) -> None:
    chunks = [{"id": f"{number}-{n}", "metadata": {"number": number}} for n in range(rows)]
    vectors = np.full((rows, 4), number + 1, dtype=np.float32)
    services.libraries.upsert_chunks(library, chunks, vectors=vectors).result(30)


def snapshot(services: Any, library: str) -> None:
    ended = threading.Event()
    job = services.indexing.snapshot(library)
    job.add_done_callback(lambda _: ended.set())
    assert ended.wait(30)
    assert job.state == "succeeded"


@pytest.fixture(scope="module", params=["rows", "files"])
def crashed(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A directory as a crash leaves it: the journal's log not in its file yet, libraries from different sources.

    ::

        kept     generations 2 and 3 at revisions 3 and 4, and entries of revisions 4, 5 and 6
        journal  entries alone, revisions 1 to 4
        single   generation 1 at revision 2, and the entries from the beginning

    Once with the entries as rows of the journal, once with those that hold chunks as files beside it.
    """
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "files":
            defaults = SqliteJournal.__init__.__kwdefaults__
            patch.setitem(defaults, "file_bytes", 400)  # type: ignore[arg-type]
        made = make_crashed(tmp_path_factory)
        assert len([*entry_files(made / JOURNAL)]) == (7 if request.param == "files" else 0)
        yield made


def make_crashed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    live, copy = tmp_path_factory.mktemp("live") / "data", tmp_path_factory.mktemp("crashed") / "data"
    with engine(live) as services:
        for name in ("kept", "journal", "single"):
            services.libraries.create({"id": name, "name": name}).result(30)
        for number in range(3):
            upsert(services, "kept", number)
            upsert(services, "journal", number)
            snapshot(services, "kept")
        upsert(services, "single", 0)
        snapshot(services, "single")
        for number in (3, 4):
            upsert(services, "kept", number)
        shutil.copytree(live, copy)
    assert (copy / f"{JOURNAL}-wal").stat().st_size > 0
    return copy


@pytest.fixture
def data(crashed: Path, tmp_path: Path) -> Path:
    shutil.copytree(crashed, tmp_path / "data")
    return tmp_path / "data"


def state(data_dir: Path) -> dict[str, Any]:
    """What an engine serves of a copy of a directory; opening it would change the directory itself."""
    shutil.copytree(data_dir, data_dir.with_name("served"))
    told: dict[str, Any] = {}
    try:
        with engine(data_dir.with_name("served")) as services:
            for name in ("kept", "journal", "single"):
                try:
                    revision = services.libraries.get(name).revision
                    rows = services.libraries.list_chunks(name, limit=1000, include=("embedding",)).items
                    told[name] = (revision, [(one.id, one.embedding.tolist()) for one in rows])
                except VdbError as error:
                    told[name] = error.code
    except VdbError as error:
        told["engine"] = error.code
    finally:
        shutil.rmtree(data_dir.with_name("served"))
    return told


def everything(directory: Path) -> dict[str, tuple[object, ...]]:
    """Each name below a directory with its times and content."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted([directory, *directory.rglob("*")]):
        stat = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        found[str(path.relative_to(directory))] = (stat.st_mtime_ns, stat.st_mode, stat.st_size, content)
    return found


def hashes(directory: Path) -> set[str]:
    return {hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.rglob("*") if path.is_file()}


def test_a_check_sees_the_log_and_changes_nothing(data: Path) -> None:
    before = everything(data)
    found = check_directory(data)
    assert found.worst is None
    assert {one.id: (one.opens, one.revision, one.chunks) for one in found.libraries} == {
        "kept": (True, 6, 25),
        "journal": (True, 4, 15),
        "single": (True, 2, 5),
    }
    by_id = {one.id: one for one in found.libraries}
    assert [one.generation for one in by_id["kept"].generations] == [2, 3]
    assert all(one.problem is None and one.files > 5 for one in by_id["kept"].generations)
    assert by_id["kept"].journal_entries == 2
    assert found.journal.log_bytes > 0
    with plan_repair(data, writing=False) as repair:
        assert (repair.actions, repair.hopeless) == ([], {})
    assert everything(data) == before
    # Without the log there is less, and that is seen too: what is in the log is really read.
    (data / f"{JOURNAL}-wal").unlink()
    assert check_directory(data).worst == "error"


def test_a_check_works_where_nothing_may_be_written(data: Path) -> None:
    for path in [*data.rglob("*"), data]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        assert check_directory(data).worst is None
    finally:
        for path in [data, *data.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)


def test_a_directory_in_use_is_refused_and_one_that_is_not_there_too(data: Path, tmp_path: Path) -> None:
    with lock_directory(data), pytest.raises(DataDirectoryLocked, match="Stop that one first"):
        check_directory(data)
    with engine(data), pytest.raises(DataDirectoryLocked), plan_repair(data, writing=True):
        pass
    with pytest.raises(StorageFailed, match="no data directory"):
        check_directory(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_what_is_harmless_is_named(data: Path) -> None:
    (data / "notes.txt").write_text("mine")
    (data / "_api_key").write_text("made by the server")
    (data / "_deleted-old-1").mkdir()
    (data / "kept" / "3" / "extra.bin").write_bytes(b"x")
    (data / "kept" / "_deleted-1").mkdir()
    (data / "kept" / "manifest.json.tmp").write_bytes(b"{")
    (data / ENTRIES).mkdir(exist_ok=True)
    (data / ENTRIES / "999.bin").write_bytes(b"x")
    aside = data / "_quarantine" / "kept-1-then"
    aside.mkdir(parents=True)
    (aside / "reason.txt").write_text("a flipped bit")
    found = check_directory(data)
    assert found.worst == "note"
    assert {one.place for one in found.findings} == {
        "notes.txt",
        "_deleted-old-1",
        "kept/3/extra.bin",
        "kept/_deleted-1",
        "kept/manifest.json.tmp",
        f"{ENTRIES}/999.bin",
        "_quarantine/kept-1-then",
    }
    assert found.quarantine == [{"name": "kept-1-then", "reason": "a flipped bit"}]
    with plan_repair(data, writing=True) as repair:
        assert {one.place for one in repair.actions} == {
            "_deleted-old-1",
            "kept/_deleted-1",
            "kept/manifest.json.tmp",
            f"{ENTRIES}/999.bin",
        }
        assert repair.apply().worst == "note"
    assert (data / "notes.txt").read_text() == "mine"
    assert not (data / "_deleted-old-1").exists()


def flip(path: Path, at: int | None = None) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if at is None else at] ^= 0x40
    path.write_bytes(content)


def test_no_flipped_bit_goes_unseen_that_would_matter(crashed: Path, tmp_path: Path) -> None:
    """Where a check finds nothing, an engine serves what it served before."""
    chance = random.Random(5)
    data_dir = tmp_path / "data"
    shutil.copytree(crashed, data_dir)
    whole = state(data_dir)
    files = sorted(path.relative_to(crashed) for path in crashed.rglob("*") if path.is_file())
    unseen = 0
    for name in files:
        size = (crashed / name).stat().st_size
        if not size:
            continue
        # The larger part of a journal is zeros; its first pages and the log's frames are looked at more closely.
        for _ in range(12 if name.name.startswith(JOURNAL) else 2):
            flip(data_dir / name, chance.randrange(size))
            worst = check_directory(data_dir).worst
            if worst is None:
                unseen += 1
                assert state(data_dir) == whole, name
            shutil.copyfile(crashed / name, data_dir / name)
    assert unseen < 30


def edit(data_dir: Path, *statements: str) -> None:
    """Change the journal with SQLite, which brings its log into the file."""
    with closing(sqlite3.connect(data_dir / JOURNAL, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def positions(data_dir: Path, library: str) -> list[int]:
    with closing(sqlite3.connect(data_dir / JOURNAL)) as connection:
        return [
            at
            for (at,) in connection.execute(
                "SELECT position FROM entries WHERE library_id = ? ORDER BY position", (library,)
            )
        ]


def alter(library: str, which: int) -> Callable[[Path], None]:
    def make(data_dir: Path) -> None:
        at = positions(data_dir, library)[which]
        if (file := entry_file(data_dir / JOURNAL, at)).exists():
            flip(file, 20)
            return
        edit(data_dir, f"UPDATE entries SET operation = operation || x'20' WHERE position = {at}")

    return make


def drop(library: str, which: int) -> Callable[[Path], None]:
    def make(data_dir: Path) -> None:
        edit(data_dir, f"DELETE FROM entries WHERE position = {positions(data_dir, library)[which]}")

    return make


def lose(library: str, which: int) -> Callable[[Path], None]:
    """Lose an entry's own file, or what there is of it elsewhere."""

    def make(data_dir: Path) -> None:
        file = entry_file(data_dir / JOURNAL, positions(data_dir, library)[which])
        if file.exists():
            file.unlink()
        else:
            drop(library, which)(data_dir)

    return make


def fill_page(number: int) -> Callable[[Path], None]:
    def make(data_dir: Path) -> None:
        edit(data_dir, "PRAGMA wal_checkpoint(TRUNCATE)", "PRAGMA journal_mode=DELETE")
        content = bytearray((data_dir / JOURNAL).read_bytes())
        content[number * 8192 : number * 8192 + 8192] = b"\xa5" * 8192
        (data_dir / JOURNAL).write_bytes(content)

    return make


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def both(*damages: Callable[[Path], object]) -> Callable[[Path], None]:
    def make(data_dir: Path) -> None:
        for damage in damages:
            damage(data_dir)

    return make


GONE = -1
"""Only the journal knew it."""

WHOLE = {"kept": 6, "journal": 4, "single": 2}
Revisions = dict[str, int | None]
# What is done; the worst that a check says; what is served after a repair, none where a library stays unavailable;
# whether something is lost, and the word that must say so.
DAMAGES: dict[str, tuple[Callable[[Path], object], str, Revisions, str | None]] = {
    "vectors of the newest generation": (lambda d: flip(d / "kept/3/vectors.npy"), "warning", WHOLE, None),
    "metadata of the newest generation, cut": (
        lambda d: cut(d / "kept/3/metadata.json"),
        "warning",
        WHOLE,
        None,
    ),
    "the index of filters": (lambda d: flip(d / "kept/3/meta_index.json"), "warning", WHOLE, None),
    "a file that is gone": (lambda d: (d / "kept/3/ids.npy").unlink(), "warning", WHOLE, None),
    "the older generation": (lambda d: flip(d / "kept/2/vectors.npy"), "warning", WHOLE, None),
    "a generation that is gone": (lambda d: shutil.rmtree(d / "kept/2"), "warning", WHOLE, None),
    "the only generation, journal whole": (lambda d: flip(d / "single/1/norms.npy"), "warning", WHOLE, None),
    "a manifest": (lambda d: flip(d / "kept/manifest.json"), "warning", WHOLE, None),
    "a manifest, cut": (lambda d: cut(d / "kept/manifest.json"), "warning", WHOLE, None),
    "a manifest that is gone": (lambda d: (d / "kept/manifest.json").unlink(), "warning", WHOLE, None),
    "the copy of a manifest": (lambda d: flip(d / "kept/3/manifest.json"), "warning", WHOLE, None),
    "a manifest and the newest generation": (
        both(lambda d: flip(d / "kept/manifest.json"), lambda d: flip(d / "kept/3/ids.npy")),
        "warning",
        WHOLE,
        None,
    ),
    "both generations": (
        both(lambda d: flip(d / "kept/2/ids.npy"), lambda d: flip(d / "kept/3/ids.npy")),
        "error",
        {**WHOLE, "kept": None},
        None,
    ),
    "the last entry of a library": (alter("kept", -1), "error", {**WHOLE, "kept": 5}, "after position"),
    "an entry in between": (alter("journal", 2), "error", {**WHOLE, "journal": 2}, "after position"),
    "a lost entry": (drop("journal", 1), "error", {**WHOLE, "journal": 1}, "after position"),
    "a lost last entry": (drop("journal", -1), "error", {**WHOLE, "journal": 3}, "after position"),
    "a lost file of an entry": (lose("journal", 2), "error", {**WHOLE, "journal": 2}, "after position"),
    "an entry that the newest generation has": (alter("kept", 0), "warning", WHOLE, None),
    "the first bytes of the journal": (
        both(
            fill_nothing := lambda d: edit(d, "PRAGMA wal_checkpoint(TRUNCATE)"),
            lambda d: flip(d / JOURNAL, 3),
        ),
        "error",
        WHOLE,
        None,
    ),
    "the journal gone from beside its log": (
        lambda d: (d / JOURNAL).unlink(),
        "error",
        {"kept": 4, "journal": GONE, "single": 2},
        "nothing in it can be read",
    ),
    "the newest generation, and the journal gone": (
        both(
            lambda d: flip(d / "kept/3/ids.npy"),
            lambda d: (d / JOURNAL).unlink(),
            lambda d: (d / f"{JOURNAL}-wal").unlink(),
        ),
        "error",
        {"kept": 3, "journal": GONE, "single": 2},
        "comes back at revision 3",
    ),
}


@pytest.mark.parametrize(("damage", "worst", "after", "loss"), DAMAGES.values(), ids=DAMAGES)
def test_what_is_damaged_is_found_and_what_can_be_saved_is(
    data: Path, damage: Callable[[Path], object], worst: str, after: Revisions, loss: str | None
) -> None:
    whole = state(data)
    damage(data)
    # SQLite's own file of shared memory is no part of what was there.
    (data / f"{JOURNAL}-shm").unlink(missing_ok=True)
    before, kept = everything(data), hashes(data)
    found = check_directory(data)
    assert found.worst == worst, found.findings
    with plan_repair(data, writing=False) as repair:
        planned = [one.to_json() for one in repair.actions]
    assert everything(data) == before
    lost = " ".join(str(one["loses"]) for one in planned if one["loses"])
    assert (loss in lost) if loss else not lost, planned
    with plan_repair(data, writing=True) as repair:
        assert [one.to_json() for one in repair.actions] == planned
        assert sorted(repair.hopeless) == sorted(one for one, revision in after.items() if revision is None)
        _ = repair.apply()
    # Nothing is destroyed: whatever content there was is somewhere still.
    assert kept <= hashes(data), "a file is gone"
    served = state(data)
    for name, revision in after.items():
        if revision is None or revision == GONE:
            assert served[name] == ("library_not_found" if revision else "snapshot_damaged")
        else:
            assert served[name][0] == revision
            rows = [row for row in whole[name][1] if int(row[0].partition("-")[0]) + 2 <= revision]
            assert served[name][1] == rows
    with plan_repair(data, writing=True) as repair:
        assert repair.actions == []
    if None not in after.values():
        assert check_directory(data).worst in {None, "note"}


@pytest.mark.parametrize("page", range(1, 12))
def test_a_page_of_the_journal_that_is_rubbish_costs_no_more_than_it_must(data: Path, page: int) -> None:
    whole = state(data)
    fill_page(page)(data)
    if check_directory(data).worst is None:
        assert state(data) == whole
        return
    kept = hashes(data)
    with plan_repair(data, writing=True) as repair:
        _ = repair.apply()
    assert kept <= hashes(data)
    served = state(data)
    # Generations are untouched, so nothing falls behind them; rows that are there are the rows that were.
    assert served["kept"][0] >= 4
    assert served["single"][0] == 2
    for name in ("kept", "single", "journal"):
        if isinstance(served[name], tuple):
            assert served[name][1] == whole[name][1][: len(served[name][1])]
    assert check_directory(data).worst in {None, "note"}


class Stops(Disk):
    """A disk that stops the world before its n-th change."""

    def __init__(self, at: int) -> None:
        self.left = at

    def _count(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt

    def rename(self, source: Path, target: Path) -> None:
        self._count()
        super().rename(source, target)

    def remove_file(self, path: Path) -> None:
        self._count()
        super().remove_file(path)

    def sync_directory(self, path: Path) -> None:
        self._count()
        super().sync_directory(path)

    def sync_path(self, path: Path) -> None:
        self._count()
        super().sync_path(path)


def test_a_repair_that_is_cut_short_is_finished_by_the_next(
    crashed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = 0
    while True:
        data_dir = tmp_path / f"data{at}"
        shutil.copytree(crashed, data_dir)
        # An altered entry in the log: the last one of the library that only the journal has.
        log = bytearray((data_dir / f"{JOURNAL}-wal").read_bytes())
        (data_dir / f"{JOURNAL}-wal").write_bytes(log)
        alter("journal", -1)(data_dir)
        shutil.rmtree(data_dir / "_quarantine", ignore_errors=True)
        kept = hashes(data_dir)
        finished = False
        with monkeypatch.context() as patched:
            disk = Stops(at)
            patched.setattr("vdb_core.maintenance.repair.Disk", lambda disk=disk: disk)
            try:
                with plan_repair(data_dir, writing=True) as repair:
                    _ = repair.apply()
                finished = True
            except KeyboardInterrupt:
                pass
        for _ in range(2):
            with plan_repair(data_dir, writing=True) as repair:
                _ = repair.apply()
        assert kept <= hashes(data_dir)
        served = state(data_dir)
        assert {name: served[name][0] for name in WHOLE} == {**WHOLE, "journal": 3}, at
        assert check_directory(data_dir).worst in {None, "note"}
        shutil.rmtree(data_dir)
        if finished:
            break
        at += 1
    assert at > 8


def test_where_files_have_no_second_names_they_are_copied(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "no second names")

    monkeypatch.setattr(Disk, "link", refuse)
    alter("journal", 2)(data)
    (data / f"{JOURNAL}-shm").unlink(missing_ok=True)
    kept = hashes(data)
    with plan_repair(data, writing=True) as repair:
        assert repair.apply().worst in {None, "note"}
    assert kept <= hashes(data)
    assert state(data)["journal"][0] == 2
    assert len([*(data / "_quarantine").glob(f"journal-*/{ENTRIES}/*.bin")]) in {0, 7}


def test_what_a_newer_vdb_wrote_is_left_alone(data: Path) -> None:
    edit(data, "PRAGMA user_version=99")
    before = everything(data)
    assert check_directory(data).worst == "error"
    with plan_repair(data, writing=True) as repair:
        assert JOURNAL in repair.hopeless
        assert repair.actions == []
    (data / f"{JOURNAL}-shm").unlink(missing_ok=True)
    assert {k: v[3] for k, v in everything(data).items()} == {k: v[3] for k, v in before.items()}


def test_a_library_whose_index_type_is_missing_is_checked_like_any_other(data: Path) -> None:
    for folder in ("kept", "kept/2", "kept/3"):
        path = data / folder / "manifest.json"
        manifest = decode(path.read_bytes(), library_id="kept", where="")
        for entry in manifest.generations:
            header: dict[str, Any] = dict(entry.header)
            header["library"]["index_type"] = "elsewhere"
        path.write_bytes(encode(Manifest(library_id="kept", generations=manifest.generations)))
    found = {one.id: one for one in check_directory(data).libraries}["kept"]
    assert (found.opens, found.index_type, found.revision) == (True, "elsewhere", 6)
    flip(data / "kept/3/vectors.npy")
    assert any("vectors.npy was altered" in one.text for one in check_directory(data).findings)
