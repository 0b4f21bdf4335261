"""The way to a server. The only module that knows httpx, so that its successor is a change of one line."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, Final
from urllib.parse import urlsplit

import httpx  # `import httpx2 as httpx` is the whole migration

from vdb_sdk._transport import Request, Response
from vdb_sdk._version import __version__
from vdb_sdk.errors import ClientClosed, ConnectionFailed, InvalidArgument, TimeoutExceeded, VdbSdkError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

__all__ = ["AsyncHttpTransport", "HttpTransport"]

_CONNECT_S: Final = 5.0
_BLOCK: Final = 2**20
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
# uvicorn hangs up after 5 idle seconds: a connection that is let go earlier is never sent into while it closes.
_LIMITS: Final = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=4.0)


class _Settings:
    """What both transports are made of: the checked URL, the headers, the time limits."""

    def __init__(self, url: str, api_key: str | None, timeout: float | None) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError as error:
            msg = f"connect: the port of the URL is no number from 0 to 65535: {url!r}"
            raise InvalidArgument(msg) from error
        if not parts.hostname:
            msg = f"connect: expected a URL such as http://127.0.0.1:8000, received {url!r}."
            raise InvalidArgument(msg)
        if parts.username is not None or parts.password is not None:
            msg = (
                "connect: the URL holds a user name or password. Leave it out, and give api_key=... instead."
            )
            raise InvalidArgument(msg)
        if parts.query or parts.fragment:
            msg = f"connect: expected a URL without ? and #, received {url!r}."
            raise InvalidArgument(msg)
        if timeout is not None and timeout <= 0:
            msg = f"connect: timeout: expected seconds above 0, or None, received {timeout}."
            raise InvalidArgument(msg)
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        authority = host if port is None else f"{host}:{port}"
        prefix = parts.path.rstrip("/").removesuffix("/v1")
        self.url: str = f"{parts.scheme}://{authority}{prefix}"
        self.headers: dict[str, str] = {"user-agent": f"vdb-sdk/{__version__}"}
        if api_key is not None:
            self.headers["authorization"] = f"Bearer {_checked_key(api_key)}"
        connect = _CONNECT_S if timeout is None else min(_CONNECT_S, timeout)
        self.timeout: httpx.Timeout = httpx.Timeout(timeout, connect=connect)
        self.patient: httpx.Timeout = httpx.Timeout(None, connect=connect)
        # A proxy from the environment cannot reach this machine's own loopback address.
        self.trust_env: bool = parts.hostname not in _LOOPBACK

    def headers_of(self, request: Request) -> dict[str, str]:
        """Headers of one request."""
        headers = dict(request.headers)
        if request.source is not None:
            headers["content-length"] = str(request.source.stat().st_size)
        return headers

    def failure(self, error: httpx.TransportError, request: Request) -> VdbSdkError:
        """The SDK's word for what httpx met."""
        what = f"{request.method} {self.url}{request.target.partition('?')[0]}"
        reason = str(error) or type(error).__name__
        if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
            msg = f"Cannot reach {self.url}: {reason}. Is the server up, and is this its address?"
            return ConnectionFailed(msg, sent=False)
        if isinstance(error, httpx.TimeoutException):
            msg = f"{what}: no answer in time ({reason}). Give connect() a larger timeout, or look at the server."
            return TimeoutExceeded(msg)
        return ConnectionFailed(f"{what}: the connection broke before the answer was complete: {reason}.")


def _checked_key(api_key: str) -> str:
    if not api_key or not api_key.isascii() or not api_key.isprintable() or " " in api_key:
        msg = "connect: api_key: expected printable ASCII without spaces (the key itself is not shown)."
        raise InvalidArgument(msg)
    return api_key


def _headers(headers: httpx.Headers) -> dict[str, str]:
    return dict(headers.items())


def _rewind(sink: BinaryIO) -> None:
    sink.seek(0)
    sink.truncate()


def _closed() -> ClientClosed:
    return ClientClosed("The client was closed. Make a new one with connect().")


class HttpTransport:
    """Carries requests over HTTP; safe to use from several threads at once."""

    def __init__(self, url: str, *, api_key: str | None, timeout: float | None) -> None:
        self._settings: _Settings = _Settings(url, api_key, timeout)
        self._client: httpx.Client = httpx.Client(
            headers=self._settings.headers,
            timeout=self._settings.timeout,
            limits=_LIMITS,
            trust_env=self._settings.trust_env,
        )

    @property
    def name(self) -> str:
        """The URL."""
        return self._settings.url

    @property
    def loses_answers(self) -> bool:
        """Connections break."""
        return True

    def open(self) -> None:
        """Nothing to do: connections are made as they are needed."""

    def send(self, request: Request, sink: BinaryIO | None = None) -> Response:
        """Send and wait for the answer."""
        if self._client.is_closed:
            raise _closed()
        settings = self._settings
        content = request.body if request.source is None else _blocks(request.source)
        built = self._client.build_request(
            request.method,
            f"{settings.url}{request.target}",
            headers=settings.headers_of(request),
            content=content,
            timeout=settings.patient if request.patient else settings.timeout,
        )
        try:
            response = self._client.send(built, stream=True)
            try:
                if sink is not None and response.status_code < 300:
                    _rewind(sink)
                    for block in response.iter_bytes(_BLOCK):
                        sink.write(block)
                    body = b""
                else:
                    body = response.read()
            finally:
                response.close()
        except httpx.TransportError as error:
            raise settings.failure(error, request) from error
        return Response(status=response.status_code, headers=_headers(response.headers), body=body)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


class AsyncHttpTransport:
    """Carries requests over HTTP; safe to use from several tasks of one event loop at once."""

    def __init__(self, url: str, *, api_key: str | None, timeout: float | None) -> None:
        self._settings: _Settings = _Settings(url, api_key, timeout)
        self._client: httpx.AsyncClient = httpx.AsyncClient(
            headers=self._settings.headers,
            timeout=self._settings.timeout,
            limits=_LIMITS,
            trust_env=self._settings.trust_env,
        )

    @property
    def name(self) -> str:
        """The URL."""
        return self._settings.url

    @property
    def loses_answers(self) -> bool:
        """Connections break."""
        return True

    async def open(self) -> None:
        """Nothing to do: connections are made as they are needed."""

    async def send(self, request: Request, sink: BinaryIO | None = None) -> Response:
        """Send and wait for the answer."""
        if self._client.is_closed:
            raise _closed()
        settings = self._settings
        content = request.body if request.source is None else _async_blocks(request.source)
        built = self._client.build_request(
            request.method,
            f"{settings.url}{request.target}",
            headers=settings.headers_of(request),
            content=content,
            timeout=settings.patient if request.patient else settings.timeout,
        )
        try:
            response = await self._client.send(built, stream=True)
            try:
                if sink is not None and response.status_code < 300:
                    _rewind(sink)
                    async for block in response.aiter_bytes(_BLOCK):
                        sink.write(block)
                    body = b""
                else:
                    body = await response.aread()
            finally:
                await response.aclose()
        except httpx.TransportError as error:
            raise settings.failure(error, request) from error
        return Response(status=response.status_code, headers=_headers(response.headers), body=body)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _blocks(source: Path) -> Iterator[bytes]:
    with source.open("rb") as file:
        while block := file.read(_BLOCK):
            yield block


async def _async_blocks(source: Path) -> AsyncIterator[bytes]:
    for block in _blocks(source):
        yield block
