"""``compose.yaml`` as its page says: one command up, healthy, with a key, and its volume outlives it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest
from containers import ROOT, RUN, docker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def command() -> list[str]:
    if docker("compose", "version", check=False).returncode == 0:
        return ["docker", "compose"]
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    pytest.fail("neither `docker compose` nor docker-compose is there: sudo apt-get install docker-compose")


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.fixture
def dashboard_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.fixture
def compose(
    image: str, dashboard_image: str, port: int, dashboard_port: int
) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    program = [*command(), "--project-name", f"vdb-check-{RUN}", "--file", str(ROOT / "compose.yaml")]

    def run(*arguments: str, key: str | None = "the-key") -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("VDB_")}
        environment = {**kept, "VDB_IMAGE": image, "VDB_PUBLISHED_PORT": str(port)}
        environment |= {
            "VDB_DASHBOARD_IMAGE": dashboard_image,
            "VDB_DASHBOARD_PUBLISHED_PORT": str(dashboard_port),
        }
        if key is not None:
            environment["VDB_API_KEY"] = key
        return subprocess.run(
            [*program, *arguments], capture_output=True, text=True, check=False, env=environment, cwd=ROOT
        )

    yield run
    run("down", "--volumes", "--timeout", "5")


def status(port: int, path: str, key: str | None = None) -> int:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}")
    if key is not None:
        request.add_header("authorization", f"Bearer {key}")
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except OSError:
        return 0


def test_up_and_down(
    compose: Callable[..., subprocess.CompletedProcess[str]], port: int, dashboard_port: int
) -> None:
    for _ in range(2):
        up = compose("up", "--detach", "--no-build")
        assert up.returncode == 0, up.stdout + up.stderr
        deadline = time.monotonic() + 60
        while status(port, "/readyz") != 200:
            assert time.monotonic() < deadline, compose("logs").stdout
            time.sleep(0.2)
        while status(dashboard_port, "/_stcore/health") != 200:
            assert time.monotonic() < deadline, compose("logs").stdout
            time.sleep(0.2)
        assert status(dashboard_port, "/") == 200
        # It reaches the server by its name, which asks it for a key as everybody.
        asked = "import urllib.request as r; r.urlopen('http://server:8000/readyz').read()"
        reached = compose("exec", "-T", "dashboard", "python", "-c", asked)
        assert reached.returncode == 0, reached.stderr
        assert compose("exec", "-T", "dashboard", "id", "-u").stdout.strip() == "10001"
        assert status(port, "/v1/libraries") == 401
        assert status(port, "/v1/libraries", "the-key") == 200
        down = compose("down")
        assert down.returncode == 0, down.stdout + down.stderr
    volumes = docker("volume", "ls", "--quiet", "--filter", f"name=vdb-check-{RUN}").stdout.split()
    assert len(volumes) == 1


def test_without_a_key_it_says_what_to_do(compose: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    refused = compose("config", key=None)
    assert refused.returncode != 0
    assert "a key is needed" in refused.stderr
