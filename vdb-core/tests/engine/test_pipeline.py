"""The committer prepares a group while the one before is on its way to the disk, and shows nothing before its time."""

from __future__ import annotations

import threading
import time
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from engine_kit import fill, nearest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vdb_core.errors import (
    AlreadyExists,
    ChunkNotFound,
    StorageFull,
    StorageReadOnly,
    WriteUncertain,
)
from vdb_core.persistence.sqlite_journal import SqliteJournal
from vdb_core.plugins import PluginManager
from vdb_core.repository import InMemoryLibraryRepository
from vdb_core.services import EngineSettings, open_services

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future
    from pathlib import Path

    from vdb_core.services import Services


@dataclass
class Gate:
    """Stands in the way of appends, lets each through when told, and fails those it is told to."""

    real: Any
    appends: list[int] = field(default_factory=list)
    begun: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    let: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    errors: dict[int, Exception] = field(default_factory=dict)

    def method(self) -> Callable[[SqliteJournal, list[Any]], int]:
        def append(journal: SqliteJournal, batch: list[Any]) -> int:
            number = len(self.appends)
            self.appends.append(len(batch))
            self.begun.release()
            assert self.let.acquire(timeout=20)
            if number in self.errors:
                raise self.errors[number]
            return self.real(journal, batch)

        return append

    def wait(self) -> None:
        assert self.begun.acquire(timeout=20)


@pytest.fixture
def gated(
    opener: Callable[..., Services], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Services, Gate]]:
    services = opener(tmp_path)
    fill(services, 1)
    gate = Gate(SqliteJournal.append)
    monkeypatch.setattr(SqliteJournal, "append", gate.method())
    yield services, gate
    for _ in range(1000):
        gate.let.release()


def create(services: Services, name: str, at: float = 5.0) -> Future[Any]:
    return services.libraries.create_chunk("lib", {"id": name, "embedding": [at, 1]})


def prepared(services: Services) -> int:
    """How many writes are prepared on top of what is on its way."""
    return len(services._engine.committer._next.members)


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_the_next_group_is_prepared_meanwhile_and_shown_in_its_turn(gated: tuple[Services, Gate]) -> None:
    services, gate = gated
    first = create(services, "a", 50)
    gate.wait()
    second = services.libraries.patch_chunk("lib", "a", {"metadata": {"seen": True}})
    eventually(lambda: prepared(services) == 1)
    assert not first.done()
    assert not second.done()
    assert nearest(services, 50.0, 1) == ["c0"]
    gate.let.release()
    assert first.result(10).metadata == {}
    gate.wait()
    # The first is there, the second not yet.
    assert services.libraries.get_chunk("lib", "a").metadata == {}
    assert not second.done()
    gate.let.release()
    assert second.result(10).metadata == {"seen": True}
    assert gate.appends == [1, 1]


def test_a_group_goes_to_the_disk_while_the_one_before_is_published(
    gated: tuple[Services, Gate], monkeypatch: pytest.MonkeyPatch
) -> None:
    services, gate = gated
    publish = InMemoryLibraryRepository.publish
    publishing, go_on = threading.Event(), threading.Event()

    def slow(self: InMemoryLibraryRepository, *arguments: Any) -> None:
        publishing.set()
        assert go_on.wait(20)
        publish(self, *arguments)

    monkeypatch.setattr(InMemoryLibraryRepository, "publish", slow)
    first = create(services, "a")
    gate.wait()
    second = create(services, "b")
    eventually(lambda: prepared(services) == 1)
    gate.let.release()
    assert publishing.wait(20)
    gate.wait()  # the second's append has begun
    gate.let.release()
    time.sleep(0.05)
    # Durable, and not shown before the first.
    assert not first.done()
    assert not second.done()
    go_on.set()
    assert (first.result(10).id, second.result(10).id) == ("a", "b")


def test_what_was_prepared_on_top_of_a_failure_is_prepared_anew(gated: tuple[Services, Gate]) -> None:
    services, gate = gated
    gate.errors[0] = StorageFull("no room")
    first = create(services, "a", 50)
    gate.wait()
    again = create(services, "a", 60)
    patch = services.libraries.patch_chunk("lib", "a", {"metadata": {"n": 1}})
    delete = services.libraries.delete_chunks("lib", {"ids": ["a", "c0"]})
    eventually(lambda: prepared(services) == 3)
    # The refusal of the second was true of what was on its way only: nobody has heard of it.
    assert not again.done()
    gate.let.release()
    gate.let.release()
    assert isinstance(first.exception(10), StorageFull)
    assert again.result(10).embedding.tolist() == [60.0, 1.0]
    assert patch.result(10).metadata == {"n": 1}
    assert delete.result(10).deleted == 2


