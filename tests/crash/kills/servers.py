"""Servers that can be killed at any moment, from the side of whoever kills them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self, TypeVar

    T = TypeVar("T")

__all__ = ["Gone", "Nursery", "Server"]


class Gone(Exception):
    """The server ended before it was ready."""


class Server:
    """A running ``vdb serve``."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self._nursery = nursery
        self.pid = pid
        self.url = ""
        self._signalled = False

    def wait_until_ready(self) -> None:
        """Wait until it prints its URL; raises ``Gone`` where it is killed meanwhile."""
        url = self._nursery.ready(self.pid)
        if url is None:
            raise Gone
        self.url = url

    def kill(self) -> None:
        """End it as a power cut would, as far as a process can tell. Idempotent."""
        self.send(signal.SIGKILL)

    def send(self, number: signal.Signals) -> int | None:
        """Send a signal that ends it, and wait until it is gone; returns how it ended."""
        if self._signalled:
            return None
        # The nursery has not waited for it yet, so that its number cannot be another process's by now.
        self._signalled = True
        os.kill(self.pid, number)
        return self._nursery.wait(self.pid)


class Nursery:
    """The process that forks servers; see ``nursery.py``. One server at a time."""

    def __init__(self, sabotage: str | None = None, *, timeout: float = 60.0) -> None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("VDB_")}
        program = [sys.executable, str(Path(__file__).with_name("nursery.py"))]
        self._process = subprocess.Popen(
            [*program, *([] if sabotage is None else [sabotage])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self._timeout = timeout
        self._heard = threading.Condition()
        self._started: list[int] = []
        self._urls: dict[int, str] = {}
        self._ended: dict[int, int] = {}
        self._silent = False
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(self._timeout)
        self._listener.join(self._timeout)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def start(self, data_dir: Path, log: Path) -> Server:
        """Start a server; it may not be ready yet."""
        before = len(self._started)
        self._say(f"start\t{data_dir}\t{log}")
        return Server(
            self, self._until(lambda: self._started[before] if len(self._started) > before else None)
        )

    def ready(self, pid: int) -> str | None:
        """The URL of a server; none where it ended before it had one."""
        return self._until(lambda: self._urls.get(pid) or ("" if pid in self._ended else None)) or None

    def wait(self, pid: int) -> int:
        """Wait for the end of a process that was sent a signal; returns its exit code, negative for a signal."""
        self._say(f"wait\t{pid}")
        return self._until(lambda: self._ended.get(pid))

    def _until(self, heard: Callable[[], T | None]) -> T:
        deadline = time.monotonic() + self._timeout
        with self._heard:
            while (found := heard()) is None:
                if self._silent or time.monotonic() > deadline:
                    raise RuntimeError(f"the nursery ended, or did not answer within {self._timeout} s")
                self._heard.wait(1.0)
            return found

    def _say(self, line: str) -> None:
        if self._process.stdin is None:
            raise RuntimeError("the nursery has no input")
        with self._heard:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def _listen(self) -> None:
        for line in self._process.stdout or ():
            with self._heard:
                if found := re.search(r"^pid (\d+)$", line):
                    pid = int(found[1])
                    # Numbers of processes are used again: what is known of one is of the last that had it.
                    _ = self._urls.pop(pid, None), self._ended.pop(pid, None)
                    self._started.append(pid)
                elif found := re.search(r"^ended (\d+) (-?\d+)$", line):
                    self._ended[int(found[1])] = int(found[2])
                elif found := re.search(r"vdb is ready at (\S+)$", line):
                    # One server at a time: the one that was started last.
                    self._urls[self._started[-1]] = found[1]
                self._heard.notify_all()
        with self._heard:
            self._silent = True
            self._heard.notify_all()
