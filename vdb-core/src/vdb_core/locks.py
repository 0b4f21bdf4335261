"""A read-write lock: many readers or one writer, and nobody waits for ever.

A waiting writer holds back readers that come later; when a writer leaves, the readers that were waiting by then enter
before the next writer does, and nobody who comes later takes their turn. Writers enter in the order in which they came.
``tests/engine/test_locks_model.py`` looks at every interleaving of some threads.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["RWLock"]


@final
class RWLock:
    """Many readers or one writer. Not reentrant: a thread that holds it must not ask for it again."""

    __slots__ = (
        "_condition",
        "_condition_mutex",
        "_passes",
        "_readers",
        "_turn",
        "_waiting_readers",
        "_waiting_writers",
        "_writing",
    )

    def __init__(self) -> None:
        self._condition_mutex = threading.Lock()
        self._condition = threading.Condition(self._condition_mutex)
        self._readers = 0
        self._waiting_readers = 0
        self._waiting_writers: deque[object] = deque()
        """A token each, in the order in which they came."""
        self._writing = False
        self._passes = 0
        """Readers that were waiting when the last writer left and still are: they enter ahead of waiting writers."""
        self._turn = False
        """Changes when a writer leaves. A reader that began to wait in the other turn has a pass: no writer enters, and
        so none leaves, before all passes are used, and two values are enough."""

    def acquire_read(self, *, blocking: bool = True) -> bool:
        """Enter as a reader; without ``blocking`` returns false where it would have to wait."""
        # The mutex itself: entering it through the condition runs Python code, twice for each search.
        with self._condition_mutex:
            if not self._writing and not self._waiting_writers:
                self._readers += 1
                return True
            if not blocking:
                return False
            condition = self._condition
            turn = self._turn
            self._waiting_readers += 1
            try:
                while self._writing or (self._waiting_writers and turn == self._turn):
                    condition.wait()
                self._readers += 1
            except BaseException:
                # Interrupted: a writer may have been waiting for this reader to use its pass.
                condition.notify_all()
                raise
            finally:
                self._waiting_readers -= 1
                if turn != self._turn:
                    self._passes -= 1
            return True

    def release_read(self) -> None:
        """Leave as a reader."""
        with self._condition_mutex:
            if self._readers == 0:
                raise RuntimeError("release_read without acquire_read")
            self._readers -= 1
            if self._readers == 0 and self._waiting_writers:
                self._condition.notify_all()

    def acquire_write(self) -> None:
        """Enter as the writer; waits until every reader has left."""
        condition = self._condition
        with condition:
            token = object()
            self._waiting_writers.append(token)
            try:
                while self._waiting_writers[0] is not token or self._writing or self._readers or self._passes:
                    condition.wait()
                self._writing = True
            except BaseException:
                # Interrupted: it may have been all that others waited for.
                condition.notify_all()
                raise
            finally:
                self._waiting_writers.remove(token)

    def release_write(self) -> None:
        """Leave as the writer."""
        with self._condition:
            if not self._writing:
                raise RuntimeError("release_write without acquire_write")
            self._writing = False
            self._turn = not self._turn
            self._passes = self._waiting_readers
            self._condition.notify_all()

    @contextmanager
    def read(self) -> Generator[None]:
        """Hold the lock as a reader."""
        self.acquire_read()
        try:
            yield
        finally:
            self.release_read()

    @contextmanager
    def write(self) -> Generator[None]:
        """Hold the lock as the writer."""
        self.acquire_write()
        try:
            yield
        finally:
            self.release_write()