def test_a_refusal_is_told_when_its_reason_is_durable(gated: tuple[Services, Gate]) -> None:
    services, gate = gated
    first = create(services, "a")
    gate.wait()
    second = create(services, "a")
    unknown = services.libraries.delete_chunk("lib", "nowhere")
    eventually(lambda: prepared(services) == 2)
    time.sleep(0.05)
    assert not second.done()
    assert not unknown.done()
    gate.let.release()
    first.result(10)
    assert isinstance(second.exception(10), AlreadyExists)
    assert isinstance(unknown.exception(10), ChunkNotFound)
    assert gate.appends == [1]  # nothing of a group of refusals goes to the disk


def test_only_what_would_have_changed_something_is_uncertain(gated: tuple[Services, Gate]) -> None:
    services, gate = gated
    blocker = create(services, "x")
    gate.wait()
    futures = [create(services, "a"), create(services, "a"), create(services, "b")]
    eventually(lambda: prepared(services) == 3)
    gate.errors[1] = WriteUncertain("the flush failed")
    gate.let.release()
    blocker.result(10)
    gate.wait()
    behind = create(services, "c")
    eventually(lambda: prepared(services) == 1)
    gate.let.release()
    kinds = [type(future.exception(10)) for future in (*futures, behind)]
    assert kinds == [WriteUncertain, StorageReadOnly, WriteUncertain, StorageReadOnly]
    assert gate.appends == [1, 2]
    assert services.libraries.get("lib").chunks == 2


def test_a_library_that_is_deleted_and_made_again_on_the_way(gated: tuple[Services, Gate]) -> None:
    services, gate = gated
    first = create(services, "a")
    gate.wait()
    deleted = services.libraries.delete("lib")
    made = services.libraries.create({"id": "lib", "name": "again", "metric": "l2"})
    other = services.libraries.create({"id": "LIB", "name": "taken", "metric": "l2"})
    # Nothing of the library that was is in the new one, its ids least of all.
    same = create(services, "c0", 70)
    for _ in range(20):
        gate.let.release()
    first.result(10)
    deleted.result(10)
    assert made.result(10).name == "again"
    assert isinstance(other.exception(10), AlreadyExists)
    assert same.result(10).embedding.tolist() == [70.0, 1.0]
    assert services.libraries.get("lib").chunks == 1


def test_calls_wait_until_nothing_is_on_its_way(gated: tuple[Services, Gate]) -> None:
    services, gate = gated
    first = create(services, "a")
    gate.wait()
    seen: list[int] = []
    call = services._engine.committer.call(lambda: seen.append(services.libraries.get("lib").chunks))
    second = create(services, "b")
    time.sleep(0.05)
    assert not call.done()
    gate.let.release()
    first.result(10)
    call.result(10)
    assert seen == [2]
    gate.let.release()
    second.result(10)


def test_what_a_call_knows_of_is_gone_before_its_answer(
    opener: Callable[..., Services], tmp_path: Path
) -> None:
    """A build gives freed memory back once it is answered: the old base must not be let go only after that."""
    committer = opener(tmp_path)._engine.committer
    answered = threading.Event()

    class OldBase:
        def take_its_place(self) -> None:
            # Until whoever waits below has asked to be told.
            assert answered.wait(20)

    old = OldBase()
    alive = weakref.ref(old)
    seen: list[object] = []
    done = committer.call(old.take_its_place)
    del old
    done.add_done_callback(lambda _: seen.append(alive()))
    answered.set()
    done.result()
    committer.call(lambda: None).result()
    assert seen == [None]


