"""The committer: one thread that makes writes durable, then visible, then answers them.

::

    submit ─▶ queue ─▶ prepare each against an overlay ─▶ journal.append(group) ─▶ publish each ─▶ answer
                        (a write that is not valid fails alone)   (fsync, no lock held)  (write lock, a moment)

It is the only thread that changes a library, so it reads the published state without a lock. Whatever else has to
change a library (an index that is swapped in) runs here as well, between groups.
"""

from __future__ import annotations

import logging
import queue
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar, cast, final

from vdb_core.engine.overlay import NeedsPublishError, Overlay
from vdb_core.engine.trouble import Trouble
from vdb_core.errors import EngineClosed, VdbError, WriteQueueFull
from vdb_core.persistence import JournalEntry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vdb_core.engine.operations import Operation
    from vdb_core.engine.state import LibraryState
    from vdb_core.persistence import Journal

__all__ = ["Committer", "Plan", "Target"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
_log = logging.getLogger(__name__)
_GROUP_WRITES: Final = 256
_GROUP_BYTES: Final = 64 << 20


class Target(Protocol):
    """Where the committer finds and changes libraries: the repository."""

    def state_for_write(self, library_id: str) -> LibraryState | None:
        """The published state, or none where the library does not exist."""
        ...

    def publish(self, library_id: str, operations: Sequence[Operation], position: int) -> None:
        """Apply operations, of which the last has a journal position, under the library's write lock."""
        ...


@final
@dataclass(frozen=True, slots=True)
class Plan(Generic[T_co]):
    """What a prepared write will do, and what it answers once that is done."""

    operations: Sequence[Operation]
    answer: Callable[[], T_co]


@final
@dataclass(slots=True)
class _Write:
    library_id: str
    prepare: Callable[[Overlay], Plan[object]]
    future: Future[object]
    size: int


@final
@dataclass(slots=True)
class _Call:
    run: Callable[[], object]
    future: Future[object]


@final
class Committer:
    """Drains the queue of writes on a thread of its own."""

    def __init__(
        self,
        target: Target,
        journal: Journal | None,
        *,
        max_pending: int,
        trouble: Trouble | None = None,
        position: int = 0,
        published: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Start the thread.

        Args:
            target: finds and changes libraries.
            journal: makes writes durable; none keeps everything in memory.
            max_pending: writes that may wait; one more is ``WriteQueueFull``.
            trouble: is told of what the journal fails with, and then refuses every write.
            position: the last position that was given, from which to count where there is no journal.
            published: called with a library's id after a write to it became visible; must not block.
        """
        self._target = target
        self._journal = journal
        self._max_pending = max_pending
        self._published = published
        self._trouble = Trouble(journal) if trouble is None else trouble
        self._queue: queue.SimpleQueue[_Write | _Call | None] = queue.SimpleQueue()
        self._pending = 0
        self._lock = threading.Lock()
        self._closed = False
        self._finishing = False
        self.position = position
        self._thread = threading.Thread(target=self._run, name="vdb-committer", daemon=True)
        self._thread.start()

    @property
    def pending(self) -> int:
        """Writes that wait or are being made."""
        return self._pending

    def submit(self, library_id: str, prepare: Callable[[Overlay], Plan[T]], *, size: int = 0) -> Future[T]:
        """Queue a write.

        Args:
            library_id: the library it changes.
            prepare: runs on the committer's thread; validates against the overlay and says what to do. It raises
                a ``VdbError`` to refuse, and changes nothing itself.
            size: bytes it carries, so that a group does not grow without bound.

        Raises:
            WriteQueueFull: too many writes are waiting.
            StorageReadOnly: the storage failed, and nothing is written until a restart.
            EngineClosed: the engine was closed.
        """
        self._trouble.check()
        future: Future[T] = Future()
        with self._lock:
            if self._closed or self._finishing:
                raise EngineClosed("The engine is closed; open it again to write.")
            if self._pending >= self._max_pending:
                raise WriteQueueFull(
                    f"{self._pending} writes are waiting, which is the limit; try again in a moment.",
                    retry_after=1.0,
                )
            self._pending += 1
            self._queue.put(_Write(library_id, prepare, cast("Future[object]", future), size))
        return future

    def call(self, run: Callable[[], T]) -> Future[T]:
        """Run something on the committer's thread, between groups."""
        future: Future[T] = Future()
        with self._lock:
            if self._closed:
                raise EngineClosed("The engine is closed.")
            self._queue.put(_Call(run, cast("Future[object]", future)))
        return future

    def finish(self) -> None:
        """Take no more writes, and finish those that are queued; calls are still taken."""
        with self._lock:
            self._finishing = True
            if self._closed:
                return
        _ = self.call(lambda: None).result()

    def close(self) -> None:
        """Finish what is queued and end the thread. Idempotent."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while self._step(self._queue.get()):
            pass

    def _step(self, item: _Write | _Call | None) -> bool:
        """Do what was taken from the queue; false ends the thread.

        What an item refers to (a whole base, after a build) must not outlive this call, so nothing is kept by
        the loop around it.
        """
        while item is not None:
            if isinstance(item, _Call):
                _finish_call(item)
                return True
            group, item = self._gather(item)
            self._commit(group)
            with self._lock:
                self._pending -= len(group)
            if item is _NOTHING:
                return True
        return False

    def _gather(self, first: _Write) -> tuple[list[_Write], _Write | _Call | None]:
        """Take what is queued behind a write, up to the bounds of a group."""
        group, size = [first], first.size
        while len(group) < _GROUP_WRITES and size < _GROUP_BYTES:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return group, _NOTHING
            if not isinstance(item, _Write):
                return group, item
            group.append(item)
            size += item.size
        return group, _NOTHING

    def _commit(self, group: list[_Write]) -> None:
        waiting = [write for write in group if write.future.set_running_or_notify_cancel()]
        while waiting:
            waiting = self._commit_some(waiting)

    def _commit_some(self, writes: list[_Write]) -> list[_Write]:
        """Commit a prefix of the writes; returns those that need it to be published before they can be prepared."""
        overlays: dict[str, Overlay] = {}
        prepared: list[tuple[_Write, Plan[object]]] = []
        refused: list[tuple[_Write, Exception]] = []
        rest: list[_Write] = []
        spelled: dict[str, str] = {}
        for at, write in enumerate(writes):
            if spelled.setdefault(write.library_id.casefold(), write.library_id) != write.library_id:
                # Ids are unique without regard to case: whether this one is taken shows once the other is there.
                rest = writes[at:]
                break
            try:
                overlay = overlays.get(write.library_id)
                if overlay is None:
                    overlay = Overlay(write.library_id, self._target.state_for_write(write.library_id))
                    overlays[write.library_id] = overlay
                plan = write.prepare(overlay)
            except NeedsPublishError:
                rest = writes[at:]
                break
            except Exception as error:  # noqa: BLE001 - whatever a write raises is its caller's to see, and nobody else's
                refused.append((write, error))
                continue
            for operation in plan.operations:
                overlay.add(operation)
            prepared.append((write, plan))
        failure = self._journal_and_publish(prepared) if prepared else None
        # A refusal tells of the writes before it in the group, so nobody may hear it before those are durable and
        # visible; where they fail, its reason may never have been true.
        for write, error in refused:
            _refuse(write, failure or error)
        return rest

    def _journal_and_publish(self, prepared: list[tuple[_Write, Plan[object]]]) -> Exception | None:
        """Make a group durable, then visible, and answer it; returns the error where it is neither."""
        try:
            self._trouble.check()
            position = self._append(prepared)
        except Exception as error:  # noqa: BLE001 - nothing of the group is durable, so nothing of it may be seen
            self._trouble.report_append(error)
            for write, _ in prepared:
                _refuse(write, error)
            return error
        for write, plan in prepared:
            try:
                position += len(plan.operations)
                if plan.operations:
                    self._target.publish(write.library_id, plan.operations, position)
                write.future.set_result(plan.answer())
            except Exception as error:  # noqa: BLE001 - the thread must live on; the caller holds the future
                _log.exception("a durable write to library %r could not be published", write.library_id)
                write.future.set_exception(error)
        for library_id in {write.library_id for write, plan in prepared if plan.operations}:
            self._published(library_id)
        return None

    def _append(self, prepared: list[tuple[_Write, Plan[object]]]) -> int:
        """Make the operations durable; returns the position before the first of them."""
        entries: list[JournalEntry] = []
        count = sum(len(plan.operations) for _, plan in prepared)
        if self._journal is None:
            self.position += count
            return self.position - count
        for write, plan in prepared:
            for operation in plan.operations:
                text, vectors = operation.encode()
                entries.append(JournalEntry(library_id=write.library_id, operation=text, vectors=vectors))
        if entries:
            self.position = self._journal.append(entries)
        return self.position - count


_NOTHING: Final = _Call(lambda: None, Future())


def _refuse(write: _Write, error: Exception) -> None:
    if not isinstance(error, VdbError):
        _log.error("a write to library %r failed", write.library_id, exc_info=error)
    write.future.set_exception(error)


def _finish_call(call: _Call) -> None:
    if not call.future.set_running_or_notify_cancel():
        return
    try:
        call.future.set_result(call.run())
    except Exception as error:  # noqa: BLE001 - the caller holds the future
        call.future.set_exception(error)
