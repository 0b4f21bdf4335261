"""Promise 3: what was acknowledged is there after a restart, what was refused left nothing, damage is never hidden."""

from __future__ import annotations

import json
from concurrent.futures import wait
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from engine_kit import add, build, fill, nearest

from vdb_core.errors import (
    DataDirectoryLocked,
    EngineClosed,
    LibraryNotFound,
    SnapshotDamaged,
    StorageFull,
    WriteQueueFull,
)
from vdb_core.persistence.sqlite_journal import SqliteJournal
from vdb_core.services import Limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from vdb_core.services import Services


def test_everything_is_there_after_a_restart(opener: Callable[..., Services], tmp_path: Path) -> None:
    services = opener(tmp_path)
    fill(services, 10, metric="cosine")
    services.libraries.create_document("lib", {"id": "d/1", "metadata": {"kind": "book"}}).result(10)
    services.libraries.create_chunk(
        "lib", {"id": "in d", "document_id": "d/1", "text": "ein Satz", "embedding": [1e-30, 5e-30]}
    ).result(10)
    services.libraries.patch("lib", {"name": "renamed", "metadata": {"x": [1, None]}}).result(10)
    build(services, "numpy")
    add(services, [77])
    services.libraries.delete_chunk("lib", "c3").result(10)
    before = services.libraries.get("lib").to_json()
    chunks = [chunk.to_json() for chunk in services.libraries.list_chunks("lib", include=["embedding"]).items]
    document = services.libraries.get_document("lib", "d/1").to_json()
    services.close()
    again = opener(tmp_path)
    assert again.libraries.get("lib").to_json() == before
    assert [c.to_json() for c in again.libraries.list_chunks("lib", include=["embedding"]).items] == chunks
    assert again.libraries.get_document("lib", "d/1").to_json() == document
    assert nearest(again, 0.2, 1, filter={"$document.kind": "book"}) == ["in d"]


