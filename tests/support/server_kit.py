"""A real server in a process of its own, on a free port, and what a client of it measures."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Self

import psutil

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from vdb_sdk import LibraryHandle
    from vdb_sdk.models import IndexStatus

FULL = os.environ.get("VDB_TEST_FULL") == "1"
"""The sizes that the promises name; otherwise sizes that CI can afford."""


class ServerProcess:
    """``vdb serve`` on a data directory; the URL is the one it prints."""

    def __init__(
        self,
        data_dir: Path,
        *options: str,
        timeout: float = 60.0,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("VDB_")}
        self.log = data_dir.parent / f"{data_dir.name}.log"
        with self.log.open("ab") as errors:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "vdb_server",
                    "serve",
                    "--port",
                    "0",
                    "--data-dir",
                    str(data_dir),
                    *options,
                ],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**kept, **(environment or {})},
            )
        self.url = ""
        ready = threading.Event()

        def read() -> None:
            stdout = self.process.stdout
            if stdout is None:
                return
            for line in stdout:
                found = re.search(r"https?://[\w.:]+", line)
                if found and not self.url:
                    self.url = found.group().rstrip("/")
                    ready.set()
            ready.set()

        self._reader = threading.Thread(target=read, daemon=True)
        self._reader.start()
        if not ready.wait(timeout) or not self.url:
            self.kill()
            raise RuntimeError(f"the server did not come up:\n{self.log.read_text()[-2000:]}")

    @property
    def resident(self) -> int:
        """Resident bytes of the process."""
        return psutil.Process(self.process.pid).memory_info().rss

    @property
    def resident_of_files(self) -> int:
        """Resident bytes that are pages of mapped files; where that is not told, all of them."""
        memory = psutil.Process(self.process.pid).memory_info()
        return getattr(memory, "shared", memory.rss)

    def kill(self) -> None:
        """End it as a power cut would, as far as a process can tell."""
        self.process.kill()
        self._end()

    def stop(self) -> int:
        """Ask it to end, and wait."""
        self.process.send_signal(signal.SIGTERM)
        return self._end()

    def _end(self) -> int:
        code = self.process.wait(60)
        self._reader.join(10)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.stop()


def percentile(values: list[float], share: float) -> float:
    """The value that a share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def wait_until_quiet(library: LibraryHandle, *, timeout: float = 300.0) -> IndexStatus:
    """Wait until a library is not being built any more, and no fold of it is due; returns its index status.

    A fold that is due may rest for a while before it begins.
    """
    deadline = time.monotonic() + timeout
    quiet = 0
    while time.monotonic() < deadline:
        status = library.index_status()
        due = status.delta_rows > max(10_000, 0.1 * status.rows)
        due = due or status.dead_rows > max(1_000, 0.2 * (status.rows + status.delta_rows))
        quiet = quiet + 1 if status.job_id is None and not due else 0
        if quiet >= 3:
            return status
        time.sleep(0.1)
    raise AssertionError("the library is still being built")
