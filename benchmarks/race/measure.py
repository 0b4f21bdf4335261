"""Clocks: single queries, batches, builds, peak memory; and rounds in which contestants take turns."""

from __future__ import annotations

import ctypes
import gc
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from race.data import Rows
    from race.peers.contract import Search

    T = TypeVar("T")

__all__ = ["PeakMemory", "batch_of", "batch_s", "single_s", "timed", "turns"]

_PROC: Final = Path("/proc/self")
# One interruption must not decide a turn.
_REPEATS: Final = 9
_LONG_ENOUGH_S: Final = 0.08


def timed(call: Callable[[], T]) -> tuple[T, float]:
    """What a call returns, and its seconds."""
    started = time.perf_counter()
    result = call()
    return result, time.perf_counter() - started


def single_s(search: Search, queries: Rows, count: int) -> float:
    """The median seconds of queries sent one by one, spread over all there are."""
    chosen = np.unique(np.linspace(0, len(queries) - 1, min(count, len(queries))).astype(int))
    search(queries[:1])  # what is allocated once is not a query's
    took: list[float] = []
    for row in chosen:
        query = queries[row : row + 1]
        started = time.perf_counter()
        search(query)
        took.append(time.perf_counter() - started)
    return statistics.median(took)


def batch_of(queries: Rows, size: int) -> Rows:
    """Exactly ``size`` queries, repeated in turn where there are fewer."""
    if len(queries) == size:
        return queries
    return np.ascontiguousarray(queries[np.arange(size) % len(queries)])


def batch_s(search: Search, batch: Rows) -> float:
    """The median seconds a query of a batch, which is repeated while that takes next to no time."""
    took: list[float] = []
    while len(took) < _REPEATS and sum(took) < _LONG_ENOUGH_S:
        took.append(timed(lambda: search(batch))[1])
    return statistics.median(took) / len(batch)


def turns(contestants: Sequence[T], rounds: int) -> Iterator[T]:
    """Each contestant once a round, beginning with another one each time, so that none profits from its place."""
    for turn in range(rounds):
        for position in range(len(contestants)):
            yield contestants[(turn + position) % len(contestants)]


class PeakMemory:
    """The most memory that the process gained within a ``with`` block.

    Linux keeps a high-water mark that can be reset; elsewhere ``gained`` stays ``None``.
    """

    def __init__(self) -> None:
        self.gained: int | None = None
        self._before = 0

    def __enter__(self) -> Self:
        gc.collect()
        if sys.platform == "linux":
            # Pages that malloc keeps from an earlier build would hide what this one takes.
            trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
            if trim is not None:
                trim(0)
        try:
            (_PROC / "clear_refs").write_text("5", encoding="ascii")
        except OSError:
            self._before = -1
        else:
            self._before = _status("VmRSS")
        return self

    def __exit__(self, *exception: object) -> None:
        if self._before >= 0:
            self.gained = max(0, _status("VmHWM") - self._before)


def _status(field: str) -> int:
    for line in (_PROC / "status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(f"/proc/self/status has no {field}")
