"""What searches of a library take, by kind, so that one that will take long is told from a cheap one beforehand.

Processor time is what counts, not time on the clock: a cheap search that had to wait for busy cores is still a cheap
one. (Judged by the clock, a library whose first searches were slow stayed among the slow ones for good: sent to
threads, its searches wait for each other, which looks like taking long.)
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    from collections.abc import Hashable

__all__ = ["Costs", "Stopwatch"]

_WEIGHT: Final = 0.2
_KINDS: Final = 256
_STALL_S: Final = 0.02
_CERTAIN_S: Final = 0.0004
_DOUBTFUL_S: Final = 0.0008
_MOST_S: Final = 0.004
"""More than this counts as this: slow is slow, and one search that was held up must not outweigh twenty that were not."""


@final
class Costs:
    """Moving averages of seconds by kind. Kinds are bounded in number: the oldest is forgotten first."""

    __slots__ = ("_lock", "_seconds")

    def __init__(self) -> None:
        self._seconds: dict[Hashable, float] = {}
        self._lock = threading.Lock()

    def expected(self, kind: Hashable) -> float | None:
        """Seconds that a search of this kind takes, where one was seen."""
        return self._seconds.get(kind)

    def learn(self, kind: Hashable, seconds: float) -> None:
        """Count one search in."""
        seconds = min(seconds, _MOST_S)
        known = self._seconds.get(kind)
        if known is not None:
            self._seconds[kind] = known + _WEIGHT * (seconds - known)
            return
        with self._lock:
            while len(self._seconds) >= _KINDS:
                del self._seconds[next(iter(self._seconds))]
            self._seconds[kind] = seconds


@final
class Stopwatch:
    """Measures what this thread spends from now on.

    Asking for processor time is a system call, asking for the time is none: where a search is known to be far from
    the border between cheap and slow, the clock is enough, for it shows no less than the processor does. What it shows
    beyond doubt is a reason to ask the next ones more closely, and no more.
    """

    __slots__ = ("_clock", "_processor")

    def __init__(self, expected: float | None = None) -> None:
        """Begin; ``expected`` seconds, where something is."""
        self._clock = time.perf_counter()
        certain = expected is not None and expected < _CERTAIN_S
        self._processor = None if certain else time.thread_time()

    def seconds(self) -> float:
        """Processor time, or the time on the clock where that is so long that whoever waits has noticed.

        What takes long without the processor reads rows from a disk: on the event loop nobody else would be served.
        """
        clock = time.perf_counter() - self._clock
        if self._processor is None:
            return min(clock, _DOUBTFUL_S)
        return clock if clock > _STALL_S else time.thread_time() - self._processor
