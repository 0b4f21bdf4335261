"""The command: what Streamlit is told, what the pages may know, and a real process that answers."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from urllib.parse import urlsplit

import pytest

from vdb_dashboard.launch import environment, is_loopback, streamlit_arguments


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("localhost", True),
        ("::1", True),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("x.org", False),
    ],
)
def test_what_reaches_this_machine_alone(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_the_defaults_are_safe() -> None:
    told = streamlit_arguments("127.0.0.1", 8501, [])
    assert "--browser.gatherUsageStats=false" in told
    assert "--client.showErrorDetails=none" in told
    assert "--server.enableXsrfProtection=true" in told
    assert "--server.address=127.0.0.1" in told
    hosts = [word for word in told if word.startswith("--server.allowedHosts=")]
    assert hosts == [f"--server.allowedHosts={name}" for name in ("localhost", "127.0.0.1", "[::1]")]
    assert "--server.allowedHosts=vdb.example" in streamlit_arguments("0.0.0.0", 1, ["vdb.example"])


def test_beyond_this_machine_no_key_is_lent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VDB_API_KEY", "secret")
    monkeypatch.setenv("VDB_READ_ONLY_API_KEY", "secret")
    here = environment("http://127.0.0.1:8000", "127.0.0.1")
    assert (here["VDB_API_KEY"], here["VDB_DASHBOARD_SHARED"]) == ("secret", "")
    beyond = environment("http://127.0.0.1:8000", "0.0.0.0")
    assert not {"VDB_API_KEY", "VDB_READ_ONLY_API_KEY"} & beyond.keys()
    assert beyond["VDB_DASHBOARD_SHARED"] == "1"


def start(*command: str) -> tuple[subprocess.Popen[str], str]:
    """A process that serves the dashboard, and the URL that it prints."""
    process = subprocess.Popen(
        [sys.executable, *command, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "default"},
    )
    killer = threading.Timer(60, process.kill)
    killer.start()
    lines: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if found := re.search(r"http://[\d.]+:\d+", line):
            killer.cancel()
            return process, found[0]
    killer.cancel()
    raise AssertionError("".join(lines))


def upgraded(url: str, *, host: str, origin: str | None = None) -> int:
    """The status that a page of another name, or of another origin, gets where it opens a session."""
    where = urlsplit(url)
    asked = [
        "GET /_stcore/stream HTTP/1.1",
        f"Host: {host}:{where.port}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==",
        *([f"Origin: {origin}"] if origin else []),
    ]
    with socket.create_connection((where.hostname or "", where.port or 0), timeout=10) as connection:
        connection.sendall(("\r\n".join(asked) + "\r\n\r\n").encode())
        return int(connection.recv(64).split()[1])


def test_vdb_dashboard_serves_on_loopback_to_its_own_names_and_ends_when_told() -> None:
    process, url = start("-m", "vdb_server", "dashboard")
    try:
        assert url.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(f"{url}/_stcore/health", timeout=10) as answer:
            assert answer.read() == b"ok"
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert b"<title>" in answer.read()
        assert upgraded(url, host="evil.example") == 403
        assert upgraded(url, host="127.0.0.1", origin="http://evil.example") == 403
        assert upgraded(url, host="127.0.0.1") == 101
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        if process.stdout is not None:
            process.stdout.close()


def test_without_the_dashboard_the_command_says_how_to_install_it() -> None:
    code = (
        "import sys; sys.modules['vdb_dashboard'] = None\n"
        "import importlib.util as u; real = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'vdb_dashboard' else real(name, *a)\n"
        "sys.argv = ['vdb', 'dashboard']; from vdb_server.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert done.stderr == "vdb: the dashboard is not installed. Install it with:  pip install vdb-dashboard\n"


@pytest.mark.parametrize(
    ("flags", "told"),
    [(["--url", "ftp://x"], "expected http://"), (["--host", "203.0.113.7", "--port", "0"], "cannot listen")],
)
def test_a_flag_that_cannot_be_used_is_named(flags: list[str], told: str) -> None:
    command = [sys.executable, "-m", "vdb_dashboard", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert told in done.stderr
