"""Runs a server as a process of its own on a free port of this machine, until its ``with`` block ends."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from pathlib import Path

__all__ = ["free_port", "serving"]

_READY_S: Final = 90
_STOP_S: Final = 30


def free_port() -> int:
    """A port of 127.0.0.1 on which nobody listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def serving(
    command: Sequence[str], *, ready: str, log: Path, environment: Mapping[str, str] | None = None
) -> Generator[int]:
    """Start a server, wait until a URL answers, give its process id; at the end ask it to stop and wait for that.

    Args:
        command: what to run.
        ready: a URL that answers with success once the server takes requests.
        log: file that gets what it says.
        environment: variables beside those of this process.

    Raises:
        SystemExit: it ended, or did not get ready in time.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **(environment or {})}
        )
        try:
            _await(process, ready, log)
            yield process.pid
        finally:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await(process: subprocess.Popen[bytes], ready: str, log: Path) -> None:
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(
                f"the server ended with {process.returncode}:\n{log.read_text(errors='replace')[-2000:]}"
            )
        try:
            with urllib.request.urlopen(ready, timeout=5) as answer:  # noqa: S310 - a URL of this machine
                if answer.status < 300:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise SystemExit(f"no answer from {ready} in {_READY_S} s:\n{log.read_text(errors='replace')[-2000:]}")
