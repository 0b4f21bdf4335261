"""Answers to writes that carried an idempotency key, so that the same write, sent again, is answered and not done again.

::

    begin(key) ──▶ None: do it ──▶ the write, and Remember beside its operations, in one durable commit ──▶ end(key)
              └──▶ the answer of before, or KeyInUse, or KeyReused

``Remember`` is an operation like any other but for where it lies: in a chain of the journal of its own, so that an answer
outlives snapshots that trim its library's entries, and the library itself. What is too old, or too much, is forgotten
and trimmed there. See ADR 14.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeVar, cast, final

import orjson

from vdb_core.engine.operations import Remember
from vdb_core.errors import IdempotencyKeyInUse, IdempotencyKeyReused, StorageFailed, VdbError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from concurrent.futures import Future

    from vdb_core.engine.committer import Plan
    from vdb_core.engine.overlay import Overlay
    from vdb_core.persistence import Journal

__all__ = ["ANSWERS", "AnswerTable", "KeptAnswer", "Once", "once_of_caller"]

ANSWERS: Final = "_answers"
"""The chain of the journal that answers lie in; no library can have this id."""

T = TypeVar("T")
_log = logging.getLogger(__name__)
_TRIM_KEYS: Final = 256
_LAST_POSITION: Final = 2**63 - 1
_OVERHEAD: Final = 512
_FINGERPRINT: Final = "fingerprint"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAnswer:
    """What a write was answered, in whatever form the caller of the engine gives it."""

    status: int
    """A number that the caller understands."""

    headers: dict[str, str]
    """What else matters of the answer."""

    body: bytes
    """JSON text, or nothing."""


@final
class Once:
    """A write that is to be done once, whatever number of times it is asked for."""

    def __init__(self, key: str, fingerprint: str, answer_of: Callable[[object], KeptAnswer]) -> None:
        """Describe it.

        Args:
            key: names the write.
            fingerprint: tells another request under the same key from this one.
            answer_of: makes the answer of the write's result; runs before the write is durable.
        """
        self.key = key
        self.fingerprint = fingerprint
        self._answer_of = answer_of
        self.answer: KeptAnswer | None = None

    @contextmanager
    def bound(self) -> Generator[None]:
        """Let the write that is submitted within, by this thread or one that it starts the work in, be this one."""
        token = _ONCE.set(self)
        try:
            yield
        finally:
            _ONCE.reset(token)

    def prepared(self, prepare: Callable[[Overlay], Plan[T]]) -> Callable[[Overlay], Plan[T]]:
        """A preparation that adds the answer to the write's operations."""

        def wrapped(overlay: Overlay) -> Plan[T]:
            plan = prepare(overlay)
            remember = self.remember(plan.answer())
            return replace(plan, operations=[*plan.operations, remember])

        return wrapped

    def remember(self, result: object) -> Remember:
        """The operation that keeps the answer."""
        answer = self._answer_of(result)
        head = {
            "op": "remember",
            "key": self.key,
            _FINGERPRINT: self.fingerprint,
            "time": time.time_ns() // 1000,
            "status": answer.status,
            "headers": answer.headers,
        }
        # The body as it is, last: within a string a quote is escaped, so the first `,"body":` is its beginning.
        return Remember(orjson.dumps(head)[:-1] + b',"body":' + (answer.body or b"null") + b"}")


_ONCE: ContextVar[Once | None] = ContextVar("vdb_once", default=None)


def once_of_caller() -> Once | None:
    """The write that is to be done once, where what is submitted now is one."""
    return _ONCE.get()


@final
@dataclass(frozen=True, slots=True)
class _Kept:
    fingerprint: str
    answer: KeptAnswer
    time: int
    position: int
    """Where it lies in the journal; 0 where it is in memory alone."""

    @property
    def size(self) -> int:
        return _OVERHEAD + len(self.answer.body)


def _read(remember: Remember, position: int) -> tuple[str, _Kept]:
    text = remember.text
    head = cast("dict[str, object]", orjson.loads(text))
    body = text[text.index(b',"body":') + len(b',"body":') : -1]
    answer = KeptAnswer(
        status=cast("int", head["status"]),
        headers=cast("dict[str, str]", head["headers"]),
        body=b"" if body == b"null" else body,
    )
    kept = _Kept(cast("str", head[_FINGERPRINT]), answer, cast("int", head["time"]), position)
    return cast("str", head["key"]), kept


