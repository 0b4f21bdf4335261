"""The server without sockets, in the caller's own process: the same application, called directly.

::

    request()        ──┬─ search, search/batch, chunks/upsert, chunks/bulk ──▶ the handler, on the calling thread
    request_async()  ──┘
                       └─ everything else ──▶ the ASGI application, on an event loop in a thread of its own
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, final
from urllib.parse import unquote

from vdb_core.errors import EngineClosed, VdbError
from vdb_server.app import create_app
from vdb_server.chunks.ingest import bulk_answer, upsert_answer
from vdb_server.errors import PROBLEM_MEDIA_TYPE, HttpProblem, internal_error, problem_of
from vdb_server.opening import open_engine
from vdb_server.search.routes import answer, batch_answer
from vdb_server.settings import Settings
from vdb_server.transfer.archive import write_archive
from vdb_server.transfer.routes import start_import
from vdb_server.wire.paths import decode_library_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path
    from typing import Any, Self

    from fastapi import FastAPI
    from starlette.types import Message, Scope

    from vdb_core.services import Services
    from vdb_server.errors import Problem

__all__ = ["EmbeddedResponse", "EmbeddedServer", "open_embedded"]

_log: Final = logging.getLogger(__name__)
_PREFIX: Final = "/v1/libraries/"
_KEY: Final = "idempotency-key"
_JSON_HEADERS: Final[Mapping[str, str]] = {"content-type": "application/json"}


class _Handler(Protocol):
    def __call__(
        self,
        services: Services,
        library_id: str,
        raw: bytes,
        *,
        content_type: str | None,
        query_string: bytes,
        max_depth: int,
    ) -> bytes: ...


_HOT: Final[Mapping[str, _Handler]] = {
    "search": answer,
    "search/batch": batch_answer,
    "chunks/upsert": upsert_answer,
    "chunks/bulk": bulk_answer,
}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedResponse:
    """One answer."""

    status: int
    """The HTTP status."""

    headers: Mapping[str, str]
    """Lower-case names."""

    body: bytes
    """The content."""


def open_embedded(path: Path | None, *, settings: Settings | None = None) -> EmbeddedServer:
    """Open a data directory, or an engine that keeps everything in memory where ``path`` is ``None``.

    Args:
        path: the data directory; made where it is not there.
        settings: limits and plugins; ``None`` reads the environment. Addresses and keys mean nothing here.

    Raises:
        DataDirectoryLocked: another process, or another engine in this one, has it open.
        OperatorError: what is there cannot be opened.
        ValidationFailed: the settings name an embedder that no installed plugin has.
    """
    chosen = Settings() if settings is None else settings
    if "checkpoint_on_close_s" not in chosen.model_fields_set:
        # A program that opens a directory for a moment must not fold a large library to leave.
        chosen = chosen.model_copy(update={"checkpoint_on_close_s": 0.0})
    if path is not None:
        chosen = chosen.model_copy(update={"data_dir": path})
    return EmbeddedServer(open_engine(chosen, in_memory=path is None), chosen)


@final
class EmbeddedServer:
    """Answers requests as the server would. Safe to call from any thread, also from one that runs an event loop."""

    def __init__(self, services: Services, settings: Settings) -> None:
        self._services = services
        self._max_depth = settings.max_json_depth
        self._runner = _Runner(create_app(settings, services, trusted=True))
        # Also closes what nobody closed, at the latest when the interpreter ends.
        self._finalizer = weakref.finalize(self, _close, self._runner, services)

    def request(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> EmbeddedResponse:
        """Answer one request.

        Args:
            method: as on the wire.
            target: percent-encoded path and query, as on the wire.
            headers: lower-case names.
            body: the whole body.
        """
        if not self._finalizer.alive:
            return _problem(problem_of(_closed()))
        hot = None if _KEY in headers else _hot(method, target)
        if hot is not None:
            return self._direct(*hot, headers.get("content-type"), body)
        return asyncio.run_coroutine_threadsafe(
            self._runner.call(method, target, headers, body), self._runner.loop
        ).result()

    async def request_async(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> EmbeddedResponse:
        """Answer one request without holding up the caller's event loop."""
        if not self._finalizer.alive:
            return _problem(problem_of(_closed()))
        hot = None if _KEY in headers else _hot(method, target)
        if hot is not None:
            return await asyncio.to_thread(self._direct, *hot, headers.get("content-type"), body)
        return await asyncio.wrap_future(
            asyncio.run_coroutine_threadsafe(
                self._runner.call(method, target, headers, body), self._runner.loop
            )
        )

    def export(self, library_id: str) -> Iterator[bytes]:
        """Make the archive of a library piece by piece; raises a ``VdbError``."""
        return write_archive(self._services.libraries.export(library_id))

    def import_archive(self, archive: memoryview, renamed: str | None) -> dict[str, object]:
        """Make a library of an archive of any size; raises a ``VdbError`` or an ``HttpProblem``."""
        return start_import(self._services, archive, renamed, self._max_depth).result().to_json()

    def close(self) -> None:
        """Stop builds, finish queued writes, release the data directory. Idempotent."""
        self._finalizer()

    def __enter__(self) -> Self:
        """Use it as a context manager."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def _direct(
        self, handler: _Handler, library_id: str, query_string: bytes, content_type: str | None, body: bytes
    ) -> EmbeddedResponse:
        try:
            content = handler(
                self._services,
                decode_library_id(library_id),
                body,
                content_type=content_type,
                query_string=query_string,
                max_depth=self._max_depth,
            )
        except HttpProblem as error:
            return _problem(error.problem)
        except VdbError as error:
            return _problem(problem_of(error))
        except Exception:  # noqa: BLE001 - a bug ends one request, not the program around it
            # As over the wire: the log has what the answer has not.
            request_id = os.urandom(8).hex()
            _log.exception("unexpected error in request %s", request_id)
            return _problem(internal_error(request_id))
        return EmbeddedResponse(status=200, headers=_JSON_HEADERS, body=content)


def _hot(method: str, target: str) -> tuple[_Handler, str, bytes] | None:
    """The handler of a hot route, the encoded id of the library, and the query."""
    if method != "POST" or not target.startswith(_PREFIX):
        return None
    path, _, query = target.partition("?")
    library_id, _, tail = path[len(_PREFIX) :].partition("/")
    handler = _HOT.get(tail)
    return (
        None
        if handler is None or not library_id
        else (handler, library_id, query.encode("latin-1", "replace"))
    )


def _problem(problem: Problem) -> EmbeddedResponse:
    return EmbeddedResponse(
        status=int(problem.status),
        headers={"content-type": PROBLEM_MEDIA_TYPE, **problem.headers},
        body=problem.to_bytes(),
    )


def _closed() -> EngineClosed:
    return EngineClosed("The embedded server was closed; open it again.")


def _close(runner: _Runner, services: Services) -> None:
    runner.stop()
    services.close()


@final
class _Runner:
    """Runs an ASGI application on an event loop of its own, in a thread of its own."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._state: dict[str, Any] = {}
        self._stopping: asyncio.Event
        self.loop = asyncio.new_event_loop()
        started = threading.Event()
        # A daemon: a caller who forgets to close must still be able to leave.
        self._thread = threading.Thread(target=self._run, args=(started,), name="vdb-embedded", daemon=True)
        self._thread.start()
        started.wait()

    def _run(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self.loop)
        lifespan: AbstractAsyncContextManager[Mapping[str, Any] | None] = self._app.router.lifespan_context(
            self._app
        )
        try:
            self.loop.run_until_complete(self._live(lifespan, started))
        finally:
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()

    async def _live(
        self, lifespan: AbstractAsyncContextManager[Mapping[str, Any] | None], started: threading.Event
    ) -> None:
        self._stopping = asyncio.Event()
        async with lifespan as state:
            self._state = dict(state or {})
            started.set()
            await self._stopping.wait()

    def stop(self) -> None:
        if self._thread.is_alive() and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()

    async def call(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> EmbeddedResponse:
        path, _, query = target.partition("?")
        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode("utf-8", "surrogateescape"),
            "query_string": query.encode("utf-8", "surrogateescape"),
            "root_path": "",
            "headers": [
                (b"host", b"localhost"),
                (b"content-length", str(len(body)).encode()),
                *(
                    (name.encode("latin-1"), value.encode("latin-1"))
                    for name, value in headers.items()
                    if name not in {"host", "content-length"}
                ),
            ],
            "client": None,
            "server": None,
            "state": dict(self._state),
        }
        status = 500
        given: dict[str, str] = {}
        pieces: list[bytes] = []
        ended = asyncio.Event()
        asked = False

        async def receive() -> Message:
            nonlocal asked
            if asked:
                await ended.wait()
                return {"type": "http.disconnect"}
            asked = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                given.update(
                    {name.decode("latin-1"): value.decode("latin-1") for name, value in message["headers"]}
                )
            elif message["type"] == "http.response.body":
                pieces.append(message.get("body", b""))
                if not message.get("more_body"):
                    ended.set()

        await self._app(scope, receive, send)
        return EmbeddedResponse(status=status, headers=given, body=b"".join(pieces))
