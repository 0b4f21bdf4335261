"""Promise 4: a build stands in nobody's way, can be cancelled, and is swapped in as a whole."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest
from engine_kit import add, build, fill, nearest

from vdb_core.engine.compaction import compact
from vdb_core.engine.folding import fold_is_due
from vdb_core.errors import BuildInProgress, JobNotFound, LibraryNotFound

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from engine_kit import Odd

    from vdb_core.services import Services


def test_reads_and_writes_go_on_during_a_build(
    opener: Callable[..., Services], odd: Odd, tmp_path: Path
) -> None:
    services = opener(tmp_path)
    fill(services)
    job = services.indexing.start("lib", {"type": "slow"})
    assert odd.entered.wait(10)
    add(services, [200, 201])
    services.libraries.delete_chunks("lib", {"ids": ["c3", "c201"]}).result(10)
    services.libraries.patch_chunk("lib", "c4", {"metadata": {"n": 1000}}).result(10)
    assert nearest(services, 200.0, 1) == ["c200"]
    status = services.indexing.status("lib")
    assert (status["state"], status["job_id"]) == ("building", job.id)
    deadline = time.monotonic() + 10
    while job.phase != "waiting":  # told once the build has entered its loop
        assert time.monotonic() < deadline
        time.sleep(0.005)
    with pytest.raises(BuildInProgress) as caught:
        services.indexing.start("lib", {"type": "numpy"})
    assert caught.value.job_id == job.id
    odd.gate.set()
    assert job.wait(10)
    assert job.state == "succeeded"
    # What was written meanwhile is there, what was deleted is not, on disk as well.
    for at in (services, None):
        if at is None:
            services.close()
            at = opener(tmp_path)  # noqa: PLW2901 - the same checks after a restart
        assert at.libraries.get("lib").chunks == 40
        assert nearest(at, 3.0, 1) == ["c2"]
        assert nearest(at, 4.0, 1) == ["c4"]
        assert nearest(at, 4.0, 1, filter={"n": 1000}) == ["c4"]
        assert nearest(at, 500.0, 1) == ["c200"]
        assert at.indexing.status("lib")["type"] == "slow"


def test_a_cancelled_build_leaves_the_old_index(
    opener: Callable[..., Services], odd: Odd, tmp_path: Path
) -> None:
    services = opener(tmp_path)
    fill(services)
    build(services, "numpy")
    job = services.indexing.start("lib", {"type": "slow"})
    assert odd.entered.wait(10)
    assert services.indexing.cancel(job.id) is job
    assert job.wait(10)
    assert job.state == "cancelled"
    assert services.indexing.status("lib")["type"] == "numpy"
    odd.gate.set()
    build(services, "slow")


def test_a_failed_build_leaves_the_old_index(opener: Callable[..., Services], odd: Odd) -> None:
    services = opener()
    fill(services)
    odd.fail_build = True
    job = services.indexing.start("lib", {"type": "half"})
    assert job.wait(10)
    assert (job.state, job.error) == ("failed", "the build fell over")
    assert nearest(services, 7.0, 1) == ["c7"]
    assert services.indexing.status("lib")["job_id"] is None


def test_an_empty_library_is_indexed_at_once(opener: Callable[..., Services], tmp_path: Path) -> None:
    services = opener(tmp_path)
    fill(services, 0)
    build(services, "half")
    services.close()
    assert opener(tmp_path).libraries.get("lib").index.type == "half"


def test_the_engine_folds_by_itself(
    opener: Callable[..., Services], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("vdb_core.engine.folding._FOLD_ROWS", 20)
    services = opener(tmp_path)
    fill(services, 40)
    _settle(services)
    status = services.indexing.status("lib")
    assert (status["rows"], status["delta_rows"]) == (40, 0)
    assert services.indexing.jobs()[0].kind == "fold"


@pytest.mark.parametrize(
    ("base", "delta", "dead", "due"),
    [
        (0, 10_000, 0, False),
        (0, 10_001, 0, True),
        (500_000, 50_000, 0, False),
        (500_000, 50_001, 0, True),
        (5_000, 100, 1_020, False),
        (5_000, 100, 1_021, True),
        (500, 0, 1_000, False),
    ],
)
def test_when_a_fold_is_due(base: int, delta: int, dead: int, *, due: bool) -> None:
    state = Mock(base=Mock(rows=base), delta_rows=delta, dead_rows=dead)
    assert fold_is_due(state) is due


def test_a_fold_that_failed_waits_until_the_library_has_grown_by_half(
    opener: Callable[..., Services], odd: Odd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vdb_core.engine.folding._FOLD_ROWS", 20)
    odd.fail_build = True
    services = opener()
    fill(services, 40, type="half")
    _settle(services)
    odd.fail_build = False
    # What a write starts is started before the next one is answered.
    add(services, range(40, 60))
    services.libraries.delete_chunks("lib", {"ids": ["nobody"]}).result(10)
    assert [job.state for job in services.indexing.jobs()] == ["failed"]
    add(services, [60])
    services.libraries.delete_chunks("lib", {"ids": ["nobody"]}).result(10)
    _settle(services)
    assert [job.state for job in services.indexing.jobs()] == ["failed", "succeeded"]


def test_folds_take_half_of_the_time_at_most(
    opener: Callable[..., Services], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Rows that come faster than they are folded keep no fold running all the time; the last of them are folded too."""
    monkeypatch.setattr("vdb_core.engine.folding._FOLD_ROWS", 20)
    folds: list[tuple[float, float]] = []
    entered = threading.Event()

    def compact_slowly(*args: Any, **kwargs: Any) -> Any:
        begun = time.monotonic()
        entered.set()
        compacted = compact(*args, **kwargs)
        time.sleep(0.5)
        folds.append((begun, time.monotonic()))
        return compacted

    monkeypatch.setattr("vdb_core.engine.builder.compact", compact_slowly)
    services = opener(tmp_path)
    fill(services, 40)
    assert entered.wait(10)
    add(services, range(40, 80))
    deadline = time.monotonic() + 20
    while services.indexing.status("lib")["delta_rows"]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (_, first_ended), (second_begun, _) = folds
    assert second_begun - first_ended >= 0.5