@final
class AnswerTable:
    """The answers that are remembered, oldest first, and the keys whose writes are being made."""

    def __init__(self, journal: Journal | None, *, lifetime_s: float, max_keys: int, max_bytes: int) -> None:
        """Read what the journal has.

        Args:
            journal: where answers lie; none keeps them in memory.
            lifetime_s: how long one is remembered at least to this many seconds, where there is room.
            max_keys: how many are remembered at most; the oldest go first.
            max_bytes: how many bytes they may take; the newest is kept whatever its size.
        """
        self._journal = journal
        self._lifetime_us = int(lifetime_s * 1e6)
        self._max_keys = max_keys
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._running: dict[str, str] = {}
        self._bytes = 0
        self._forgotten = 0
        """Entries of the journal that are forgotten and not trimmed yet."""
        self._trim_to = 0
        self._trimming: threading.Thread | None = None
        if journal is not None:
            self._load(journal)

    def _load(self, journal: Journal) -> None:
        try:
            for position, entry in journal.replay(ANSWERS, 0):
                self.keep(Remember(entry.operation), position)
        except (StorageFailed, KeyError, ValueError) as error:
            # No acknowledged row is in there: a database that would not open for it helps nobody.
            _log.error("the answers to repeated writes cannot be read and are forgotten: %s", error)
            with self._lock:
                self._kept.clear()
                self._bytes = 0
                self._forgotten, self._trim_to = _TRIM_KEYS, _LAST_POSITION
                self._trim_if_due()

    def begin(self, key: str, fingerprint: str) -> KeptAnswer | None:
        """Ask for the answer of before; where there is none, the key's write is being made from now on, until ``end``.

        Raises:
            IdempotencyKeyReused: another request had this key.
            IdempotencyKeyInUse: the write is being made.
        """
        with self._lock:
            self._forget_old()
            kept = self._kept.get(key)
            known = self._running.get(key) if kept is None else kept.fingerprint
            if known is not None and known != fingerprint:
                raise IdempotencyKeyReused(
                    f"The Idempotency-Key {key!a} came with another request before. Use a new key for a new write."
                )
            if kept is not None:
                return kept.answer
            if known is not None:
                raise IdempotencyKeyInUse(
                    f"The write with the Idempotency-Key {key!a} is still being made; ask again in a moment."
                )
            self._running[key] = fingerprint
            return None

    def end(self, key: str) -> None:
        """The key's write is being made no more."""
        with self._lock:
            _ = self._running.pop(key, None)

    def follow(self, once: Once, start: Callable[[], Future[T]]) -> Future[T]:
        """Start a write that ``begin`` allowed, and end its key when it has ended, whoever waits for it."""
        try:
            with once.bound():
                future = start()
        except BaseException:
            self.end(once.key)
            raise

        def ended(done: Future[T]) -> None:
            if not done.cancelled() and done.exception() is None:
                self._keep_unless_kept(once, done.result())
            self.end(once.key)

        future.add_done_callback(ended)
        return future

    def _keep_unless_kept(self, once: Once, result: object) -> None:
        with self._lock:
            there = once.key in self._kept
        if not there:
            self.keep(once.remember(result), 0)

    def keep(self, remember: Remember, position: int) -> None:
        """Remember an answer, which lies at a position of the journal; 0 keeps it in memory alone."""
        key, kept = _read(remember, position)
        with self._lock:
            before = self._kept.pop(key, None)
            if before is not None:
                self._drop(before)
            self._kept[key] = kept
            self._bytes += kept.size
            self._forget_old()

    def _forget_old(self) -> None:
        horizon = time.time_ns() // 1000 - self._lifetime_us
        while self._kept:
            oldest = next(iter(self._kept.values()))
            crowded = len(self._kept) > self._max_keys or (
                self._bytes > self._max_bytes and len(self._kept) > 1
            )
            if not crowded and oldest.time >= horizon:
                break
            _, gone = self._kept.popitem(last=False)
            self._drop(gone)
        self._trim_if_due()

    def _drop(self, kept: _Kept) -> None:
        self._bytes -= kept.size
        if kept.position:
            self._forgotten += 1
            self._trim_to = max(self._trim_to, kept.position)

    def _trim_if_due(self) -> None:
        """Let the journal forget what is forgotten here, some at a time and beside the writes."""
        busy = self._trimming is not None and self._trimming.is_alive()
        if self._journal is None or self._forgotten < _TRIM_KEYS or busy:
            return
        self._forgotten = 0
        self._trimming = threading.Thread(
            target=self._trim, args=(self._journal, self._trim_to), name="vdb-answers", daemon=True
        )
        self._trimming.start()

    @staticmethod
    def _trim(journal: Journal, up_to: int) -> None:
        try:
            journal.trim(ANSWERS, up_to)
        except VdbError as error:
            _log.warning("the answers to repeated writes are trimmed later: %s", error)

    def close(self) -> None:
        """Wait for what works on the journal."""
        with self._lock:
            trimming = self._trimming
        if trimming is not None:
            trimming.join()

    def __len__(self) -> int:
        with self._lock:
            return len(self._kept)
