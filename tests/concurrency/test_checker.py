"""The checker of histories is worth something: it accepts what is right and catches what is planted."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
from history.checker import Violation, check_history, revision_of
from history.events import Event, Reply, is_write
from history.model import Model
from history.operations import (
    DeleteChunk,
    DeleteMatching,
    ExportLibrary,
    GetChunk,
    GetLibrary,
    ListChunks,
    NewRow,
    PatchChunk,
    Search,
    Upsert,
)
from history.settling import settle
from history.simulated import answer, simulate

if TYPE_CHECKING:
    from collections.abc import Callable

    from history.operations import Read, Write
    from history.settling import Recovered


def check(events: list[Event]) -> Model:
    return check_history(events, Model("l2", name="lib"))


@pytest.mark.parametrize("seed", range(8))
def test_what_is_right_is_accepted(seed: int) -> None:
    events = simulate(seed=seed, operations=400)
    overlapping = sum(
        a.begin < cast("int", b.end) and b.begin < cast("int", a.end) for a in events for b in events
    )
    assert overlapping > 2 * len(events), "nothing happens at the same time"
    assert check(events).revision > 100


class History:
    """A history written by hand: a moment for each operation, answered by a model unless told otherwise."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.model = Model("l2", name="lib")
        self.past: list[Model] = [self.model.copy()]

    def do(self, begin: int, end: int, operation: Read | Write, *, at: int | None = None) -> Event:
        """Carry out an operation; ``at`` answers from the library as it was at a revision."""
        model = self.model if at is None else self.past[at - 1].copy()
        event = Event("hand", operation, begin, end)
        event.reply = answer(
            model, operation, {(row.id, row.revision): row.order for row in model.rows.values()}
        )
        if is_write(operation) and at is None and event.reply.outcome == "ok":
            self.past.append(self.model.copy())
        self.events.append(event)
        return event

    def write(self, begin: int, end: int, *ids: str, text: str = "text") -> Event:
        return self.do(begin, end, Upsert(rows=tuple(row(one, text) for one in ids)))


def row(chunk_id: str, text: str = "text", *numbers: float) -> NewRow:
    vector = np.array(numbers or (1.0, 2.0), dtype=np.float32)
    return NewRow(id=chunk_id, vector=vector, text=text, metadata={"lang": "en"})


def value(event: Event) -> dict[str, Any]:
    return cast("dict[str, Any]", event.reply.value)


def search(k: int = 10) -> Search:
    return Search(queries=(np.array([1.0, 1.0], dtype=np.float32),), k=k)


READS: list[Read] = [GetChunk(id="a"), ListChunks(limit=10), search(), ExportLibrary(), GetLibrary()]


@pytest.mark.parametrize("read", READS, ids=lambda read: type(read).__name__)
def test_a_stale_read_is_caught(read: Read) -> None:
    """Of a state before a write that was answered before the read began; while the write runs it is fine."""
    history = History()
    history.write(0, 10, "b")
    history.write(20, 30, "a")
    history.do(25, 35, read, at=2)
    check(history.events)
    history.events[-1].begin = 31
    with pytest.raises(Violation):
        check(history.events)


@pytest.mark.parametrize("read", READS, ids=lambda read: type(read).__name__)
def test_a_read_of_what_has_not_begun_is_caught(read: Read) -> None:
    history = History()
    history.write(0, 10, "b")
    history.write(40, 50, "a")
    event = history.do(30, 45, read)
    check(history.events)
    event.end = 39
    with pytest.raises(Violation):
        check(history.events)


@pytest.mark.parametrize("read", READS, ids=lambda read: type(read).__name__)
def test_reads_that_go_back_in_time_are_caught(read: Read) -> None:
    """One read saw a write that is still under way, so a read after it must see it too."""
    history = History()
    history.write(0, 10, "b")
    history.write(20, 100, "a")
    history.do(30, 40, GetChunk(id="a"))
    history.do(41, 50, read, at=2)
    with pytest.raises(Violation):
        check(history.events)
    history.events[-1].begin = 35
    check(history.events)


def test_reordered_writes_are_caught() -> None:
    history = History()
    history.write(0, 30, "a")
    history.write(20, 50, "b")
    check(history.events)
    history.events[0].begin, history.events[0].end = 60, 70
    with pytest.raises(Violation, match="began after"):
        check(history.events)


def test_a_revision_given_out_twice_and_one_that_is_missing_are_caught() -> None:
    history = History()
    for number in range(4):
        history.write(20 * number, 20 * number + 10, f"c{number}")
    twice = copy.deepcopy(history.events)
    value(twice[2])["revision"] = 3
    with pytest.raises(Violation, match="twice"):
        check(twice)
    del history.events[1]
    with pytest.raises(Violation, match="is there, and 3 is not"):
        check(history.events)


