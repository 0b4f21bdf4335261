"""Lets glibc keep little for each thread of a server, which it can only be told before a process starts."""

from __future__ import annotations

import os
import sys
from typing import Final

__all__ = ["keep_thread_caches_small"]

_VARIABLE: Final = "GLIBC_TUNABLES"
_OWN: Final = "glibc.malloc.tcache_count=1"


def keep_thread_caches_small() -> None:
    """Start this command again with one freed block of each size kept a thread, unless the variable already says how many.

    By default it is seven blocks of each of 64 sizes: up to 236 KB for each of some forty threads, which all take
    requests in turn. A server grew by them for hours, 3 to 5 MB in each, as if it leaked. Its process number, arguments and
    open files stay. Only glibc has the setting, and only a process that is this command alone is started again: what was
    called from another program with arguments of its own goes on as it is.
    """
    given = os.environ.get(_VARIABLE, "")
    own = sys.argv[1:]
    if "glibc.malloc.tcache_" in given or not _is_glibc() or sys.orig_argv[-len(own) :] != own:
        return
    os.environ[_VARIABLE] = f"{given}:{_OWN}" if given else _OWN
    try:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - the command that runs already
    except OSError:
        # It serves as well without, and holds a little more.
        return


def _is_glibc() -> bool:
    try:
        return bool(os.confstr("CS_GNU_LIBC_VERSION"))
    except (AttributeError, ValueError, OSError):
        return False  # another system, or another C library
