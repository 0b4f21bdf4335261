"""Runs ``vdb serve`` as its users do: a process of its own, on a free port, stopped with a signal."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Server", "ServerFailed"]


class ServerFailed(Exception):
    """The server did not start or did not stop as it should."""


class Server:
    """A running ``vdb serve`` on a data directory; ``url`` is where it listens."""

    def __init__(self, data_dir: Path, *, ready_within: float = 60.0) -> None:
        command = Path(sys.executable).with_name("vdb.exe" if os.name == "nt" else "vdb")
        # What is set for another server of the caller's must not reach this one.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("VDB_")}
        self._last_lines: deque[str] = deque(maxlen=40)
        self._ready = threading.Event()
        self.url = ""
        started = time.perf_counter()
        self._process = subprocess.Popen(
            [str(command), "serve", "--port", "0", "--data-dir", str(data_dir)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        # The pipe is read to its end, or a full one would stop the server.
        threading.Thread(target=self._read, daemon=True).start()
        self._ready.wait(ready_within)
        if not self.url:
            self._process.kill()
            self._process.wait()
            raise ServerFailed(
                f"vdb serve was not ready within {ready_within:.0f} s. Its last words:\n{self.tail()}"
            )
        self.started_in = time.perf_counter() - started

    def _read(self) -> None:
        output = self._process.stdout
        for line in output if output is not None else ():
            self._last_lines.append(line.rstrip())
            if not self.url and (match := re.search(r"https?://[\w.\[\]:-]+:\d+", line)):
                self.url = match[0]
                self._ready.set()
        self._ready.set()

    def tail(self) -> str:
        """The last lines that the server wrote."""
        return "\n".join(self._last_lines)

    def wait(self) -> None:
        """Wait until the process ends by itself."""
        self._process.wait()

    def stop(self) -> None:
        """Ask it to stop, and wait until it has."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise ServerFailed(
                f"vdb serve did not stop within 60 s. Its last words:\n{self.tail()}"
            ) from None
        if code not in {0, -signal.SIGTERM}:
            raise ServerFailed(f"vdb serve ended with {code}. Its last words:\n{self.tail()}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.stop()
        elif self._process.poll() is None:
            self._process.kill()
            self._process.wait()
