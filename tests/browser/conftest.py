"""The dashboard in a real Chromium. The session ``browser`` says where that lies; without it nothing here is collected."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from server_kit import ServerProcess

import vdb_sdk

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest.register_assert_rewrite("looking")

ROOT = Path(__file__).resolve().parents[2]
FIGURES = ROOT / "docs" / "how-to" / "figures"
SMALL = 150 * 1024

collect_ignore_glob = [] if "VDB_CHROMIUM" in os.environ else ["test_*.py"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--docs", action="store_true", help="put the screenshots into the documentation")


@contextmanager
def dashboard(url: str, **environment: str) -> Iterator[str]:
    """``vdb dashboard`` on a server; yields its own URL."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VDB_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "vdb_server", "dashboard", "--port", "0", "--url", url],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**kept, **environment},
    )
    lines: list[str] = []
    found: list[str] = []
    ready = threading.Event()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if (address := re.search(r"http://127\.0\.0\.1:\d+", line)) and not found:
                found.append(address[0])
                ready.set()
        ready.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        assert ready.wait(60), "the dashboard did not come up"
        assert found, "".join(lines)
        yield found[0]
    finally:
        process.terminate()
        process.wait(30)
        reader.join(10)
        if process.stdout is not None:
            process.stdout.close()
    assert "Traceback" not in "".join(lines), "".join(lines)


@pytest.fixture(scope="session")
def chromium() -> Iterator[object]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # A sandbox within a container that runs as root cannot be made; the pages are our own.
        browser = playwright.chromium.launch(
            executable_path=os.environ["VDB_CHROMIUM"], args=["--no-sandbox"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A server and a dashboard on it, by their URLs; tests leave no library behind."""
    with ServerProcess(tmp_path_factory.mktemp("site") / "data") as server, dashboard(server.url) as url:
        yield server.url, url


@pytest.fixture
def client(site: tuple[str, str]) -> Iterator[vdb_sdk.Client]:
    with vdb_sdk.connect(site[0]) as client:
        yield client
        for library in list(client.libraries()):
            client.delete_library(library.id)


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Path:
    """Where screenshots go: into the documentation where that was asked for."""
    if request.config.getoption("--docs"):
        FIGURES.mkdir(parents=True, exist_ok=True)
        return FIGURES
    folder = ROOT / ".nox" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
