"""Checkpoints: by size, by age, on closing, beside traffic; two generations, and the journal behind the older one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

from engine_kit import Odd, add, build, fill, nearest

from vdb_core.persistence.sqlite_journal import SqliteJournal
from vdb_core.services import EngineSettings, open_services

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from vdb_core.services import Services


def generation(directory: Path, library: str = "lib") -> int:
    try:
        return int(json.loads((directory / library / "manifest.json").read_text())["generation"])
    except FileNotFoundError:
        return 0


def eventually(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def entries(directory: Path, library: str = "lib") -> int:
    journal = SqliteJournal(directory)
    try:
        return len(list(journal.replay(library, 0)))
    finally:
        journal.close()


def test_by_size_the_library_with_most_that_is_unsaved_comes_first(
    opener: Callable[..., Services], tmp_path: Path
) -> None:
    services = opener(tmp_path, checkpoint_bytes=60_000)
    fill(services, 10, library="small")
    fill(services, 10)
    time.sleep(1.2)
    assert generation(tmp_path) == generation(tmp_path, "small") == 0
    add(services, range(10, 500))
    eventually(lambda: generation(tmp_path) == 1)
    assert generation(tmp_path, "small") == 0
    # What was written since counts from nothing again.
    add(services, range(500, 510))
    time.sleep(1.2)
    assert generation(tmp_path) == 1


def test_by_age(opener: Callable[..., Services], tmp_path: Path) -> None:
    services = opener(tmp_path, checkpoint_age_s=0.2)
    fill(services, 10)
    eventually(lambda: generation(tmp_path) == 1)
    # Nothing is written where nothing changed.
    time.sleep(0.6)
    assert generation(tmp_path) == 1
    for number in (2, 3, 4):
        add(services, [100 + number])
        eventually(lambda number=number: generation(tmp_path) == number)
    eventually(
        lambda: sorted(one.name for one in (tmp_path / "lib").iterdir()) == ["3", "4", "manifest.json"]
    )
    services.close()
    # Of the journal, what came after the older of the two is kept.
    assert entries(tmp_path) == 1


def test_traffic_goes_on_meanwhile(opener: Callable[..., Services], tmp_path: Path, odd: Odd) -> None:
    services = opener(tmp_path, checkpoint_age_s=0.2)
    fill(services, 10, type="slow")
    assert odd.entered.wait(10)
    for number in range(20, 25):
        add(services, [number])
        assert nearest(services, float(number), 1) == [f"c{number}"]
    assert generation(tmp_path) == 0
    odd.gate.set()
    eventually(lambda: generation(tmp_path) >= 1)
    assert services.libraries.get("lib").chunks == 15


def test_one_that_fails_is_left_alone_for_a_while_and_stops_nobody(
    opener: Callable[..., Services], tmp_path: Path, odd: Odd
) -> None:
    services = opener(tmp_path, checkpoint_age_s=0.1)
    odd.fail_build = True
    fill(services, 3, type="half")
    eventually(lambda: any(job.state == "failed" for job in services.indexing.jobs()))
    fill(services, 3, library="other")
    eventually(lambda: generation(tmp_path, "other") == 1)
    assert sum(job.library_id == "lib" for job in services.indexing.jobs()) == 1
    assert nearest(services, 2.0, 1) == ["c2"]


def test_closing_writes_what_it_has_time_for(
    opener: Callable[..., Services], tmp_path: Path, odd: Odd
) -> None:
    services = opener(tmp_path, checkpoint_on_close_s=20.0)
    fill(services, 10)
    services.close()
    assert generation(tmp_path) == 1
    services = opener(tmp_path, checkpoint_on_close_s=20.0)
    assert services.libraries.get("lib").chunks == 10
    services.close()
    assert generation(tmp_path) == 1  # nothing new
    services = opener(tmp_path, checkpoint_on_close_s=0.3)
    fill(services, 5, library="slow", type="slow")
    begun = time.monotonic()
    services.close()
    assert time.monotonic() - begun < 5
    assert generation(tmp_path, "slow") == 0
    assert odd.entered.is_set()
    assert opener(tmp_path).libraries.get("slow").chunks == 5


def test_without_being_asked_closing_leaves_it_to_the_journal(
    opener: Callable[..., Services], tmp_path: Path
) -> None:
    services = opener(tmp_path)
    fill(services, 10)
    services.close()
    assert generation(tmp_path) == 0
    assert entries(tmp_path) == 2


def test_writes_that_are_queued_when_it_closes_are_finished_and_saved(
    opener: Callable[..., Services], tmp_path: Path
) -> None:
    services = opener(tmp_path, durability="none")
    fill(services, 1)
    futures = [
        services.libraries.create_chunk("lib", {"id": f"x{n}", "embedding": [n, 1]}) for n in range(200)
    ]
    closer = threading.Thread(target=services.close)
    closer.start()
    closer.join(30)
    assert all(future.exception(0) is None for future in futures)
    assert opener(tmp_path).libraries.get("lib").chunks == 201


# Without a journal


def test_none_writes_no_journal_and_keeps_everything_through_a_graceful_stop(
    opener: Callable[..., Services],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def never(*_: object) -> int:
        raise AssertionError("appended")

    monkeypatch.setattr(SqliteJournal, "append", never)
    for number in range(1, 4):
        with caplog.at_level("ERROR"):
            services = opener(tmp_path, durability="none")
        assert services.health()["durability"] == "none"
        if number == 1:
            fill(services, 10)
            services.libraries.create({"id": "gone", "name": "gone"}).result(10)
        else:
            assert services.libraries.get("lib").chunks == 9 + number
        add(services, [100 + number])
        if number == 2:
            services.libraries.delete("gone").result(10)
        services.close()
    assert not caplog.records
    monkeypatch.undo()
    # With a journal again, positions go on above those of the snapshots.
    services = opener(tmp_path)
    assert [one.id for one in services.libraries.list().items] == ["lib"]
    add(services, [200])
    services.close()
    assert opener(tmp_path).libraries.get("lib").chunks == 14


def test_none_saves_also_what_no_index_can_be_built_of(
    opener: Callable[..., Services], tmp_path: Path, odd: Odd
) -> None:
    services = opener(tmp_path, durability="none")
    fill(services, 10, type="half")
    odd.fail_build = True
    services.close()
    odd.fail_build = False
    again = opener(tmp_path)
    assert again.libraries.get("lib").chunks == 10
    assert nearest(again, 3.0, 1) == ["c3"]
    eventually(lambda: again.indexing.status("lib")["state"] == "ready")


def test_none_finishes_its_save_though_a_build_runs(
    opener: Callable[..., Services], tmp_path: Path, odd: Odd
) -> None:
    services = opener(tmp_path, durability="none")
    fill(services, 10)
    job = services.indexing.start("lib", {"type": "slow"})
    assert odd.entered.wait(10)
    services.close()
    assert job.state == "cancelled"
    assert opener(tmp_path).libraries.get("lib").chunks == 10


KILLED = """
import os, sys
from pathlib import Path
from vdb_core.services import EngineSettings, open_services
services = open_services(EngineSettings(data_dir=Path(sys.argv[1]), durability="none"))
rows = lambda first: [{"id": f"c{n}", "embedding": [n, 1]} for n in range(first, first + 5)]
services.libraries.create({"id": "lib", "name": "lib", "metric": "l2"}).result(10)
services.libraries.upsert_chunks("lib", rows(0)).result(10)
assert services.indexing.snapshot("lib").wait(20)
services.libraries.upsert_chunks("lib", rows(5)).result(10)
os._exit(0)
"""


def test_after_a_crash_none_has_its_last_checkpoint(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], env=environment, check=True)
    with open_services(EngineSettings(data_dir=tmp_path)) as services:
        assert services.libraries.get("lib").chunks == 5
        add(services, [77])
    with open_services(EngineSettings(data_dir=tmp_path)) as services:
        assert services.libraries.get("lib").chunks == 6


def test_a_build_counts_as_a_checkpoint(opener: Callable[..., Services], tmp_path: Path) -> None:
    services = opener(tmp_path, checkpoint_on_close_s=20.0)
    fill(services, 10)
    build(services, "numpy")
    services.close()
    assert generation(tmp_path) == 1
