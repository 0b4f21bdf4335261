"""Who asked what when, and what came back."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeGuard

from history.operations import (
    CreateChunk,
    CreateDocument,
    DeleteChunk,
    DeleteChunks,
    DeleteDocument,
    DeleteMatching,
    PatchChunk,
    PatchDocument,
    PatchLibrary,
    Upsert,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from history.operations import Read, Write

__all__ = ["Event", "Outcome", "Reply", "ask", "is_write"]

Outcome = Literal["ok", "refused", "unknown", "unsent"]
_WRITES = (
    Upsert,
    CreateChunk,
    PatchChunk,
    DeleteChunk,
    DeleteChunks,
    DeleteMatching,
    CreateDocument,
    PatchDocument,
    DeleteDocument,
    PatchLibrary,
)


def is_write(operation: Read | Write) -> TypeGuard[Write]:
    """Whether an operation may change the library."""
    return isinstance(operation, _WRITES)


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back.

    ``ok`` was carried out; ``refused`` was not, with a code; ``unknown``: no answer came; ``unsent``: it never left.
    """

    outcome: Outcome
    value: object = None
    """What an answer said, or the code of the error."""


@dataclass(slots=True)
class Event:
    """One operation of one client. ``begin`` is noted before it is sent, ``end`` when its answer is there."""

    client: str
    operation: Read | Write
    begin: int
    end: int | None = None
    """None: no answer came, so it may take effect at any time after its beginning."""
    reply: Reply = Reply("unknown")

    def __str__(self) -> str:
        """One line of a report."""
        until = "..." if self.end is None else f"{self.end / 1e6:.3f}"
        return (
            f"[{self.begin / 1e6:.3f} - {until} ms] {self.client}: {_short(self.operation)} -> "
            f"{self.reply.outcome} {_short(self.reply.value)}"
        )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 400 else f"{text[:400]}... ({len(text)} characters)"


def ask(
    events: list[Event], client: str, operation: Read | Write, send: Callable[[Read | Write], Reply]
) -> Event:
    """Note the intent, send it, note what came back."""
    event = Event(client, operation, time.perf_counter_ns())
    events.append(event)
    event.reply = send(operation)
    if event.reply.outcome != "unknown":
        event.end = time.perf_counter_ns()
    return event
