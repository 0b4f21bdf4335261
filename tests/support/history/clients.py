"""Clients that work on one library at once, each on a thread of its own."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING

from history.events import ask
from history.workload import Workload, follow

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from history.events import Event, Reply
    from history.operations import Read, Write

    Send = Callable[[Read | Write], Reply]

__all__ = ["run_beside", "run_clients"]


def run_clients(
    sends: Sequence[Send], *, seed: int, operations: int, dimension: int, large: int = 0, reads: float = 0.4
) -> list[Event]:
    """Let clients do so many operations each, all at once; returns the history, unsorted.

    Args:
        sends: how each of them asks.
        seed: of what they ask.
        operations: how many each does; the further pages of a list come on top.
        dimension: of the embeddings.
        large: rows of a large upload at most, 0 for none.
        reads: the share of operations that only read.
    """
    events: list[Event] = []
    barrier = threading.Barrier(len(sends))
    failures: list[BaseException] = []

    def run(number: int, send: Send) -> None:
        name = f"client{number}"
        work = Workload(random.Random(f"{seed} {name}"), name, dimension=dimension, large=large, reads=reads)
        try:
            barrier.wait(30)
            for _ in range(operations):
                if failures:
                    return
                operation: Read | Write | None = work.next()
                while operation is not None:
                    event = ask(events, name, operation, send)
                    work.saw(event)
                    operation = follow(event)
        except BaseException as error:  # noqa: BLE001 - raised again below, by who waits for this thread
            failures.append(error)

    _run_all([threading.Thread(target=run, args=(at, send)) for at, send in enumerate(sends)], failures)
    return events


def run_beside(main: Callable[[], list[Event]], step: Callable[[], None]) -> list[Event]:
    """Repeat a step on another thread while something else runs."""
    done = threading.Event()
    failures: list[BaseException] = []

    def repeat() -> None:
        try:
            while not done.is_set():
                step()
        except BaseException as error:  # noqa: BLE001 - raised again below
            failures.append(error)

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        return main()
    finally:
        done.set()
        _run_all([thread], failures, started=True)


def _run_all(
    threads: Sequence[threading.Thread], failures: Sequence[BaseException], *, started: bool = False
) -> None:
    for thread in threads:
        if not started:
            thread.start()
    for thread in threads:
        thread.join(120)
        if thread.is_alive():
            raise AssertionError("a client still waits for an answer after two minutes")
    if failures:
        raise failures[0]
