"""The way to an engine in this process: the server's own code, without sockets. Imports vdb_server on use."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

from vdb_sdk._transport import Request, Response
from vdb_sdk.errors import ClientClosed, EmbeddedFailed, EmbeddedUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["AsyncEmbeddedTransport", "EmbeddedTransport"]


class _Answer(Protocol):
    """What `vdb_server.embedded` answers with."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def body(self) -> bytes: ...


class _Server(Protocol):
    """What this module uses of `vdb_server.embedded.EmbeddedServer`, which it must not import for its types."""

    def request(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> _Answer: ...
    async def request_async(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> _Answer: ...
    def close(self) -> None: ...


def _open_server(path: Path | None) -> _Server:
    try:
        from vdb_server.embedded import open_embedded
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "vdb_server":
            raise
        msg = (
            "connect() without a URL runs the engine in this process, which is not installed. "
            "Install it with: pip install 'vdb-sdk[embedded]', or give the URL of a server."
        )
        raise EmbeddedUnavailable(msg) from error
    try:
        return cast("_Server", open_embedded(path))
    except Exception as error:
        # The engine's errors carry a code, and cannot be named here: the SDK imports none of our packages.
        code = cast("object", getattr(error, "code", None))
        if not isinstance(code, str):
            raise
        msg = f"The engine cannot be opened on {path or 'memory'}: {error}"
        raise EmbeddedFailed(msg, code) from error


def _body(request: Request) -> bytes:
    return request.body if request.source is None else request.source.read_bytes()


def _response(answer: _Answer, sink: BinaryIO | None) -> Response:
    if sink is None or answer.status >= 300:
        return Response(status=answer.status, headers=answer.headers, body=answer.body)
    sink.seek(0)
    sink.truncate()
    sink.write(answer.body)
    return Response(status=answer.status, headers=answer.headers, body=b"")


def _closed() -> ClientClosed:
    return ClientClosed("The client was closed. Make a new one with connect().")


class EmbeddedTransport:
    """Carries requests to an engine in this process; safe to use from several threads at once."""

    def __init__(self, path: Path | None) -> None:
        self._path: Path | None = path
        self._lock: threading.Lock = threading.Lock()
        self._server: _Server | None = None
        self._is_closed: bool = False

    @property
    def name(self) -> str:
        """The data directory, or ``memory``."""
        return "memory" if self._path is None else str(self._path)

    @property
    def loses_answers(self) -> bool:
        """Within a process nothing is lost that the process survives."""
        return False

    def open(self) -> None:
        """Open the engine."""
        self.opened()

    def opened(self) -> _Server:
        """The engine, opened if need be."""
        with self._lock:
            if self._is_closed:
                raise _closed()
            if self._server is None:
                self._server = _open_server(self._path)
            return self._server

    def send(self, request: Request, sink: BinaryIO | None = None) -> Response:
        """Call the engine."""
        server = self._server or self.opened()
        return _response(
            server.request(request.method, request.target, request.headers, _body(request)), sink
        )

    def close(self) -> None:
        """Close the engine; what was acknowledged is on disk."""
        with self._lock:
            self._is_closed = True
            server, self._server = self._server, None
        if server is not None:
            server.close()


class AsyncEmbeddedTransport:
    """The same for asyncio. Opening and closing, which read and write files, run in a thread."""

    def __init__(self, path: Path | None) -> None:
        self._inner: EmbeddedTransport = EmbeddedTransport(path)
        self._server: _Server | None = None

    @property
    def name(self) -> str:
        """The data directory, or ``memory``."""
        return self._inner.name

    @property
    def loses_answers(self) -> bool:
        """Within a process nothing is lost that the process survives."""
        return False

    async def open(self) -> None:
        """Open the engine."""
        await self._opened()

    async def _opened(self) -> _Server:
        import asyncio

        self._server = await asyncio.to_thread(self._inner.opened)
        return self._server

    async def send(self, request: Request, sink: BinaryIO | None = None) -> Response:
        """Call the engine."""
        server = self._server or await self._opened()
        answer = await server.request_async(request.method, request.target, request.headers, _body(request))
        return _response(answer, sink)

    async def close(self) -> None:
        """Close the engine; what was acknowledged is on disk."""
        import asyncio

        self._server = None
        await asyncio.to_thread(self._inner.close)
