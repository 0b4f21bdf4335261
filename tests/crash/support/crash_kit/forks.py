"""A pool of processes that have imported everything and loaded the plugins; each piece of work runs in a fork of one.

A start of vdb takes seconds, a fork of a started one a millisecond: that is what makes thousands of crashes affordable.
The processes carry the shim, whose counters outlive a fork that it killed.

::

    with Forks() as forks:
        for outcome in forks.map("crash_kit.sweep:run", ({"at": at} for at in range(1, 300))):
            outcome.job, outcome.result, outcome.signal, outcome.state
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from crash_kit.shim import State, preloaded

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

__all__ = ["Forks", "Outcome", "gather"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a piece of work ended."""

    job: dict[str, Any]
    result: Any
    """What the function returned; none where it did not come to that."""
    error: str
    """The traceback, or that it ran out of time; empty for a result and for an end by a signal."""
    signal: int
    """The signal that ended it, 0 for none."""
    state: State
    """What the shim counted in it."""


class Forks:
    """Starts the processes; a context manager that ends them."""

    def __init__(
        self, count: int | None = None, *, path: Sequence[Path] = (), warm: Sequence[str] = ()
    ) -> None:
        """Start ``count`` processes (a core each by default).

        Args:
            count: how many.
            path: where they look for modules first: sources that were changed on purpose.
            warm: modules that they import before the first fork.
        """
        environment = preloaded(
            PYTHONPATH=os.pathsep.join([*map(str, path), *sys.path]),
            OPENBLAS_NUM_THREADS="1",
            RAYON_NUM_THREADS="1",
            PYTHONDONTWRITEBYTECODE="1",
        )
        command = [sys.executable, str(Path(__file__).with_name("worker.py")), *warm]
        self._processes = [
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
            )
            for _ in range(count or os.cpu_count() or 1)
        ]

    def map(
        self, task: str, jobs: Iterable[dict[str, Any]], *, timeout: float = 60.0, inline: bool = False
    ) -> Generator[Outcome]:
        """Call ``module:function`` with each job's items as keyword arguments; the outcomes come as they are ready.

        Arguments and results are JSON. What is left undone when the caller stops listening is not begun. With
        ``inline`` the function runs in the process of the pool itself: it forks for what could do harm.
        """
        request = {"task": task, "timeout": timeout, "inline": inline}
        waiting, lock = iter(jobs), threading.Lock()
        done: queue.SimpleQueue[Outcome | BaseException | None] = queue.SimpleQueue()
        stop = threading.Event()

        def work(process: subprocess.Popen[str]) -> None:
            try:
                while not stop.is_set():
                    with lock:
                        job = next(waiting, None)
                    if job is None:
                        break
                    done.put(_ask(process, request, job))
            except BaseException as error:  # noqa: BLE001 - raised again by the caller's thread
                done.put(error)
            done.put(None)

        threads = [threading.Thread(target=work, args=(one,), daemon=True) for one in self._processes]
        for thread in threads:
            thread.start()
        try:
            ended = 0
            while ended < len(threads):
                outcome = done.get()
                if outcome is None:
                    ended += 1
                elif isinstance(outcome, BaseException):
                    raise outcome
                else:
                    yield outcome
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def one(self, task: str, *, timeout: float = 60.0, inline: bool = False, **job: Any) -> Outcome:
        """Do one piece of work."""
        return next(iter(list(self.map(task, [job], timeout=timeout, inline=inline))))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            if process.stdin is not None:
                process.stdin.close()
        for process in self._processes:
            if process.wait(30) and sys.exc_info()[0] is None:
                raise RuntimeError(f"a process of the pool ended with {process.returncode}")
            if process.stdout is not None:
                process.stdout.close()


def gather(outcomes: Generator[Outcome], *, most: int = 10) -> Counter[str]:
    """Add up the counts that jobs returned; fails with the first of the problems that they returned beside."""
    total, problems = Counter[str](), list[str]()
    with closing(outcomes):
        for outcome in outcomes:
            result: dict[str, Any] = outcome.result or {}
            problems += [f"{outcome.job}: {outcome.error}"] if outcome.error else result.pop("problems")
            total.update(result)
            if len(problems) >= most:
                break
    assert not problems, f"{len(problems)} problems:\n" + "\n".join(problems[:most])
    return total


def _ask(process: subprocess.Popen[str], request: dict[str, Any], job: dict[str, Any]) -> Outcome:
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("the pool is not open")
    process.stdin.write(json.dumps({**request, "job": job}) + "\n")
    process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"a process of the pool ended with {process.wait()} at {request['task']} {job}")
    answer = json.loads(line)
    return Outcome(job, answer["result"], answer["error"], answer["signal"], State(*answer["state"]))
