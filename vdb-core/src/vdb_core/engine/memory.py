"""Giving memory back to the operating system."""

from __future__ import annotations

import ctypes
import functools
import mmap
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["forget_pages", "release_memory", "return_memory_early"]

# Of <malloc.h>.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8

_ARENAS: Final = 2
_MAPPED: Final = 8 << 20
"""What is as large is mapped on its own."""

_KEPT: Final = 8 << 20
"""What may be free at the end of an arena before it goes back."""

_A_FREED_BLOCK: Final = 256 << 10
"""Large enough that freeing it makes the allocator look at the end of its arena."""

_early = threading.Event()
"""Whether ``return_memory_early`` set these."""


@functools.cache
def _glibc() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(None)
        library.malloc_trim.argtypes = [ctypes.c_size_t]
        library.mallopt.argtypes = [ctypes.c_int, ctypes.c_int]
        library.malloc.argtypes = [ctypes.c_size_t]
        library.malloc.restype = ctypes.c_void_p
        library.free.argtypes = [ctypes.c_void_p]
    except (OSError, AttributeError, TypeError):
        return None  # the allocator does as it sees fit
    return library


def release_memory() -> None:
    """Give back what the C allocator keeps of freed memory, after work that took much of it for a while.

    A fold frees the records of whole segments and its own arrays; glibc would keep the pages between what is left for
    the life of the process.
    """
    library = _glibc()
    if library is None:
        return
    if _early.is_set():
        # malloc_trim passes by the end of every arena but the first, up to 8 MB here. New threads take arenas in turn.
        _ = library.mallopt(_M_TRIM_THRESHOLD, 0)
        with suppress(RuntimeError):  # the system has no more threads, or the process ends
            for _ in range(_ARENAS):
                thread = threading.Thread(target=lambda: library.free(library.malloc(_A_FREED_BLOCK)))
                thread.start()
                thread.join()
        _ = library.mallopt(_M_TRIM_THRESHOLD, _KEPT)
    _ = library.malloc_trim(0)


def return_memory_early() -> None:
    """Set the C allocator up for a server: two arenas, and what is larger than a request's temporaries mapped on its own.

    By default glibc makes an arena for each thread, up to eight a core, and stops mapping blocks of a size that
    was freed once, so that segments and large bodies stay with the process. What is mapped anew for each request costs
    a page fault every 4 KB: with a border of one megabyte writes of 2,000 rows of 384 took a tenth longer.
    So what such a request needs is kept, up to 8 MB an arena, until a fold or an export gives it
    back (see ``release_memory``). Call it before threads start; it holds for the process, so a library that is imported
    must not.
    """
    library = _glibc()
    if library is None:
        return
    _ = library.mallopt(_M_ARENA_MAX, _ARENAS)
    _ = library.mallopt(_M_MMAP_THRESHOLD, _MAPPED)
    _ = library.mallopt(_M_TRIM_THRESHOLD, _KEPT)
    _early.set()


def forget_pages(array: NDArray[np.generic]) -> None:
    """Let the pages of a mapped array go; they are read again from the file, or its cache, where they are needed.

    Loading an index may read every row once, and searches through codes then need few of them.
    """
    base: object = array
    while base is not None and not isinstance(base, mmap.mmap):
        base = base.obj if isinstance(base, memoryview) else getattr(base, "base", None)
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)
