"""What became of the writes that a crash left without an answer, told from what is there after it.

A write without an answer may have been carried out, as a whole, or not at all. As every write has a revision of its own,
those that were carried out fill the gaps between the revisions that were answered: each way of filling them is tried
until one yields exactly what was recovered. Then every answer from before the crash is checked against that order, so
that an acknowledged write is not merely there, but was there for everybody from the moment it was acknowledged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from history.checker import Violation, check_history, revision_of
from history.events import is_write
from history.model import Model, Refused
from history.operations import ExportLibrary

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from history.events import Event

__all__ = ["Recovered", "differences", "settle"]

Recovered = dict[str, Any]
"""What is there: ``library``, ``documents`` and ``chunks`` in the form in which the model answers ``ExportLibrary``."""


def settle(events: Sequence[Event], start: Model, recovered: Recovered) -> tuple[Model, int]:
    """Explain what was recovered by a library that was ``start`` and what clients did to it until the crash.

    Returns:
        The library, and how many of the writes without an answer turned out to have been carried out.

    Raises:
        Violation: an acknowledged write is lost, a rejected or never sent one is there, one is there in part, or an
            answer from before the crash is not explained.
    """
    known = {revision: event for event in events if (revision := revision_of(event)) is not None}
    last = cast("int", recovered["library"]["revision"])
    if known and max(known) > last:
        raise Violation(
            f"recovered at revision {last}, but a higher one was acknowledged: {known[max(known)]}"
        )
    if last < start.revision:
        raise Violation(
            f"recovered at revision {last}; it had been at {start.revision} after the crash before"
        )
    open_writes = [one for one in events if one.reply.outcome == "unknown" and is_write(one.operation)]
    gaps = [one for one in range(start.revision + 1, last + 1) if one not in known]
    if len(gaps) > len(open_writes):
        raise Violation(
            f"recovered at revision {last}: {len(gaps)} writes are neither acknowledged nor without an answer: {gaps}"
        )
    placed = _fill(start.copy(), start.revision + 1, last, known, open_writes, _traces(recovered), recovered)
    if placed is None:
        raise Violation(_unexplained(start, known, gaps, open_writes, last, recovered))
    return check_history(events, start, placed=placed), len(placed)


def _fill(
    model: Model,
    revision: int,
    last: int,
    known: Mapping[int, Event],
    left: Sequence[Event],
    traces: Mapping[int, list[dict[str, object]]],
    recovered: Recovered,
) -> list[tuple[int, Event]] | None:
    """Fill the gaps from a revision on; none where no way of doing so yields what was recovered."""
    while revision <= last and revision in known:
        try:
            model.do(cast("Any", known[revision].operation))
        except Refused:
            return None
        revision += 1
    if revision > last:
        return [] if differences(model, recovered) == [] else None
    answered_later = [one.end for number, one in known.items() if number > revision and one.end is not None]
    for event in left:
        if any(end < event.begin for end in answered_later):
            continue
        twin = model.copy()
        try:
            twin.do(cast("Any", event.operation))
        except Refused:
            continue
        if twin.revision != revision or not _leaves(twin, traces.get(revision, [])):
            continue
        others = [one for one in left if one is not event]
        rest = _fill(twin, revision + 1, last, known, others, traces, recovered)
        if rest is not None:
            return [(revision, event), *rest]
    return None


def _traces(recovered: Recovered) -> dict[int, list[dict[str, object]]]:
    """What was recovered, by the revision that wrote it."""
    traces: dict[int, list[dict[str, object]]] = {}
    for one in [*recovered["chunks"], *recovered["documents"].values()]:
        traces.setdefault(one["revision"], []).append(one)
    return traces


def _leaves(model: Model, traces: Sequence[dict[str, object]]) -> bool:
    """Whether a library holds what a revision left behind."""
    for one in traces:
        own = model.rows if "embedding" in one else model.documents
        held = own.get(cast("str", one["id"]))
        if held is None or held.shown() != one:
            return False
    return True


def differences(model: Model, recovered: Recovered) -> list[str]:
    """How what was recovered differs from a model."""
    expected = cast("dict[str, Any]", model.read(ExportLibrary(), {}))
    found: list[str] = []
    if expected["library"] != recovered["library"]:
        found.append(f"the library is {recovered['library']}; expected {expected['library']}")
    for what in ("documents", "chunks"):
        own, theirs = _by_id(expected[what]), _by_id(recovered[what])
        found += [f"{what}: {one} is missing: {own[one]}" for one in own if one not in theirs]
        found += [f"{what}: {one} should not be there: {theirs[one]}" for one in theirs if one not in own]
        both = (one for one in own if one in theirs and own[one] != theirs[one])
        found += [f"{what}: {one} is {theirs[one]}; expected {own[one]}" for one in both]
    if not found and [one["id"] for one in expected["chunks"]] != [one["id"] for one in recovered["chunks"]]:
        found.append("the chunks are listed in another order than that of their last writes")
    return found


def _by_id(items: Mapping[str, dict[str, Any]] | Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    if isinstance(items, dict):
        return cast("dict[str, dict[str, Any]]", items)
    listed = cast("Sequence[dict[str, Any]]", items)
    by_id = {one["id"]: one for one in listed}
    if len(by_id) != len(listed):
        raise Violation("a chunk is listed twice")
    return by_id


def _unexplained(
    start: Model,
    known: Mapping[int, Event],
    gaps: Sequence[int],
    open_writes: Sequence[Event],
    last: int,
    recovered: Recovered,
) -> str:
    """A report: how the recovered library differs from the acknowledged writes alone."""
    model = start.copy()
    lines = [
        f"nothing explains what was recovered at revision {last}; writes without an answer: {gaps or 'none'}"
    ]
    for revision in range(start.revision + 1, last + 1):
        if revision in known:
            try:
                model.do(cast("Any", known[revision].operation))
            except Refused as refused:
                lines.append(f"{known[revision]} would be refused ({refused.code})")
        model.revision = revision
    lines += differences(model, recovered)[:20]
    lines += [f"without an answer: {event}" for event in open_writes]
    return "\n  ".join(lines)
