"""Measures the memory that a process holds by itself, files that are mapped left out."""

from __future__ import annotations

import ctypes
import gc
import sys
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["growth"]

_STATUS: Final = Path("/proc/self/status")
_TIMES: Final = 3


def growth(make: Callable[[], object]) -> int:
    """Bytes that the process holds more after a call, while its result lives.

    What Python and NumPy allocate is traced; on Linux the anonymous memory of the process is compared as well,
    whichever language allocated it. The larger of the two counts. The call is made three times and the least
    growth is taken: what the result holds is there each time, while what other threads allocate meanwhile, or an
    allocator's arena that one small object keeps, is not.
    """
    return min(_growth(make) for _ in range(_TIMES))


def _growth(make: Callable[[], object]) -> int:
    before = _anonymous()
    tracemalloc.start()
    try:
        kept = make()
        _ = gc.collect()
        traced = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    after = _anonymous()
    del kept
    return max(traced, after - before)


def _anonymous() -> int:
    _ = gc.collect()
    if not sys.platform.startswith("linux"):
        return 0
    # glibc keeps what was freed and hands it out again, which would hide a copy; musl has no such call.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    for line in _STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0
