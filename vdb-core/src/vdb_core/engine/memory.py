"""Giving memory back to the operating system."""

from __future__ import annotations

import ctypes
import functools
import mmap
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["forget_pages", "release_memory", "return_memory_early"]

# Of <malloc.h>.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8


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
    """Give back what the C allocator keeps of freed memory, after work that took much of it for a while.

    A fold frees the records of whole segments and its own arrays; glibc would keep the pages between what is left for
    the life of the process.
    """
    trim = _trim()
    if trim is not None:
        _ = trim(0)


def return_memory_early() -> None:
    """Set the C allocator up for a server: two arenas, and what is larger than a request's temporaries mapped on its own.

    By default glibc makes an arena for each thread, up to eight a core, and stops mapping blocks of a size that
    was freed once, so that segments and large bodies stay with the process. What is mapped anew for each request costs
    a page fault every 4 KB: with a border of one megabyte writes of 2,000 rows of 384 took a tenth longer.
    So what such a request needs is kept, up to 8 MB an arena, until a fold or an export gives it
    back (see ``release_memory``). Call it before threads start; it holds for the process, so a library that is imported
    must not.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return  # not glibc
    mallopt.argtypes = [ctypes.c_int, ctypes.c_int]
    _ = mallopt(_M_ARENA_MAX, 2)
    _ = mallopt(_M_MMAP_THRESHOLD, 8 << 20)
    _ = mallopt(_M_TRIM_THRESHOLD, 8 << 20)


def forget_pages(array: NDArray[np.generic]) -> None:
    """Let the pages of a mapped array go; they are read again from the file, or its cache, where they are needed.

    Loading an index may read every row once, and searches through codes then need few of them.
    """
    base: object = array
    while base is not None and not isinstance(base, mmap.mmap):
        base = base.obj if isinstance(base, memoryview) else getattr(base, "base", None)
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)
