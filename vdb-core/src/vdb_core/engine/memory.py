"""Giving memory back to the operating system."""

from __future__ import annotations

import ctypes
import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["release_memory"]


@functools.cache
def _trim() -> Callable[[int], int] | None:
    try:
        found = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return None  # not glibc: the allocator does as it sees fit
    found.argtypes = [ctypes.c_size_t]
    found.restype = ctypes.c_int
    return found


def release_memory() -> None:
    """Give back what the C allocator keeps of freed memory.

    A fold frees the records and vectors of whole segments; glibc raises its mmap threshold on the way and would
    keep them for the life of the process.
    """
    trim = _trim()
    if trim is not None:
        _ = trim(0)
