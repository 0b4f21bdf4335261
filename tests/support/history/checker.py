"""Checks a history of one library for linearizability (Herlihy and Wing 1990).

The order of the writes need not be searched for, which is what makes checking linearizability hard in general: every
answer to a write carries the library's revision. What remains:

1. Revisions are given out once and without gaps, in an order that agrees with real time: a write that was answered
   before another one began has the smaller revision.
2. Carried out one after the other in that order, the model answers each write as the library did.
3. Each read, and each write that was refused or changed nothing, is what the model answers at one revision: that of its
   answer where it carries one, else any. That revision is at least that of every write answered before the read began,
   at least that of every read answered before it began, and belongs to a write that began before the read ended.

Where an answer tells no revision, the smallest that explains it is taken. Reads are looked at in the order in which they
began, so every smaller choice leaves more room to those after it: where this finds no explanation there is none.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from history.events import is_write
from history.model import Model, Refused, Row, same_hits
from history.operations import DeleteDocument, ExportLibrary, GetLibrary, ListChunks, ListDocuments, Search

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from history.events import Event

__all__ = ["Violation", "check_history", "revision_of"]

_ALWAYS_ALLOWED = frozenset({"write_queue_full"})
"""What a write may be refused with whatever the library holds."""


class Violation(AssertionError):
    """No order of the operations explains what was answered."""


@dataclass(slots=True)
class Replay:
    """The library at every revision since the history began."""

    first: int
    models: list[Model] = field(default_factory=list)
    begun: list[int] = field(default_factory=list)
    """When the write of each revision began."""
    orders: dict[tuple[str, int], int] = field(default_factory=dict)
    """The internal id a chunk had at a revision."""

    @property
    def last(self) -> int:
        """The newest revision."""
        return self.first + len(self.models) - 1

    def at(self, revision: int) -> Model:
        """The library at a revision."""
        return self.models[revision - self.first]

    def add(self, model: Model, begun: int) -> None:
        """Note the library after one more write."""
        self.models.append(model.copy())
        self.begun.append(begun)
        for row in reversed(model.rows.values()):
            if row.revision != model.revision:
                break
            self.orders[row.id, row.revision] = row.order


def revision_of(event: Event) -> int | None:
    """The revision that a write was carried out at, as its answer tells; none where it changed nothing."""
    if event.reply.outcome != "ok" or not is_write(event.operation):
        return None
    value = cast("dict[str, Any]", event.reply.value)
    if value.get("deleted") == 0 and not isinstance(event.operation, DeleteDocument):
        return None
    return value["revision"]


def check_history(
    events: Iterable[Event], start: Model, *, placed: Sequence[tuple[int, Event]] = ()
) -> Model:
    """Check what clients did to a library that was ``start``; returns what it is now.

    Args:
        events: what they asked, in any order; those without an answer are left out of account.
        start: the library before the first of them.
        placed: writes whose answer is missing, with the revision at which they are known to have been carried out.

    Raises:
        Violation: and says which answer cannot be explained.
    """
    known = [event for event in events if event.reply.outcome in {"ok", "refused"}]
    numbered = [(revision, event) for event in known if (revision := revision_of(event)) is not None]
    numbered = sorted([*numbered, *placed], key=lambda pair: pair[0])
    _check_order(numbered, start.revision)
    replay = _replay(numbered, start)
    effective = {id(event) for _, event in numbered}
    others = sorted((event for event in known if id(event) not in effective), key=lambda event: event.begin)
    _check_reads(others, numbered, replay)
    return replay.at(replay.last)


def _check_order(numbered: Sequence[tuple[int, Event]], before: int) -> None:
    for at, (revision, event) in enumerate(numbered):
        expected = before + 1 + at
        if revision != expected:
            what = "was given out twice" if revision < expected else f"is there, and {expected} is not"
            raise Violation(f"revision {revision} {what}: {event}")
    # From the last to the first: no later revision was answered before an earlier one began.
    earliest: Event | None = None
    for revision, event in reversed(numbered):
        if earliest is not None and earliest.end is not None and earliest.end < event.begin:
            raise Violation(
                f"revision {revision} began after a higher one was answered:\n  {earliest}\n  {event}"
            )
        if event.end is not None and (earliest is None or earliest.end is None or event.end < earliest.end):
            earliest = event


def _replay(numbered: Sequence[tuple[int, Event]], start: Model) -> Replay:
    model = start.copy()
    replay = Replay(start.revision)
    replay.add(model, -1)
    replay.orders.update({(row.id, row.revision): row.order for row in model.rows.values()})
    for revision, event in numbered:
        operation = event.operation
        if not is_write(operation):
            raise TypeError(f"no write: {operation}")
        try:
            expected = model.do(operation)
        except Refused as refused:
            raise Violation(
                f"at revision {revision} it should be refused ({refused.code}): {event}"
            ) from refused
        if event.reply.outcome == "ok" and event.reply.value != expected:
            raise Violation(f"at revision {revision} the answer should be {expected}: {event}")
        if model.revision != revision:
            raise Violation(f"it should change nothing at revision {revision}: {event}")
        replay.add(model, event.begin)
    return replay


def _check_reads(others: Sequence[Event], numbered: Sequence[tuple[int, Event]], replay: Replay) -> None:
    floor = _Floor([(event.end, revision) for revision, event in numbered if event.end is not None])
    for event in others:
        if event.reply.outcome == "refused" and event.reply.value in _ALWAYS_ALLOWED:
            continue
        low = max(replay.first, floor.before(event.begin))
        end = event.end if event.end is not None else event.begin
        # Revisions in ascending order begin at any times: the highest that had begun is the bound.
        high = max(
            (replay.first + at for at, begun in enumerate(replay.begun) if begun < end), default=replay.first
        )
        for part in _parts(event):
            floor.add(end, _explain(event, part, low, high, replay))


class _Floor:
    """The highest revision that anybody had been told before a moment."""

    def __init__(self, told: Sequence[tuple[int, int]]) -> None:
        self._ends: list[int] = []
        self._highest: list[int] = []
        for end, revision in sorted(told):
            self._ends.append(end)
            self._highest.append(max(revision, self._highest[-1] if self._highest else revision))

    def before(self, moment: int) -> int:
        """The highest revision of all that was answered before."""
        at = bisect.bisect_left(self._ends, moment)
        return self._highest[at - 1] if at else 0

    def add(self, end: int, revision: int) -> None:
        """Note that somebody was told of a revision."""
        at = bisect.bisect_right(self._ends, end)
        highest = max(revision, self._highest[at - 1] if at else revision)
        self._ends.insert(at, end)
        self._highest.insert(at, highest)
        for later in range(at + 1, len(self._highest)):
            if self._highest[later] >= highest:
                break
            self._highest[later] = highest


def _parts(event: Event) -> list[object]:
    """The answers of an event that are explained one by one: a batch of searches has one for each."""
    if event.reply.outcome == "ok" and isinstance(event.operation, Search):
        return list(enumerate(cast("list[object]", event.reply.value)))
    return [event.reply.value]


def _explain(event: Event, part: object, low: int, high: int, replay: Replay) -> int:
    """The smallest revision at which an answer is right; raises ``Violation`` where there is none."""
    told = _told(event, part)
    if told is not None:
        if not low <= told <= high:
            when = (
                "older than what had been answered" if told < low else "newer than every write that had begun"
            )
            raise Violation(f"revision {told} is {when} (expected {low} to {high}): {event}")
        if not _is_right(event, part, replay, told):
            raise Violation(
                f"this is not the library at revision {told}: {event}\n{_expected(event, replay, told)}"
            )
        return told
    for revision in range(low, high + 1):
        if _is_right(event, part, replay, revision):
            return revision
    near = _expected(event, replay, low)
    raise Violation(f"no revision from {low} to {high} explains it: {event}\nat {low}: {near}")


def _told(event: Event, part: object) -> int | None:
    """The library's revision where an answer carries it."""
    if event.reply.outcome != "ok":
        return None
    operation = event.operation
    match operation:
        case Search():
            return cast("tuple[int, dict[str, Any]]", part)[1]["revision"]
        case ExportLibrary():
            return cast("dict[str, Any]", part)["library"]["revision"]
        case GetLibrary():
            return cast("dict[str, Any]", part)["revision"]
        case _ if is_write(operation):
            return cast("dict[str, Any]", part)["revision"]  # it changed nothing
        case _:
            return None


