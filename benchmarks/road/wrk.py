"""Runs wrk, the load generator, over a file of bodies, and reads what it counted."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Load", "Run", "command", "need_wrk", "read", "start", "warm_up", "write_bodies"]

_SCRIPT: Final = Path(__file__).with_name("load.lua")
_TIMEOUT_S: Final = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is sent, and where to."""

    url: str
    bodies: Path
    """As :func:`write_bodies` writes them; sent in turn."""
    content_type: str = "application/json"
    key: str | None = None
    connections: int = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What wrk counted in one run."""

    requests: int
    seconds: float
    p50_us: float
    p99_us: float
    max_us: float

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


def need_wrk() -> None:
    """Make sure that wrk is there.

    Raises:
        SystemExit: it is not; says how to install it.
    """
    if shutil.which("wrk") is None:
        raise SystemExit(
            "wrk, the load generator, is not on the PATH.\nInstall it with:  sudo apt-get install wrk  "
            "(macOS: brew install wrk)\nthen run the same command again."
        )


def write_bodies(path: Path, bodies: Sequence[bytes]) -> Path:
    """Write bodies in the form that the script reads; returns the path."""
    with path.open("wb") as file:
        for body in bodies:
            file.write(b"%d\n" % len(body) + body)
    return path


def command(load: Load, seconds: float) -> list[str]:
    """The command line of one run; one thread is enough for what these servers answer."""
    return [
        "wrk", "--threads", "1", "--connections", str(load.connections),
        "--duration", f"{max(1, round(seconds))}s", "--timeout", f"{_TIMEOUT_S}s",
        "--script", str(_SCRIPT), load.url, "--", str(load.bodies), load.content_type, load.key or "-",
    ]  # fmt: skip


def start(load: Load, seconds: float) -> subprocess.Popen[str]:
    """Start a run; :func:`read` waits for its end."""
    return subprocess.Popen(
        command(load, seconds), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def warm_up(load: Load) -> None:
    """Send for a second; a slow contender need not have answered by then."""
    _ = _counted(start(load, 1))


def read(process: subprocess.Popen[str]) -> Run:
    """Wait for a run to end and read what it counted.

    Raises:
        SystemExit: wrk failed, an answer was not a success, or there was none: such a rate means nothing.
    """
    counted = _counted(process)
    if not counted["requests"]:
        raise SystemExit(
            f"There was no answer within {counted['duration_us'] / 1e6:.0f} s. Give longer runs: --seconds 10"
        )
    return Run(
        requests=counted["requests"],
        seconds=counted["duration_us"] / 1e6,
        p50_us=counted["p50_us"],
        p99_us=counted["p99_us"],
        max_us=counted["max_us"],
    )


def _counted(process: subprocess.Popen[str]) -> dict[str, int]:
    output = process.communicate()[0]
    if process.returncode:
        raise SystemExit(f"wrk failed:\n{output}")
    counted = json.loads(output.strip().splitlines()[-1])
    if counted["refused"] or counted["broken"] or counted["timeouts"]:
        raise SystemExit(f"wrk met answers that are no success: {counted}")
    return counted