def test_dead_rows_are_folded_away(opener: Callable[..., Services], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vdb_core.engine.folding._DEAD_ROWS", 5)
    services = opener()
    fill(services, 40)
    services.libraries.delete_chunks("lib", {"filter": {"even": True}}).result(10)
    _settle(services)
    status = services.indexing.status("lib")
    assert (status["rows"], status["dead_rows"]) == (20, 0)


def test_a_fold_gives_way_to_a_requested_build(
    opener: Callable[..., Services], odd: Odd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vdb_core.engine.folding._FOLD_ROWS", 20)
    services = opener()
    fill(services, 40, type="slow")
    assert odd.entered.wait(10)
    fold = services.indexing.jobs()[0]
    assert fold.kind == "fold"
    job = services.indexing.start("lib", {"type": "numpy"})
    assert job.wait(10)
    assert (fold.state, job.state) == ("cancelled", "succeeded")


def test_deleting_a_library_ends_its_build(opener: Callable[..., Services], odd: Odd, tmp_path: Path) -> None:
    services = opener(tmp_path)
    fill(services)
    job = services.indexing.start("lib", {"type": "slow"})
    assert odd.entered.wait(10)
    services.libraries.delete("lib").result(10)
    assert job.state == "cancelled"
    with pytest.raises(LibraryNotFound):
        services.libraries.get("lib")
    assert not (tmp_path / "lib").exists()
    fill(services, 2)
    services.close()
    assert opener(tmp_path).libraries.get("lib").chunks == 2


def test_indexes_are_closed_after_the_last_search(opener: Callable[..., Services], odd: Odd) -> None:
    services = opener()
    fill(services)
    build(services, "blind")
    stop = threading.Event()
    errors: list[BaseException] = []

    def search() -> None:
        while not stop.is_set():
            try:
                nearest(services, 7.0, 3)
            except BaseException as error:  # noqa: BLE001 - whatever it is, the test shows it
                errors.append(error)
                return

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        build(services, "blind")
    stop.set()
    for thread in threads:
        thread.join()
    services.close()
    assert not errors
    assert len(odd.built) == 6
    assert all(index.closed for index in odd.built)


def test_an_unknown_job_is_not_found(opener: Callable[..., Services]) -> None:
    with pytest.raises(JobNotFound):
        opener().indexing.job("nope")


def _settle(services: Services) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        jobs = services.indexing.jobs()
        if jobs and all(job.finished for job in jobs):
            return
        time.sleep(0.01)
    raise AssertionError("no fold came to an end")