def _is_right(event: Event, part: object, replay: Replay, revision: int) -> bool:
    """Whether an answer is what the model says at a revision."""
    model, operation = replay.at(revision), event.operation
    try:
        if is_write(operation):
            twin = model.copy()
            expected: object = twin.do(operation)
            if twin.revision != revision:
                return False  # it would have changed something
        else:
            expected = model.read(operation, replay.orders)
    except Refused as error:
        return event.reply.outcome == "refused" and error.code == part
    if event.reply.outcome == "refused":
        return False
    if isinstance(operation, (ListChunks, ListDocuments)):
        return expected == {name: cast("dict[str, Any]", part)[name] for name in ("items", "more")}
    if isinstance(operation, Search):
        at, answer = cast("tuple[int, dict[str, Any]]", part)
        ranked = cast("list[list[tuple[Row, float]]]", expected)[at]
        return (
            same_hits(answer["hits"], ranked, operation.k, exact=answer["exact"]) and not answer["warnings"]
        )
    return expected == part


def _expected(event: Event, replay: Replay, revision: int) -> str:
    """What the model says at a revision, for a report."""
    model, operation = replay.at(revision).copy(), event.operation
    try:
        if is_write(operation):
            return f"expected {model.do(operation)}"
        if isinstance(operation, Search):
            ranked = model.matching(operation.filter)
            return f"expected {[(row.id, d) for row, d in model.nearest(operation.queries[0], ranked)[: operation.k]]}"
        return f"expected {model.read(operation, replay.orders)}"
    except Refused as error:
        return f"expected it to be refused: {error.code}"
