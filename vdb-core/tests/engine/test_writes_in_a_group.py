"""Writes that are committed together, and libraries that are deleted while somebody is about to use them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from vdb_core.errors import AlreadyExists, BuildInProgress, ChunkNotFound, LibraryNotFound, StorageFull
from vdb_core.persistence.sqlite_journal import SqliteJournal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from vdb_core.services import Services


class Gate:
    """Holds the journal back, so that what is submitted meanwhile becomes one group."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()
        self.failure: Exception | None = None

    def close(self) -> None:
        self.entered.clear()
        self.opened.clear()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate, append = Gate(), SqliteJournal.append
    gate.opened.set()

    def gated(self: SqliteJournal, batch: Any) -> int:
        gate.entered.set()
        assert gate.opened.wait(10)
        if gate.failure is not None:
            raise gate.failure
        return append(self, batch)

    monkeypatch.setattr(SqliteJournal, "append", gated)
    yield gate
    gate.opened.set()


@pytest.fixture
def services(opener: Callable[..., Services], tmp_path: Path, gate: Gate) -> Services:
    services = opener(tmp_path)
    services.libraries.create({"id": "lib", "name": "lib", "metric": "l2"}).result(10)
    services.libraries.upsert_chunks("lib", [{"id": "c1", "embedding": [1.0, 1.0]}]).result(10)
    gate.close()
    return services


def hold(services: Services, gate: Gate) -> Any:
    """A write that is being journaled: what is submitted now waits behind it."""
    first = services.libraries.create_document("lib", {"id": "first"})
    assert gate.entered.wait(10)
    gate.entered.clear()
    return first


def test_a_refusal_waits_for_the_write_it_tells_of(services: Services, gate: Gate) -> None:
    first = hold(services, gate)
    deleted = services.libraries.delete_chunk("lib", "c1")
    patched = services.libraries.patch_chunk("lib", "c1", {"text": "new"})
    # The answer to the first write is given after it passed the gate, and before the next one is there.
    first.add_done_callback(lambda _: gate.close())
    gate.opened.set()
    assert gate.entered.wait(10)
    assert first.done()
    assert not patched.done(), "refused because of a delete that nobody can see yet"
    assert services.libraries.get_chunk("lib", "c1").id == "c1"
    gate.opened.set()
    deleted.result(10)
    with pytest.raises(ChunkNotFound):
        patched.result(10)


def test_a_refusal_falls_with_the_write_it_tells_of(services: Services, gate: Gate) -> None:
    hold(services, gate)
    body = {"id": "c2", "embedding": [2.0, 2.0]}
    twins = [services.libraries.create_chunk("lib", body) for _ in range(2)]
    gate.failure = StorageFull("no room")
    gate.opened.set()
    for twin in twins:
        # The second is not refused because its id is taken: it is not.
        with pytest.raises(StorageFull):
            twin.result(10)
    gate.failure = None
    assert services.libraries.create_chunk("lib", body).result(10).id == "c2"


@pytest.mark.parametrize("together", [True, False], ids=["in one group", "one after the other"])
def test_a_delete_by_filter_behind_the_deletion_of_its_library_is_refused(
    services: Services, gate: Gate, together: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must not wait for ever for a state to be published: every later write would wait behind it."""
    if together:
        hold(services, gate)
        gone = services.libraries.delete("lib")
        late = services.libraries.delete_chunks("lib", {"filter": {"lang": "en"}})
        gate.opened.set()
    else:
        gate.opened.set()
        entry = services._engine.entry("lib")
        gone = services.libraries.delete("lib")
        gone.result(10)
        monkeypatch.setattr(services._engine, "entry", lambda library_id: entry)
        late = services.libraries.delete_chunks("lib", {"filter": {"lang": "en"}})
    gone.result(10)
    with pytest.raises(LibraryNotFound):
        late.result(10)


def test_two_spellings_of_an_id_do_not_both_get_it(services: Services, gate: Gate) -> None:
    hold(services, gate)
    twins = [services.libraries.create({"id": one, "name": one}) for one in ("Other", "other")]
    gate.opened.set()
    assert twins[0].result(10).id == "Other"
    with pytest.raises(AlreadyExists):
        twins[1].result(10)


@pytest.mark.parametrize("write", ["upsert", "patch"])
def test_rows_prepared_for_a_library_are_not_stored_in_another_of_its_id(
    services: Services, gate: Gate, write: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of a cosine library are stored as unit vectors, and its dimension is its own."""
    gate.opened.set()
    libraries, submit = services.libraries, services._engine.committer.submit

    def late(*args: Any, **more: Any) -> Any:
        monkeypatch.setattr(services._engine.committer, "submit", submit)
        libraries.delete("lib").result(10)
        libraries.create({"id": "lib", "name": "again", "metric": "cosine"}).result(10)
        libraries.upsert_chunks("lib", [{"id": "c1", "embedding": [3.0, 4.0]}]).result(10)
        return submit(*args, **more)

    monkeypatch.setattr(services._engine.committer, "submit", late)
    vector = {"embedding": [5.0, 12.0]}
    if write == "upsert":
        future: Any = libraries.upsert_chunks("lib", [{"id": "c1", **vector}])
    else:
        future = libraries.patch_chunk("lib", "c1", vector)
    with pytest.raises(LibraryNotFound):
        future.result(10)
    assert libraries.get_chunk("lib", "c1").embedding.tolist() == [3.0, 4.0]


def test_who_found_a_library_before_it_was_deleted_reads_nothing_of_it_after(
    services: Services, gate: Gate
) -> None:
    """Somebody was told that it is gone, so nobody may be told later what was in it."""
    gate.opened.set()
    libraries = services.libraries
    entry = services._engine.entry("lib")
    services._engine.entry = lambda library_id: entry  # type: ignore[method-assign]
    libraries.delete("lib").result(10)
    for read in (
        lambda: libraries.get("lib"),
        lambda: libraries.get_chunk("lib", "c1"),
        lambda: libraries.list_chunks("lib"),
        lambda: libraries.get_document("lib", "first"),
        lambda: libraries.list_documents("lib"),
        lambda: libraries.export("lib"),
        lambda: services.indexing.status("lib"),
    ):
        with pytest.raises(LibraryNotFound):
            read()


def test_a_library_deleted_twice_at_once_is_not_built_again(
    services: Services, gate: Gate, tmp_path: Path
) -> None:
    """A build that began before would write its files where there is no library any more."""
    entry = services._engine.entry("lib")
    hold(services, gate)
    first, second = services.libraries.delete("lib"), services.libraries.delete("lib")
    gate.opened.set()
    first.result(10)
    with pytest.raises(LibraryNotFound):
        second.result(10)
    with pytest.raises((LibraryNotFound, BuildInProgress)):
        services._engine.builder.start(entry, "index", index_type="numpy", index_params={})
    assert not (tmp_path / "lib").exists()
