"""Tells whether other Python threads go on during a call."""

from __future__ import annotations

import itertools
import sys
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["longest_pause", "until_slow"]


def until_slow(search: Callable[[int], object], *, seconds: float, most: int) -> int:
    """Find how many queries make a call last at least so many seconds, up to ``most``."""
    queries = 16
    while queries < most:
        began = time.perf_counter()
        _ = search(queries)
        took = time.perf_counter() - began
        if took >= seconds:
            break
        queries = min(most, int(queries * min(8.0, max(1.5, 1.3 * seconds / max(took, 1e-6)))))
    return queries


def longest_pause(call: Callable[[], object]) -> tuple[float, float]:
    """Run a call while another thread ticks; returns how long it took and the longest time without a tick."""
    ticks: list[float] = []
    stop = threading.Event()

    def tick() -> None:
        while not stop.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.001)

    watcher = threading.Thread(target=tick)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.001)
    watcher.start()
    try:
        while not ticks:
            time.sleep(0.001)
        began = time.perf_counter()
        _ = call()
        ended = time.perf_counter()
    finally:
        stop.set()
        watcher.join()
        sys.setswitchinterval(interval)
    inside = [began, *(each for each in ticks if began < each < ended), ended]
    return ended - began, max(later - earlier for earlier, later in itertools.pairwise(inside))
