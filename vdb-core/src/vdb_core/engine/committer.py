"""The committer: one thread that makes writes durable, then visible, then answers them.

::

    submit ─▶ queue ─▶ prepare ─▶ journal.append(group) ─▶ publish ─▶ answer
                       (overlay)   (fsync, no lock held)    (write lock, a moment)

               time ─▶
    committer          prepare 1 │ prepare 2 │ publish 1 │ prepare 3 │ publish 2 │ ...
    journal writer               │ append 1 ──────│ append 2 ─────────────│ append 3 ...

While one group is on its way to the disk the next is prepared, against the published state plus all that is prepared
before it (an overlay); a write that is not valid fails alone. Groups become durable in order, visible in order, and
never the one before the other. Nobody hears of a group before it is durable and visible, not even a write that it
refused: the reason may be a write before it. Where an append fails, what was prepared on top of it is prepared anew.

It is the only thread that changes a library, so it reads the published state without a lock. Whatever else has to
change a library (an index that is swapped in) runs here as well, when nothing is on its way.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Protocol, TypeVar, cast, final

from vdb_core.engine.answers import once_of_caller
from vdb_core.engine.groups import Call, Group, Member, Plan, Write
from vdb_core.engine.journal_writer import Appended, JournalWriter
from vdb_core.engine.overlay import NeedsPublishError, Overlay
from vdb_core.engine.trouble import Trouble
from vdb_core.errors import EngineClosed, StorageReadOnly, VdbError, WriteQueueFull, WriteUncertain

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vdb_core.engine.operations import Operation
    from vdb_core.engine.state import LibraryState
    from vdb_core.persistence import Journal

__all__ = ["Committer", "Plan", "Target"]

T = TypeVar("T")
_log = logging.getLogger(__name__)


class Target(Protocol):
    """Where the committer finds and changes libraries: the repository."""

    def state_for_write(self, library_id: str) -> LibraryState | None:
        """The published state, or none where the library does not exist."""
        ...

    def publish(self, library_id: str, operations: Sequence[Operation], position: int) -> None:
        """Apply operations, of which the last has a journal position, under the library's write lock."""
        ...


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
        self._max_pending = max_pending
        self._published = published
        self._trouble = Trouble(journal) if trouble is None else trouble
        self._inbox: queue.SimpleQueue[Write | Call | Appended | None] = queue.SimpleQueue()
        self._writer = None if journal is None else JournalWriter(journal, self._inbox.put)
        self._pending = 0
        self._lock = threading.Lock()
        self._closed = False
        self._finishing = False
        self.position = position
        # All below belongs to the thread.
        self._backlog: deque[Write | Call | None] = deque()
        self._flight: Group | None = None
        """On its way to the disk."""
        self._next = Group()
        """Prepared on top of that."""
        self._overlays: dict[str, Overlay] = {}
        """What the libraries will be once both are published."""
        self._spelled: dict[str, str] = {}
        """Ids of these libraries, by the form that tells no case."""
        self._blocked = False
        """The first of the backlog cannot be prepared before what is on its way is published."""
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
        once = once_of_caller()
        if once is not None:
            prepare = once.prepared(prepare)
        future: Future[T] = Future()
        with self._lock:
            if self._closed or self._finishing:
                raise EngineClosed("The engine is closed; open it again to write.")
            if self._pending >= self._max_pending:
                raise WriteQueueFull(
                    f"{self._pending} writes are waiting, which is the limit (max_pending_writes); try again in a moment.",
                    retry_after=1.0,
                )
            self._pending += 1
            self._inbox.put(Write(library_id, prepare, cast("Future[object]", future), size))
        return future

    def call(self, run: Callable[[], T]) -> Future[T]:
        """Run something on the committer's thread, between groups."""
        future: Future[T] = Future()
        with self._lock:
            if self._closed:
                raise EngineClosed("The engine is closed.")
            self._inbox.put(Call(run, cast("Future[object]", future)))
        return future

    def finish(self) -> None:
        """Take no more writes, and finish those that are queued; calls are still taken."""
        with self._lock:
            self._finishing = True
            if self._closed:
                return
        _ = self.call(lambda: None).result()

    def close(self) -> None:
        """Finish what is queued and end the threads. Idempotent."""
        with self._lock:
            closed, self._closed = self._closed, True
            if not closed:
                self._inbox.put(None)
        self._thread.join()
        if self._writer is not None and not closed:
            self._writer.stop()

    # The thread

    def _run(self) -> None:
        # What an item refers to (a whole base, after a build) must not outlive its turn: no local keeps it.
        while True:
            self._receive(self._inbox.get())
            while True:
                try:
                    item = self._inbox.get_nowait()
                except queue.Empty:
                    break
                self._receive(item)
                del item
            if not self._advance():
                return

    def _receive(self, item: Write | Call | Appended | None) -> None:
        if isinstance(item, Appended):
            self._land(item)
        else:
            self._backlog.append(item)

    def _advance(self) -> bool:
        """Do all that can be done without waiting; false ends the thread."""
        while True:
            self._prepare_some()
            if self._flight is not None:
                return True
            if self._next.members:
                self._launch()
            elif not self._backlog:
                return True
            elif isinstance(self._backlog[0], Call):
                _finish_call(cast("Call", self._backlog.popleft()))
            elif self._backlog[0] is None:
                return False

    # Preparing

    def _prepare_some(self) -> None:
        """Prepare what is queued, as far as a group takes it and nothing has to be published first."""
        while self._backlog and not self._blocked and not self._next.full:
            write = self._backlog[0]
            if not isinstance(write, Write):
                return
            if not write.begun and not write.future.set_running_or_notify_cancel():
                _ = self._backlog.popleft()
                self._answered(1)
                continue
            write.begun = True
            try:
                member = self._prepare(write)
            except NeedsPublishError:
                if self._flight is not None or self._next.members:
                    self._blocked = True
                    return
                member = Member(write, None, RuntimeError("a write waits for what nobody writes"))
            _ = self._backlog.popleft()
            self._next.add(member)

    def _prepare(self, write: Write) -> Member:
        library_id = write.library_id
        if self._spelled.setdefault(library_id.casefold(), library_id) != library_id:
            # Ids are unique without regard to case: whether this one is taken shows once the other is there.
            raise NeedsPublishError
        try:
            plan = write.prepare(self._overlay(library_id))
        except NeedsPublishError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a write raises is its caller's to see, and nobody else's
            return Member(write, None, error)
        self._count(library_id, plan.operations)
        return Member(write, plan)

    def _overlay(self, library_id: str) -> Overlay:
        overlay = self._overlays.get(library_id)
        if overlay is None:
            overlay = Overlay(library_id, self._target.state_for_write(library_id))
            self._overlays[library_id] = overlay
        return overlay

    def _count(self, library_id: str, operations: Sequence[Operation]) -> None:
        overlay = self._overlay(library_id)
        for operation in operations:
            overlay.add(operation)

    def _rebase(self) -> None:
        """Make the overlays anew: something was published, or failed."""
        self._overlays.clear()
        self._spelled.clear()
        self._blocked = False
        for group in (self._flight, self._next):
            for member in () if group is None else group.members:
                library_id = member.write.library_id
                _ = self._spelled.setdefault(library_id.casefold(), library_id)
                if not member.operations:
                    continue
                try:
                    self._count(library_id, member.operations)
                except Exception:  # noqa: BLE001 - what it builds upon could not be published; later writes see what is
                    _log.exception("the writes on their way to library %r are not seen", library_id)
                    _ = self._overlays.pop(library_id, None)

    # To the disk and back

    def _launch(self) -> None:
        """Send the next group on its way; one that needs no journal has arrived."""
        group, self._next = self._next, Group()
        try:
            self._trouble.check()
        except StorageReadOnly as error:
            self._fail(group, error)
            return
        operations = group.operations()
        if operations and self._writer is not None:
            self._flight = group
            self._writer.append(operations)
            return
        self.position += len(operations)
        self._publish(group, self.position - len(operations))
        self._rebase()

    def _land(self, outcome: Appended) -> None:
        """Publish what has become durable, while the next group is on its way already; or tell that it has not."""
        group, self._flight = self._flight, None
        if group is None:
            return
        if outcome.error is not None:
            self._trouble.report_append(outcome.error)
            self._fail(group, outcome.error)
            return
        self.position = outcome.position
        before = outcome.position - len(group.operations())
        if any(member.operations for member in self._next.members) and self._trouble.reason is None:
            self._launch()
        self._publish(group, before)
        self._rebase()

    def _publish(self, group: Group, position: int) -> None:
        """Make the writes of a group visible and answer them, each in its turn; ``position`` is that before them."""
        for member in group.members:
            write, plan = member.write, member.plan
            if plan is None:
                _refuse(write, member.refusal)
                continue
            try:
                position += len(plan.operations)
                if plan.operations:
                    self._target.publish(write.library_id, plan.operations, position)
                write.future.set_result(plan.answer())
            except Exception as error:  # noqa: BLE001 - the thread must live on; the caller holds the future
                _log.exception("a durable write to library %r could not be published", write.library_id)
                write.future.set_exception(error)
        self._answered(len(group.members))
        for library_id in {member.write.library_id for member in group.members if member.operations}:
            self._published(library_id)

    def _fail(self, group: Group, error: Exception) -> None:
        """Answer a group of which nothing may be seen; what was prepared on top of it is prepared anew."""
        for member in group.members:
            if not member.operations and isinstance(error, WriteUncertain):
                # It would have changed nothing, so there is nothing of it that a restart could find.
                _refuse(member.write, StorageReadOnly(str(error)))
            else:
                _refuse(member.write, error)
        self._answered(len(group.members))
        self._backlog.extendleft(member.write for member in reversed(self._next.members))
        self._next = Group()
        self._rebase()

    def _answered(self, count: int) -> None:
        with self._lock:
            self._pending -= count


def _refuse(write: Write, error: Exception | None) -> None:
    if not isinstance(error, VdbError):
        _log.error("a write to library %r failed", write.library_id, exc_info=error)
    write.future.set_exception(error)


def _finish_call(call: Call) -> None:
    if not call.future.set_running_or_notify_cancel():
        return
    run, future = call.run, call.future
    del call
    try:
        result = run()
    except Exception as error:  # noqa: BLE001 - the caller holds the future
        future.set_exception(error)
    else:
        # Whoever waits may give freed memory back next: what ran, and the old base it knows of, is gone before.
        del run
        future.set_result(result)