def test_a_lost_update_is_caught() -> None:
    """Two patches of one chunk, the second of which did not see the first."""
    history = History()
    history.write(0, 10, "a")
    history.do(20, 30, PatchChunk(id="a", metadata={"one": 1}))
    event = history.do(20, 40, PatchChunk(id="a", metadata={"two": 2}))
    check(history.events)
    del value(event)["metadata"]["one"]
    with pytest.raises(Violation, match="the answer should be"):
        check(history.events)


def test_an_update_that_overlooked_another_is_caught() -> None:
    """A write that was allowed to change revision 2 of a chunk, which is at 3 by then."""
    history = History()
    history.write(0, 10, "a")
    history.do(20, 30, PatchChunk(id="a", metadata={"one": 1}))
    event = history.do(20, 40, PatchChunk(id="a", metadata={"two": 2}))
    event.operation = replace(cast("PatchChunk", event.operation), if_match=2)
    with pytest.raises(Violation, match="revision_mismatch"):
        check(history.events)


@pytest.mark.parametrize(
    "read", [ListChunks(limit=10), search(), ExportLibrary()], ids=lambda read: type(read).__name__
)
def test_a_torn_batch_is_caught(read: Read) -> None:
    """A read beside an upsert that shows one of its two rows."""
    history = History()
    history.write(0, 100, "a", "b")
    event = history.do(20, 30, read)
    check(history.events)
    torn = value(event) if not isinstance(event.reply.value, list) else event.reply.value[0]
    name = next(one for one in ("items", "hits", "chunks") if one in torn)
    torn[name] = torn[name][:1]
    with pytest.raises(Violation):
        check(history.events)


def spoil_order(hits: list[dict[str, Any]]) -> None:
    hits[0], hits[1] = hits[1], hits[0]


def spoil_distance(hits: list[dict[str, Any]]) -> None:
    hits[2]["distance"] += 1e-6


def spoil_text(hits: list[dict[str, Any]]) -> None:
    hits[1]["text"] = "old"


def spoil_count(hits: list[dict[str, Any]]) -> None:
    hits.pop()


def spoil_twice(hits: list[dict[str, Any]]) -> None:
    hits[1] = hits[0]


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("spoil", [spoil_order, spoil_distance, spoil_text, spoil_count, spoil_twice])
def test_wrong_hits_are_caught(spoil: Callable[[list[dict[str, Any]]], None], exact: bool) -> None:
    history = History()
    history.do(0, 10, Upsert(rows=(row("a"), row("b"), row("c", "far", 9.0, 9.0))))
    event = history.do(20, 30, search())
    found = cast("list[dict[str, Any]]", event.reply.value)[0]
    found["exact"] = exact
    check(history.events)
    spoil(found["hits"])
    if spoil is spoil_order and not exact:
        check(
            history.events
        )  # two rows at the same distance: only an exact answer promises which comes first
        return
    with pytest.raises(Violation):
        check(history.events)


def test_a_refusal_without_a_reason_is_caught() -> None:
    history = History()
    history.write(0, 10, "a")
    event = history.do(20, 30, DeleteChunk(id="b"))
    assert event.reply == Reply("refused", "chunk_not_found")
    check(history.events)
    event.operation = DeleteChunk(id="a")
    with pytest.raises(Violation):
        check(history.events)


def test_a_refusal_for_a_reason_that_nobody_else_sees_yet_is_caught() -> None:
    """As it was: a write was refused for one of its group that was neither durable nor visible."""
    history = History()
    history.write(0, 10, "a")
    history.do(20, 60, DeleteChunk(id="a"))
    history.do(25, 30, PatchChunk(id="a", metadata={}))
    assert history.events[-1].reply.outcome == "refused"
    history.do(31, 40, search(), at=2)
    with pytest.raises(Violation):
        check(history.events)


def test_a_delete_that_missed_a_row_is_caught() -> None:
    history = History()
    history.write(0, 10, "a", "b")
    event = history.do(20, 30, DeleteMatching(filter={"lang": "en"}))
    value(event)["deleted"] = 1
    with pytest.raises(Violation):
        check(history.events)


def test_a_page_that_leaves_out_a_row_is_caught() -> None:
    history = History()
    history.write(0, 10, "a", "b", "c", "d")
    first = history.do(20, 30, ListChunks(limit=2))
    last = value(first)["items"][-1]
    second = history.do(40, 50, ListChunks(limit=2, after=(last["id"], last["revision"]), cursor="opaque"))
    assert [one["id"] for one in value(second)["items"]] == ["c", "d"]
    check(history.events)
    value(second)["items"].pop(0)
    with pytest.raises(Violation):
        check(history.events)


