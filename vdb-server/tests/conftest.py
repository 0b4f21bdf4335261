"""A client that speaks ASGI to an application of its own: targets and bodies go in exactly as they are written."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import orjson
import pytest

from vdb_core.plugins import PluginManager
from vdb_core.services import open_services
from vdb_server.app import create_app
from vdb_server.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from fastapi import FastAPI


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def pointers(self) -> list[str]:
        return [fault["pointer"] for fault in self.json()["errors"]]

    @property
    def code(self) -> str:
        assert self.headers["content-type"] == "application/problem+json"
        problem = self.json()
        assert problem["status"] == self.status
        assert problem["detail"]
        return problem["code"]


class Client:
    """Runs an application's lifespan on a loop in a thread, and sends it one request at a time."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app
        self.loop = asyncio.new_event_loop()
        self._state: dict[str, Any] = {}
        self._stop: asyncio.Event | None = None
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,))
        self._thread.start()
        started.wait(10)

    def _run(self, started: threading.Event) -> None:
        async def live() -> None:
            self._stop = asyncio.Event()
            async with self.app.router.lifespan_context(self.app) as state:
                self._state = dict(state)
                started.set()
                await self._stop.wait()

        self.loop.run_until_complete(live())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()

    def close(self) -> None:
        assert self._stop is not None
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def __call__(
        self,
        method: str,
        target: str,
        json: object = None,
        *,
        body: bytes | None = None,
        pieces: Sequence[bytes] | None = None,
        headers: dict[str, str] | None = None,
        disconnect: bool = False,
        hang_up: bool = False,
    ) -> Answer:
        given = {"host": "127.0.0.1:8000"}
        content = b"" if body is None else body
        if json is not None:
            given["content-type"] = "application/json"
            content = orjson.dumps(json)
        if pieces is None:
            given["content-length"] = str(len(content))
        given |= headers or {}
        future = asyncio.run_coroutine_threadsafe(
            self._call(
                method,
                target,
                given,
                [content] if pieces is None else pieces,
                disconnect=disconnect,
                hang_up=hang_up,
            ),
            self.loop,
        )
        return future.result(30)

    async def _call(
        self,
        method: str,
        target: str,
        headers: dict[str, str],
        pieces: Sequence[bytes],
        *,
        disconnect: bool = False,
        hang_up: bool = False,
    ) -> Answer:
        path, _, query = target.partition("?")
        messages: list[dict[str, Any]] = [
            {"type": "http.request", "body": piece, "more_body": number < len(pieces) - 1 or disconnect}
            for number, piece in enumerate(pieces)
        ]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode("latin-1"),
            "query_string": query.encode("latin-1"),
            "root_path": "",
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers.items() if value],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 8000),
            "state": dict(self._state),
        }
        status, answered, content = 0, {}, []

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop(0)
            if disconnect:
                return {"type": "http.disconnect"}
            await asyncio.sleep(3600)
            raise AssertionError

        async def send(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                answered.update({name.decode(): value.decode() for name, value in message["headers"]})
            elif hang_up:
                raise OSError("the other side has hung up")
            else:
                content.append(message.get("body", b""))

        await self.app(scope, receive, send)
        return Answer(status, answered, b"".join(content))


@contextmanager
def serving(
    settings: Settings | None = None, data_dir: Path | None = None, plugins: PluginManager | None = None
) -> Iterator[Client]:
    """An application over an engine in memory (or in a directory), without the plugins that happen to be installed."""
    if plugins is None:
        plugins = PluginManager(entry_points=lambda: ())
        plugins.load()
    chosen = Settings() if settings is None else settings
    engine = chosen.engine(in_memory=data_dir is None)
    if data_dir is not None:
        engine = replace(engine, data_dir=data_dir)
    with open_services(engine, plugins=plugins) as services:
        client = Client(create_app(chosen, services))
        try:
            yield client
        finally:
            client.close()


@pytest.fixture
def client() -> Iterator[Client]:
    with serving() as made:
        yield made


@pytest.fixture
def glossary(client: Client) -> Client:
    """A client whose server has a small library of three dimensions."""
    assert (
        client("POST", "/v1/libraries", {"id": "glossary", "name": "Glossary", "dimension": 3}).status == 201
    )
    assert (
        client("POST", "/v1/libraries/glossary/documents", {"id": "book", "metadata": {"year": 2024}}).status
        == 201
    )
    rows = [
        {"id": f"c-{n}", "document_id": "book", "text": f"row {n}", "embedding": row, "metadata": {"n": n}}
        for n, row in enumerate([[1, 0, 0], [0.9, 0.1, 0], [0, 1, 0], [0, 0, 1]])
    ]
    assert client("POST", "/v1/libraries/glossary/chunks/upsert", {"chunks": rows}).status == 200
    return client


@pytest.fixture(scope="session")
def serve() -> Callable[..., AbstractContextManager[Client]]:
    """For tests that need settings of their own: ``with serve(Settings(...)) as client``."""
    return serving


@pytest.fixture(scope="session")
def client_of() -> type[Client]:
    """For tests with an engine of their own: ``client_of(create_app(settings, services))``."""
    return Client


@pytest.fixture
def state_of(glossary: Client) -> Callable[[], object]:
    """Everything that can be read of the small library, to see that nothing changed."""

    def read() -> object:
        paths = ("", "/documents", "/chunks?include=embedding")
        return [glossary("GET", f"/v1/libraries/glossary{path}").json() for path in paths], glossary(
            "GET", "/v1/libraries"
        ).json()

    return read


@pytest.fixture
def encode() -> Callable[[str], str]:
    return lambda value: quote(value, safe="")
