"""``vdb dashboard``: starts the dashboard, a distribution of its own, or says how to install it."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Final, NoReturn

from vdb_server.cli.output import Failure

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["run"]

_PACKAGE: Final = "vdb_dashboard"


def run(*, host: str, port: int, url: str | None, allowed_hosts: Sequence[str]) -> NoReturn:
    """Become the dashboard's process; it reads the key, and the URL where none was given, from the environment."""
    if importlib.util.find_spec(_PACKAGE) is None:
        raise Failure("the dashboard is not installed. Install it with:  pip install vdb-dashboard")
    command = [sys.executable, "-m", _PACKAGE, "--host", host, "--port", str(port)]
    command += ["--url", url] if url is not None else []
    for name in allowed_hosts:
        command += ["--allowed-host", name]
    if os.name == "nt":  # which cannot replace a process: Ctrl-C is the child's to answer
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise SystemExit(subprocess.run(command, check=False).returncode)  # noqa: S603  # our own interpreter  # our own interpreter
    os.execv(command[0], command)  # noqa: S606  # our own interpreter  # our own interpreter
