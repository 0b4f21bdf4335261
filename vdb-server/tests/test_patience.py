"""Nobody can keep the server waiting: half a request, a body that drips, an answer that nobody takes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEAD = b"POST /v1/libraries HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
SHORT = {"VDB_HEADER_TIMEOUT_S": "1", "VDB_BODY_TIMEOUT_S": "1"}


@contextmanager
def serving(data_dir: Path, *, program: tuple[str, str] = ("-m", "vdb_server"), **more: str) -> Iterator[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VDB_")}
    command = [sys.executable, *program, "serve", "--port", "0", "--data-dir", str(data_dir)]
    log = data_dir.parent / "log"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env={**kept, **more}
        ) as process,
    ):
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[-1]
        finally:
            process.terminate()
    assert process.returncode == 0
    assert '"level": "error"' not in log.read_text()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("patience") / "data", **SHORT) as url:
        yield url


def connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    return socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=20)


def last_words(connection: socket.socket) -> bytes:
    """All that comes until the server hangs up."""
    pieces: list[bytes] = []
    try:
        while piece := connection.recv(65_536):
            pieces.append(piece)
    except ConnectionResetError:
        pass
    return b"".join(pieces)


@pytest.mark.parametrize(
    ("sent", "names"),
    [
        (b"", "VDB_HEADER_TIMEOUT_S"),
        (b"POST /v1/lib", "VDB_HEADER_TIMEOUT_S"),
        (HEAD, "VDB_HEADER_TIMEOUT_S"),
        (HEAD + b"content-length: 100\r\n\r\n", "VDB_BODY_TIMEOUT_S"),
        (HEAD + b'content-length: 100\r\n\r\n{"name": "x"', "VDB_BODY_TIMEOUT_S"),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n4\r\n    \r\n", "VDB_BODY_TIMEOUT_S"),
    ],
    ids=["nothing", "half a line", "half the headers", "no body", "half a body", "no last piece"],
)
def test_half_a_request_ends_with_a_408_that_names_the_setting(url: str, sent: bytes, names: str) -> None:
    with connect(url) as connection:
        started = time.monotonic()
        connection.sendall(sent)
        head, _, body = last_words(connection).partition(b"\r\n\r\n")
        assert 0.9 < time.monotonic() - started < 6
    assert head.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in head
    problem = json.loads(body)
    assert (problem["code"], problem["status"]) == ("request_timeout", 408)
    assert names in problem["detail"]


@pytest.mark.parametrize("start", [b"GET / HTTP/1.1\r\n", HEAD + b"content-length: 100000\r\n\r\n"])
def test_a_drip_is_no_request(url: str, start: bytes) -> None:
    """A byte now and then keeps no connection open: it is the whole that counts, not the last byte."""
    with connect(url) as connection:
        started = time.monotonic()
        connection.sendall(start)
        connection.settimeout(0.2)
        answer = b""
        while not answer and time.monotonic() - started < 10:
            try:
                answer = connection.recv(65_536)
            except TimeoutError:
                connection.sendall(b"a")
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert time.monotonic() - started < 6


def test_a_slow_body_that_goes_on_is_taken(url: str) -> None:
    """Slower than the time for a body, faster than a drip."""
    body = b'{"id": "slow",' + b" " * 3_000 + b'"name": "slow"}'
    with connect(url) as connection:
        connection.sendall(HEAD + b"content-length: %d\r\n\r\n" % len(body))
        for at in range(0, len(body), 300):
            connection.sendall(body[at : at + 300])
            time.sleep(0.2)
        assert connection.recv(100).startswith(b"HTTP/1.1 201 ")


def test_a_connection_between_two_requests_is_left_alone(url: str) -> None:
    with connect(url) as connection:
        for _ in range(2):
            connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
            assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")
            time.sleep(2.5)


def test_half_a_request_behind_a_whole_one_is_half_a_request(url: str) -> None:
    with connect(url) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")
        connection.sendall(HEAD)
        assert last_words(connection).startswith(b"HTTP/1.1 408 ")


def test_a_connection_that_stays_idle_is_ended_after_a_while(
    tmp_path: Path,
) -> None:
    patched = (
        "import vdb_server.cli.serving as serving, sys; serving._KEEP_ALIVE_S = 3; "
        "from vdb_server.__main__ import main; sys.exit(main())"
    )
    with serving(tmp_path / "data", program=("-c", patched)) as url, connect(url) as connection:
        request = b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
        # Longer than that together, and far less each time.
        for _ in range(6):
            connection.sendall(request)
            time.sleep(0.6)
        started = time.monotonic()
        assert last_words(connection).count(b"HTTP/1.1 200") == 6
        assert time.monotonic() - started < 15


def test_many_half_requests_keep_nobody_out(url: str) -> None:
    held = [connect(url) for _ in range(200)]
    try:
        for each in held:
            each.sendall(HEAD)
        with urlopen(f"{url}/healthz", timeout=5) as answer:
            assert answer.status == 200
        assert all(last_words(each).startswith(b"HTTP/1.1 408 ") for each in held)
    finally:
        for each in held:
            each.close()


def test_headers_without_end_are_431(url: str) -> None:
    with connect(url) as connection:
        try:
            connection.sendall(HEAD)
            for number in range(3_000):
                connection.sendall(b"x-%d: %s\r\n" % (number, b"y" * 100))
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert last_words(connection)[:13] in {b"HTTP/1.1 431 ", b""}
    with connect(url) as connection:
        connection.sendall(HEAD)
        time.sleep(0.3)
        connection.sendall(b"x: " + b"y" * (80 << 10))
        answer = last_words(connection)
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b"headers_too_large" in answer


def test_many_requests_at_once_are_no_long_headers(url: str) -> None:
    """They come in pieces that end amid the headers of one."""
    many = 3_000
    with connect(url) as connection:
        connection.sendall(
            b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nx-padding: 0123456789\r\n\r\n" * many
        )
        answers = b""
        while answers.count(b"HTTP/1.1 200 OK") < many:
            piece = connection.recv(1 << 20)
            assert piece, answers[-500:]
            answers += piece


def test_an_answer_that_nobody_takes_ends_the_connection(tmp_path: Path) -> None:
    with serving(tmp_path / "data", **SHORT) as url, connect(url) as connection:
        # Some megabytes of answers, more than the buffers of two sockets hold.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        request = b"GET /openapi.json HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
        connection.settimeout(1)
        started = time.monotonic()
        ended = False
        while not ended and time.monotonic() - started < 20:
            try:
                connection.sendall(request * 50)
            except (ConnectionResetError, BrokenPipeError):
                ended = True
            except TimeoutError:
                continue
        assert ended
        assert time.monotonic() - started < 15
        with urlopen(f"{url}/healthz", timeout=5) as answer:
            assert answer.status == 200
