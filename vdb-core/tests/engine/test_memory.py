"""What the C allocator keeps goes back to the system, from whichever arena."""

from __future__ import annotations

import platform
import subprocess
import sys
import threading

import pytest

from vdb_core.engine.memory import release_memory

PROGRAM = """
import ctypes, threading
from vdb_core.engine.memory import release_memory, return_memory_early

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
ctypes.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]

def use():
    blocks = [libc.malloc(1 << 20) for _ in range(7)]
    for block in blocks:
        ctypes.memset(block, 1, 1 << 20)
    held.append(resident())
    for block in blocks:
        libc.free(block)

return_memory_early()
release_memory()
before, held = resident(), []
for _ in range(2):  # one of them has the second arena
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert held.pop() - before > 6 << 20
release_memory()
print(resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator does as it sees fit")
def test_the_end_of_every_arena_goes_back() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60
    )
    assert int(done.stdout) < 2 << 20


def test_where_there_are_no_threads_memory_stays_and_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    early = threading.Event()
    early.set()
    monkeypatch.setattr("vdb_core.engine.memory._early", early)
    monkeypatch.setattr(threading.Thread, "start", no_more)
    release_memory()