# ---- after a crash ---------------------------------------------------------------------------------------------


def crashed() -> tuple[History, Event]:
    """Two acknowledged writes and one that the crash left without an answer."""
    history = History()
    history.write(0, 10, "a", "b")
    history.write(20, 30, "c")
    cut = Event("hand", Upsert(rows=(row("b", "new"), row("d"))), 40)
    history.events.append(cut)
    return history, cut


def recovered(model: Model) -> Recovered:
    return cast("dict[str, Any]", copy.deepcopy(model.read(ExportLibrary(), {})))


def judge(history: History, found: Recovered) -> tuple[Model, int]:
    return settle(history.events, Model("l2", name="lib"), found)


def test_a_write_without_an_answer_may_be_there_or_not() -> None:
    history, cut = crashed()
    model, carried_out = judge(history, recovered(history.model))
    assert (model.revision, carried_out) == (3, 0)
    history.model.do(cast("Write", cut.operation))
    model, carried_out = judge(history, recovered(history.model))
    assert (model.revision, carried_out) == (4, 1)


def test_writes_without_an_answer_may_be_there_in_any_order_that_explains_it() -> None:
    """Also where those after them were answered, and where they left no row behind."""
    history = History()
    history.write(0, 10, "a")
    one = Event("one", Upsert(rows=(row("x"),)), 20)
    two = Event("two", DeleteChunk(id="x"), 20)
    three = Event("three", Upsert(rows=(row("x", "again"),)), 20)
    for event in (one, two):
        history.model.do(cast("Write", event.operation))
    history.write(20, 60, "b")
    history.events += [three, two, one]
    model, carried_out = judge(history, recovered(history.model))
    assert (model.revision, carried_out) == (5, 2)
    # None of them can have come before a write that was answered before they began.
    for event in (one, two, three):
        event.begin = 70
    with pytest.raises(Violation):
        judge(history, recovered(history.model))


def lose_the_last(found: Recovered) -> None:
    found["chunks"] = [one for one in found["chunks"] if one["id"] != "c"]
    found["library"].update(revision=2, chunks=2)


def lose_a_row(found: Recovered) -> None:
    found["chunks"].pop(0)
    found["library"]["chunks"] -= 1


def flip_a_bit(found: Recovered) -> None:
    bits = bytearray(found["chunks"][0]["embedding"])
    bits[0] ^= 1
    found["chunks"][0]["embedding"] = bytes(bits)


def change_a_text(found: Recovered) -> None:
    found["chunks"][1]["text"] = "old"


def change_a_revision(found: Recovered) -> None:
    found["chunks"][2]["revision"] = 2


def add_a_row(found: Recovered) -> None:
    found["chunks"].append({**found["chunks"][0], "id": "never sent"})
    found["library"]["chunks"] += 1


def miscount(found: Recovered) -> None:
    found["library"]["chunks"] += 1


def mix_the_order(found: Recovered) -> None:
    found["chunks"].reverse()


def invent_a_write(found: Recovered) -> None:
    found["library"]["revision"] = 5


def apply_half(found: Recovered) -> None:
    """One of the two rows of the write without an answer."""
    model = Model("l2", name="lib")
    for write in (("a", "b"), ("c",)):
        model.do(Upsert(rows=tuple(row(one) for one in write)))
    model.do(Upsert(rows=(row("d"),)))
    found.update(recovered(model))


@pytest.mark.parametrize(
    "plant",
    [
        lose_the_last,
        lose_a_row,
        flip_a_bit,
        change_a_text,
        change_a_revision,
        add_a_row,
        miscount,
        mix_the_order,
        invent_a_write,
        apply_half,
    ],
)
def test_what_a_crash_must_not_do_is_caught(plant: Callable[[Recovered], None]) -> None:
    history, _ = crashed()
    found = recovered(history.model)
    judge(history, found)
    plant(found)
    with pytest.raises(Violation):
        judge(history, found)


def test_a_read_of_what_did_not_survive_is_caught() -> None:
    """A reader never sees what is not durable."""
    history, cut = crashed()
    found = recovered(history.model)
    history.model.do(cast("Write", cut.operation))
    history.do(50, 60, GetChunk(id="d"))
    with pytest.raises(Violation):
        judge(history, found)
    judge(history, recovered(history.model))


def test_every_answer_to_a_write_has_a_revision_of_its_own() -> None:
    events = simulate(seed=99, operations=200)
    numbers = [one for event in events if (one := revision_of(event)) is not None]
    assert sorted(numbers) == list(range(2, len(numbers) + 2))
