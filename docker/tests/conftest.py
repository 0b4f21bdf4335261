"""The image, built once, and containers of it; what was made here goes on exit, by its label and its names."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from containers import CACHE, LABEL, RUN, Container, build, docker
from standins import ensure_bases

if TYPE_CHECKING:
    from collections.abc import Iterator


STAGES = ("wheels", "lock", "dashboard-environment", "dashboard", "environment", "server")


def pytest_configure() -> None:
    if shutil.which("docker") is None:
        pytest.exit("docker is not on the PATH. Install it with:  sudo apt-get install docker.io", 2)
    told = docker("info", "--format", "{{.ServerVersion}}", check=False)
    if told.returncode:
        pytest.exit(
            f"no Docker Engine answers: {told.stderr.strip()}\nStart it with:  sudo service docker start", 2
        )


@pytest.fixture(scope="session")
def image() -> Iterator[str]:
    """The name of the image, built from this checkout."""
    stand_ins = ensure_bases(CACHE)
    stages = [f"vdb-check-{target}:{RUN}" for target in STAGES]
    try:
        for tag in stages:
            build(tag, tag.split(":", maxsplit=1)[0].removeprefix("vdb-check-"))
        yield stages[-1]
    finally:
        leftover = docker("ps", "--all", "--quiet", "--filter", f"label={LABEL}").stdout.split()
        if leftover:
            docker("rm", "--force", "--volumes", *leftover)
        if os.environ.get("VDB_DOCKER_KEEP") != "1":
            # Named stage by stage, so that what the classic builder leaves of each goes with its name.
            docker("rmi", *reversed(stages), check=False)
            for each in stand_ins:
                docker("rmi", each, check=False)


@pytest.fixture
def dashboard_image(image: str) -> str:
    """The name of the dashboard's image, which is built beside the server's."""
    return image.replace("-server:", "-dashboard:")


@pytest.fixture
def run(image: str) -> Iterator[Any]:
    """Start containers that go when the test ends: ``run("--read-only")``; a key is set unless ``key=None``."""
    made: list[Container] = []

    def start(*options: str, key: str | None = "the-key") -> Container:
        given = () if key is None else ("--env", f"VDB_API_KEY={key}")
        container = Container(image, *given, *options)
        container.key = key
        made.append(container)
        return container.ready()

    yield start
    for each in made:
        each.remove()


@pytest.fixture
def volume() -> Iterator[str]:
    """A volume that goes when the test ends."""
    name = docker("volume", "create", "--label", LABEL).stdout.strip()
    yield name
    docker("volume", "rm", name, check=False)
