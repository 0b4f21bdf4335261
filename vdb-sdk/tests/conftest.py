"""Fixtures of the SDK's tests: a tiny scripted HTTP server, and one client over every way to an engine."""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

import vdb_sdk

if TYPE_CHECKING:
    from pathlib import Path

READY_WITHIN_S = 60.0


# A scripted server


@dataclass
class Received:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class ScriptedServer:
    """Answers what it is told to, one answer a request, the last one for ever; remembers what it received.

    An answer is a dict: ``status``, ``body``, ``headers``, ``delay_s``, ``hang_up`` (no answer at all),
    ``cut`` (bytes that are missing at the end).
    """

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answers: list[dict[str, Any]] = [{}]
        script = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                headers = {name.lower(): value for name, value in self.headers.items()}
                script.received.append(Received(self.command, self.path, headers, self.rfile.read(length)))
                answer = script.answers[0] if len(script.answers) == 1 else script.answers.pop(0)
                time.sleep(answer.get("delay_s", 0))
                if answer.get("hang_up"):
                    self.close_connection = True
                    return
                body = answer.get("body", b"{}")
                self.send_response(answer.get("status", 200))
                for name, value in answer.get("headers", {}).items():
                    self.send_header(name, value)
                missing = answer.get("cut", 0)
                self.close_connection = bool(missing)
                self.send_header("content-length", str(len(body) + missing))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815  # the standard library's names

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Stay quiet."""

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: object, client_address: object) -> None:
                """Stay quiet: clients that hang up are part of the tests."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def scripted() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    yield server
    server.close()


# The asynchronous client, called like the synchronous one


class Blocking:
    """Runs what an asynchronous object returns, so that one suite serves both clients."""

    def __init__(self, target: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._target = target
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        if not callable(value):
            return self._wrap(value)

        def call(*args: object, **kwargs: object) -> Any:
            result = value(*args, **kwargs)
            if inspect.iscoroutine(result):
                result = self._loop.run_until_complete(result)
            return self._wrap(result)

        return call

    def __iter__(self) -> Iterator[Any]:
        iterator = self._target.__aiter__()
        while True:
            try:
                yield self._wrap(self._loop.run_until_complete(iterator.__anext__()))
            except StopAsyncIteration:
                return

    def __repr__(self) -> str:
        return repr(self._target).removeprefix("Async")

    def _wrap(self, value: Any) -> Any:
        ours = (vdb_sdk.AsyncClient, vdb_sdk.AsyncLibraryHandle, vdb_sdk.AsyncJob, vdb_sdk.AsyncPager)
        if isinstance(value, ours) or inspect.isasyncgen(value):
            return Blocking(value, self._loop)
        return value


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


Connect = Callable[..., Any]


@pytest.fixture(params=["sync", "async"])
def connect_any(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """``connect`` of either client; what it makes is closed at the end."""
    made: list[Any] = []
    loop: asyncio.AbstractEventLoop | None = None
    if request.param == "async":
        loop = request.getfixturevalue("loop")

    def connect(*args: Any, **kwargs: Any) -> Any:
        if loop is None:
            client: Any = vdb_sdk.connect(*args, **kwargs)
        else:
            client = Blocking(vdb_sdk.connect_async(*args, **kwargs), loop)
        made.append(client)
        return client

    yield connect
    for client in made:
        client.close()


# A real server process


@dataclass
class ServerProcess:
    url: str
    process: subprocess.Popen[str]
    reader: threading.Thread


def launch(data_dir: Path, **environment: str) -> ServerProcess:
    """Start ``vdb serve`` on a free port and wait for its URL."""
    command = [sys.executable, "-m", "vdb_server", "serve", "--port", "0", "--data-dir", str(data_dir)]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("VDB_")}
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**inherited, **environment, "NO_COLOR": "1"},
    )
    assert process.stdout is not None
    seen: list[str] = []
    watchdog = threading.Timer(READY_WITHIN_S, process.kill)
    watchdog.start()
    try:
        for line in process.stdout:
            seen.append(line)
            found = re.search(r"http://127\.0\.0\.1:[1-9]\d*", line)
            if found:
                # Somebody must read on, or the server's log fills the pipe and stops it.
                reader = threading.Thread(target=process.stdout.read, daemon=True)
                reader.start()
                return ServerProcess(found[0], process, reader)
    finally:
        watchdog.cancel()
    process.wait()
    raise RuntimeError(f"the server did not come up:\n{''.join(seen)}")


def stop(running: ServerProcess) -> None:
    running.process.terminate()
    try:
        running.process.wait(20)
    except subprocess.TimeoutExpired:
        running.process.kill()
        running.process.wait()
    running.reader.join()
    assert running.process.stdout is not None
    running.process.stdout.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    running = launch(tmp_path_factory.mktemp("served"))
    yield running
    stop(running)


@pytest.fixture
def start_server() -> Iterator[Callable[..., str]]:
    """Starts servers with an environment of the test's own, and stops them at its end."""
    running: list[ServerProcess] = []

    def start(data_dir: Path, **environment: str) -> str:
        running.append(launch(data_dir, **environment))
        return running[-1].url

    yield start
    for server in running:
        stop(server)


@pytest.fixture(params=["sync-memory", "sync-path", "sync-server", "async-memory", "async-server"])
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """A client over each way to an engine, empty at the start."""
    kind, _, place = str(request.param).partition("-")
    target = {"memory": None, "path": tmp_path / "data"}.get(place)
    if place == "server":
        target = request.getfixturevalue("server").url
    if kind == "sync":
        made: Any = vdb_sdk.connect(target)
    else:
        made = Blocking(vdb_sdk.connect_async(target), request.getfixturevalue("loop"))
    yield made
    if place == "server":
        for library in list(made.libraries()):
            made.delete_library(library.id)
    made.close()