def test_a_write_that_cannot_be_published_stops_no_other(
    gated: tuple[Services, Gate], monkeypatch: pytest.MonkeyPatch
) -> None:
    services, gate = gated
    publish = InMemoryLibraryRepository.publish

    def fail(self: InMemoryLibraryRepository, library_id: str, operations: Any, position: int) -> None:
        if library_id == "broken":
            raise RuntimeError("a bug")
        publish(self, library_id, operations, position)

    monkeypatch.setattr(InMemoryLibraryRepository, "publish", fail)
    made = services.libraries.create({"id": "broken", "name": "broken"})
    gate.wait()
    inside = services._engine.committer.submit("broken", _touch)
    beside = create(services, "a")
    for _ in range(10):
        gate.let.release()
    assert isinstance(made.exception(10), RuntimeError)
    assert inside.exception(10) is not None
    beside.result(10)
    create(services, "b").result(10)


def _touch(overlay: Any) -> Any:
    from vdb_core.engine.committer import Plan
    from vdb_core.engine.operations import Remove

    return Plan([Remove(revision=overlay.info["revision"] + 1, time="t", chunks=["x"])], lambda: None)


NAMES = st.sampled_from("abcd")
WRITES = st.one_of(
    st.tuples(st.just("create"), NAMES),
    st.tuples(st.just("upsert"), st.lists(NAMES, min_size=1, max_size=3, unique=True)),
    st.tuples(st.just("delete"), NAMES),
    st.tuples(st.just("delete_some"), st.lists(NAMES, min_size=1, max_size=3, unique=True)),
    st.tuples(st.just("filter"), NAMES),
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(writes=st.lists(WRITES, min_size=1, max_size=25), full=st.sets(st.integers(0, 12)), data=st.data())
def test_answers_are_those_of_one_write_after_the_other(
    tmp_path_factory: pytest.TempPathFactory,
    writes: list[tuple[str, Any]],
    full: set[int],
    data: st.DataObject,
) -> None:
    """Whatever is on its way, and whichever appends find no room: each answer follows from the acknowledged before."""
    directory = tmp_path_factory.mktemp("data")
    plugins = PluginManager(entry_points=list)
    plugins.load()
    gate = Gate(SqliteJournal.append, errors={number: StorageFull("no room") for number in full})
    with open_services(EngineSettings(data_dir=directory), plugins=plugins) as services:
        services.libraries.create({"id": "lib", "name": "lib", "metric": "l2"}).result(10)
        with pytest.MonkeyPatch.context() as patches:
            patches.setattr(SqliteJournal, "append", gate.method())
            futures: list[Future[Any]] = []
            for number, (kind, what) in enumerate(writes):
                futures.append(submit(services, kind, what, number))
                if data.draw(st.booleans()):
                    gate.let.release()
            for _ in range(100):
                gate.let.release()
            model: dict[str, int] = {}
            for number, ((kind, what), future) in enumerate(zip(writes, futures, strict=True)):
                follow(model, kind, what, number, future)
        assert {one.id: one.metadata["v"] for one in services.libraries.list_chunks("lib").items} == model
    with open_services(EngineSettings(data_dir=directory), plugins=plugins) as services:
        assert {one.id: one.metadata["v"] for one in services.libraries.list_chunks("lib").items} == model


def submit(services: Services, kind: str, what: Any, number: int) -> Future[Any]:
    libraries = services.libraries
    row = {"embedding": [number, 1], "metadata": {"v": number}}
    if kind == "create":
        return libraries.create_chunk("lib", {"id": what, **row})
    if kind == "upsert":
        return libraries.upsert_chunks("lib", [{"id": name, **row} for name in what])
    if kind == "delete":
        return libraries.delete_chunk("lib", what)
    if kind == "filter":
        return libraries.delete_chunks("lib", {"filter": {"$id": what}})
    return libraries.delete_chunks("lib", {"ids": what})


def follow(model: dict[str, int], kind: str, what: Any, number: int, future: Future[Any]) -> None:
    error = future.exception(20)
    if isinstance(error, StorageFull):
        return
    if kind == "create":
        assert isinstance(error, AlreadyExists) == (what in model)
        model.setdefault(what, number)
    elif kind == "upsert":
        assert future.result().updated == sum(name in model for name in what)
        model.update(dict.fromkeys(what, number))
    elif kind == "delete":
        assert isinstance(error, ChunkNotFound) == (what not in model)
        model.pop(what, None)
    else:
        names = [what] if kind == "filter" else what
        assert future.result().deleted == sum(name in model for name in names)
        for name in names:
            model.pop(name, None)