def test_a_write_the_journal_refuses_leaves_nothing(
    opener: Callable[..., Services], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = opener(tmp_path)
    fill(services, 3)
    before = services.libraries.get("lib").to_json()

    def full(self: SqliteJournal, batch: object) -> int:
        raise StorageFull("no room")

    with monkeypatch.context() as patches:
        patches.setattr(SqliteJournal, "append", full)
        for future in (
            services.libraries.create_chunk("lib", {"id": "new", "embedding": [1.0, 1.0]}),
            services.libraries.delete_chunk("lib", "c1"),
            services.libraries.delete("lib"),
            services.libraries.create({"id": "other", "name": "other"}),
        ):
            with pytest.raises(StorageFull):
                future.result(10)
        assert nearest(services, 1.0, 1) == ["c1"]
    assert services.libraries.get("lib").to_json() == before
    with pytest.raises(LibraryNotFound):
        services.libraries.get("other")
    add(services, [9])
    services.close()
    assert opener(tmp_path).libraries.get("lib").chunks == 4


def test_a_damaged_snapshot_is_set_aside_and_nothing_is_lost(
    opener: Callable[..., Services], tmp_path: Path
) -> None:
    services = opener(tmp_path)
    fill(services, 10)
    build(services, "numpy")
    add(services, [50])
    build(services, "numpy")
    add(services, [60])
    services.close()
    vectors = tmp_path / "lib" / "2" / "vectors.npy"
    raw = bytearray(vectors.read_bytes())
    raw[-3] ^= 0x10
    vectors.write_bytes(raw)
    again = opener(tmp_path)
    assert again.libraries.get("lib").chunks == 12
    assert nearest(again, 58.0, 2) == ["c60", "c50"]
    reasons = list((tmp_path / "_quarantine").glob("*/reason.txt"))
    assert len(reasons) == 1
    assert "vectors.npy" in reasons[0].read_text()
    build(again, "numpy")
    again.close()
    assert opener(tmp_path).libraries.get("lib").chunks == 12


def test_no_empty_library_stands_in_for_a_lost_one(opener: Callable[..., Services], tmp_path: Path) -> None:
    services = opener(tmp_path)
    fill(services, 10)
    for number in (50, 51, 52):
        add(services, [number])
        build(services, "numpy")
    add(services, [60])
    services.close()
    for generation in (tmp_path / "lib").iterdir():
        if generation.is_dir():
            (generation / "ids.npy").write_bytes(b"")
    for _ in range(2):
        again = opener(tmp_path)
        fill(again, 1, library=f"other{_}")
        with pytest.raises(SnapshotDamaged):
            again.libraries.get("lib")
        # The others are served, the damaged one is named, and its id is not free.
        assert "lib" not in [library.id for library in again.libraries.list().items]
        assert again.health()["damaged_libraries"] == ["lib"]
        with pytest.raises(SnapshotDamaged):
            fill(again, 1)
        again.close()
    again = opener(tmp_path)
    again.libraries.delete("lib").result(10)
    fill(again, 2)
    again.close()
    again = opener(tmp_path)
    assert again.libraries.get("lib").chunks == 2
    assert again.health()["damaged_libraries"] == []


def test_two_generations_are_kept_and_the_journal_shrinks(
    opener: Callable[..., Services], tmp_path: Path
) -> None:
    services = opener(tmp_path)
    fill(services, 10)
    for number in range(50, 55):
        add(services, [number])
        build(services, "numpy")
    generations = sorted(int(one.name) for one in (tmp_path / "lib").iterdir() if one.is_dir())
    assert generations == [4, 5]
    services.close()
    journal = SqliteJournal(tmp_path)
    entries = list(journal.replay("lib", 0))
    journal.close()
    assert len(entries) == 1


def test_unchanged_files_are_linked(opener: Callable[..., Services], tmp_path: Path) -> None:
    services = opener(tmp_path)
    fill(services, 10)
    build(services, "numpy")
    build(services, "half")
    first, second = (tmp_path / "lib" / str(n) / "vectors.npy" for n in (1, 2))
    assert first.stat().st_ino == second.stat().st_ino


def test_a_snapshot_of_an_unchanged_library_writes_nothing(
    opener: Callable[..., Services], tmp_path: Path
) -> None:
    services = opener(tmp_path)
    fill(services, 10)
    for expected in ("1", "1"):
        job = services.indexing.snapshot("lib")
        assert job.wait(10)
        assert job.state == "succeeded"
        assert json.loads((tmp_path / "lib" / "manifest.json").read_text())["generation"] == int(expected)
    services.libraries.create_document("lib", {"id": "d"}).result(10)
    assert services.indexing.snapshot("lib").wait(10)
    services.close()
    assert opener(tmp_path).libraries.get_document("lib", "d").id == "d"


def test_data_is_readable_without_vdb(opener: Callable[..., Services], tmp_path: Path) -> None:
    services = opener(tmp_path)
    fill(services, 5)
    build(services, "numpy")
    services.close()
    directory = tmp_path / "lib" / "1"
    vectors = np.load(directory / "vectors.npy", allow_pickle=False)
    assert vectors.tolist() == [[float(n), 1.0] for n in range(5)]
    rows = json.loads((directory / "metadata.json").read_text())
    assert [row["id"] for row in rows] == [f"c{n}" for n in range(5)]
    internal = np.load(directory / "ids.npy", allow_pickle=False)
    assert json.loads((directory / "id_map.json").read_text()) == [
        [f"c{n}", int(one)] for n, one in enumerate(internal)
    ]


def test_one_process_holds_a_data_directory(opener: Callable[..., Services], tmp_path: Path) -> None:
    first = opener(tmp_path)
    with pytest.raises(DataDirectoryLocked):
        opener(tmp_path)
    first.close()
    opener(tmp_path)


def test_a_full_queue_refuses_at_once(
    opener: Callable[..., Services], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    services = opener(tmp_path, limits=Limits(max_pending_writes=4))
    fill(services, 1)
    gate = threading.Event()
    append = SqliteJournal.append

    def slow(self: SqliteJournal, batch: object) -> int:
        gate.wait(10)
        return append(self, batch)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(SqliteJournal, "append", slow)
    futures = [services.libraries.create_chunk("lib", {"id": f"x{n}", "embedding": [0, 1]}) for n in range(4)]
    with pytest.raises(WriteQueueFull) as caught:
        services.libraries.create_chunk("lib", {"embedding": [0, 1]})
    assert caught.value.retry_after > 0
    gate.set()
    assert not wait(futures, 10).not_done
    assert services.libraries.get("lib").chunks == 5


def test_writes_of_one_group_see_each_other(
    opener: Callable[..., Services], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one commit is slow the others queue up behind it and become one group."""
    import threading

    services = opener(tmp_path)
    fill(services, 1)
    gate, begun = threading.Event(), threading.Event()
    groups: list[int] = []
    append = SqliteJournal.append

    def slow(self: SqliteJournal, batch: list[object]) -> int:
        groups.append(len(batch))
        begun.set()
        gate.wait(10)
        return append(self, batch)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(SqliteJournal, "append", slow)
    libraries = services.libraries
    first = libraries.create_chunk("lib", {"id": "a", "embedding": [5, 1]})
    assert begun.wait(10)
    futures = [
        first,
        libraries.create_document("lib", {"id": "d"}),
        libraries.create_chunk("lib", {"id": "b", "document_id": "d", "embedding": [6, 1]}),
        libraries.patch_chunk("lib", "b", {"metadata": {"n": -1}}),
        libraries.create_chunk("lib", {"id": "b", "embedding": [7, 1]}),
        libraries.delete_chunks("lib", {"filter": {"n": -1}}),
        libraries.create_chunk("lib", {"id": "b", "embedding": [8, 1]}),
    ]
    gate.set()
    wait(futures, 10)
    assert type(futures[4].exception()).__name__ == "AlreadyExists"
    assert futures[5].result().deleted == 1
    assert libraries.get_chunk("lib", "b").embedding.tolist() == [8.0, 1.0]
    assert groups[:2] == [1, 3]


def test_a_closed_engine_says_so(opener: Callable[..., Services]) -> None:
    services = opener()
    fill(services, 1)
    services.close()
    with pytest.raises(EngineClosed):
        services.libraries.create({"name": "x"})


def test_a_lost_journal_loses_no_later_write(opener: Callable[..., Services], tmp_path: Path) -> None:
    services = opener(tmp_path)
    fill(services, 10)
    for number in (50, 51):
        add(services, [number])
        build(services, "numpy")
    services.close()
    for file in tmp_path.glob("_journal.sqlite3*"):
        file.unlink()
    again = opener(tmp_path)
    add(again, [60])
    again.close()
    assert nearest(opener(tmp_path), 60.0, 1) == ["c60"]


def test_pages_of_mapped_rows_are_let_go_and_come_back(tmp_path: Path) -> None:
    from vdb_core.engine.memory import forget_pages
    from vdb_core.persistence import map_npy, write_npy

    rows = np.arange(1_000_000, dtype=np.float32).reshape(-1, 100)
    write_npy(tmp_path / "rows.npy", rows)
    mapped = map_npy(tmp_path / "rows.npy")
    assert mapped.sum() == rows.sum()

    def resident() -> int:
        text = (Path("/proc/self/smaps").read_text()).split("rows.npy", 1)[1]
        return int(text.split("Rss:", 1)[1].split(None, 1)[0])

    linux = Path("/proc/self/smaps").exists()
    assert not linux or resident() > 3_000
    forget_pages(mapped[5:])
    assert not linux or resident() < 100
    assert (mapped == rows).all()
    forget_pages(rows)
