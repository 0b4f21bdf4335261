"""Drives the Docker command for the tests: builds stages, runs containers of the image and speaks to their servers.

Everything that is made carries the label of this run, by which it is found again and removed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Any

__all__ = ["CACHE", "LABEL", "ROOT", "RUN", "Container", "build", "docker", "inspect"]

ROOT = Path(__file__).resolve().parents[2]
RUN = uuid.uuid4().hex[:12]
LABEL = f"vdb.check={RUN}"
CACHE = ROOT / ".nox" / "docker"


def docker(*arguments: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False, **options)
    assert not check or done.returncode == 0, f"docker {' '.join(arguments)}\n{done.stdout}{done.stderr}"
    return done


def inspect(thing: str) -> Any:
    return json.loads(docker("inspect", thing).stdout)[0]


def build(tag: str, target: str) -> None:
    environment = dict(os.environ)
    if docker("buildx", "version", check=False).returncode:
        # The command without its builder plugin still has the one of the engine.
        environment["DOCKER_BUILDKIT"] = "0"
    started = time.monotonic()
    command = ["build", "--target", target, "--tag", tag, str(ROOT)]
    done = docker(*command, check=False, env=environment)
    assert done.returncode == 0, f"{done.stdout[-4000:]}{done.stderr[-4000:]}"
    sys.stderr.write(f"docker: stage {target} built in {time.monotonic() - started:.0f} s\n")


class Container:
    """A container of the image, and an HTTP client of its server."""

    def __init__(self, image: str, *options: str, command: tuple[str, ...] = ()) -> None:
        arguments = (
            "run",
            "--detach",
            "--label",
            LABEL,
            "--publish",
            "127.0.0.1::8000",
            *options,
            image,
            *command,
        )
        self.id = docker(*arguments).stdout.strip()
        self.key: str | None = None

    @property
    def url(self) -> str:
        return f"http://{docker('port', self.id, '8000/tcp').stdout.split()[0]}"

    @property
    def logs(self) -> str:
        done = docker("logs", self.id)
        return done.stdout + done.stderr

    def state(self) -> Any:
        return inspect(self.id)["State"]

    def exec(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return docker("exec", self.id, *command, check=check)

    def ready(self, timeout: float = 60.0) -> Container:
        """Wait until it serves."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            try:
                if self.call("GET", "/readyz")[0] == 200:
                    return self
            except (AssertionError, OSError):
                pass
            assert self.state()["Running"], self.logs
            time.sleep(0.1)
        raise AssertionError(f"not ready after {timeout} s:\n{self.logs}")

    def call(
        self, method: str, path: str, body: object = None, *, key: str | None = None, timeout: float = 30.0
    ) -> tuple[int, Any]:
        """Send a request with the container's key; returns status and JSON, refusals included."""
        key = self.key if key is None else key
        headers = {"authorization": f"Bearer {key}"} if key else {}
        content = None
        if body is not None:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            headers["content-type"] = "application/json"
        request = urllib.request.Request(self.url + path, content, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                text = answer.read()
                return answer.status, json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def remove(self) -> None:
        docker("rm", "--force", "--volumes", self.id, check=False)
