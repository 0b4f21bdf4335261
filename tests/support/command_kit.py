"""The ``vdb`` command in a process of its own, and a server that it runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def environment(**more: str) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("VDB_") and name != "WEB_CONCURRENCY"
    }
    return {**kept, "COLUMNS": "200", **more}


def vdb(*arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
    return python("-W", "error", "-m", "vdb_server", *arguments, **more)


def python(*arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own, as ``vdb`` runs."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(**more),
        check=False,
    )


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


def vdb_here(*arguments: object, **more: str) -> Done:
    """The command in this process, which spares the seconds that a new one takes to start."""
    from typer.testing import CliRunner

    from vdb_server.cli.commands import app

    environment: dict[str, str | None] = {name: None for name in os.environ if name.startswith("VDB_")}
    ran = CliRunner().invoke(app, [*map(str, arguments)], env={**environment, "COLUMNS": "200", **more})
    if ran.exception is not None and not isinstance(ran.exception, SystemExit):
        raise ran.exception
    return Done(ran.exit_code, ran.stdout, ran.stderr)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer over the wire."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Server:
    """A server that a test runs; called as a client of it."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = url

    def get(self, path: str, **headers: str) -> Any:
        with urllib.request.urlopen(
            urllib.request.Request(self.url + path, headers=headers), timeout=10
        ) as answer:
            return json.loads(answer.read())

    def __call__(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: dict[str, str] | None = None,
        timeout: float = 60,
    ) -> Reply:
        """Send JSON, or bytes as they are."""
        given = dict(headers or {})
        content: bytes | None = None
        if isinstance(body, bytes):
            content = body
        elif body is not None:
            content = json.dumps(body).encode()
            given["content-type"] = "application/json"
        request = urllib.request.Request(self.url + path, content, given, method=method)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return Reply(answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Reply(error.code, {k.lower(): v for k, v in error.headers.items()}, error.read())

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(number)
        _, log = self.process.communicate(timeout=30)
        return self.process.returncode, log


def install(site: Path, name: str, source: str, entry: str | None = None) -> None:
    """Lay a distribution out as pip would, with one plugin."""
    module = name.replace("-", "_")
    (site / f"{module}.py").write_text(textwrap.dedent(source))
    info = site / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[vdb.plugins]\n{entry or name} = {module}\n")


@contextmanager
def serving(data_dir: Path, *arguments: object, **more: str) -> Iterator[Server]:
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "vdb_server",
            "serve",
            "--port",
            "0",
            "--data-dir",
            str(data_dir),
            *map(str, arguments),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**more),
    )
    try:
        assert process.stdout is not None
        ready = process.stdout.readline()
        assert ready.startswith("vdb is ready at http://"), (
            ready,
            process.stderr.read() if not ready else "",
        )
        yield Server(process, ready.split()[-1])
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
