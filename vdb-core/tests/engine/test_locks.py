"""The read-write lock: exclusion, and neither readers nor writers starve."""

from __future__ import annotations

import threading
import time

import pytest

from vdb_core.locks import RWLock


def test_readers_share_and_a_writer_does_not() -> None:
    lock = RWLock()
    lock.acquire_read()
    assert lock.acquire_read(blocking=False)
    entered = threading.Event()

    def write() -> None:
        with lock.write():
            entered.set()

    thread = threading.Thread(target=write)
    thread.start()
    assert not entered.wait(0.05)
    # A writer waits, so a reader that comes later waits too, or says that it would.
    assert not lock.acquire_read(blocking=False)
    lock.release_read()
    lock.release_read()
    assert entered.wait(5)
    thread.join()
    assert lock.acquire_read(blocking=False)


def test_writers_do_not_starve_under_readers_nor_readers_under_writers() -> None:
    lock = RWLock()
    stop = threading.Event()
    counts = {"read": 0, "write": 0}
    inside = {"read": 0, "write": 0}
    broken: list[str] = []
    guard = threading.Lock()

    def run(kind: str) -> None:
        hold = lock.read if kind == "read" else lock.write
        while not stop.is_set():
            with hold():
                with guard:
                    inside[kind] += 1
                    if inside["write"] > 1 or (inside["write"] and inside["read"]):
                        broken.append(str(inside))
                time.sleep(0.0005)
                with guard:
                    inside[kind] -= 1
                    counts[kind] += 1

    threads = [threading.Thread(target=run, args=(kind,)) for kind in ["read"] * 6 + ["write"] * 3]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    stop.set()
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()
    assert not broken
    assert counts["read"] > 20
    assert counts["write"] > 20


def test_releasing_what_is_not_held_is_an_error() -> None:
    lock = RWLock()
    with pytest.raises(RuntimeError):
        lock.release_read()
    with pytest.raises(RuntimeError):
        lock.release_write()
