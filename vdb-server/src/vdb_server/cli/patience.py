"""How long a connection may keep the server waiting: for headers, for a body, and for its answer to be taken.

uvicorn waits for ever for the rest of a request. Somebody who sends a byte now and then could hold as many connections as the
system has files (Slowloris). Looking at all connections once a second costs the hot path an addition a request, where a timer
for each would cost a hundred times that; so uvicorn's own, which ends connections between two requests, is not set either.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from vdb_server.errors import PROBLEM_MEDIA_TYPE, Problem

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

__all__ = ["MAX_HEADER_BYTES", "MIN_BYTES_A_SECOND", "Patience", "PatientProtocol", "look_at"]

MIN_BYTES_A_SECOND: Final = 1_000
"""What a body has to bring on average once the time for it is over: slower than any network, faster than a drip."""

MAX_HEADER_BYTES: Final = 64 << 10
"""Request line and headers together; the parser itself knows no bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Seconds."""

    headers: float
    """From a connection's or a request's first moment to the end of its headers."""
    body: float
    """For a body, beside what its size allows; and without a byte of an answer being taken."""


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which remembers since when it waits for its client."""

    _began: float = 0.0
    _received: int = 0
    _in_headers: bool = True
    _stuck_since: float | None = None
    _idle_since: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin with a connection."""
        self._began = self.loop.time()
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Take in bytes."""
        self._idle_since = None
        self._received += len(data)
        super().data_received(data)
        # What came together with a request's first byte is not counted: requests before it may have come with it.
        if self._in_headers and self._received > MAX_HEADER_BYTES and not self.transport.is_closing():
            self._refuse(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                "headers_too_large",
                f"Request line and headers have at most {MAX_HEADER_BYTES:,} bytes together; this request has more.",
            )

    def on_message_begin(self) -> None:
        """A request begins."""
        self._began = self.loop.time()
        self._received = 0
        self._in_headers = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Its headers are there."""
        self._in_headers = False
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """An answer is out; the next request that came with it begins. As uvicorn does it, but for its timer a request."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if not self.pipeline:
            self._idle_since = self.loop.time()
            return
        self._start_asgi_task(*self.pipeline.pop())
        if self.pipeline:
            # uvicorn reads on here, and whoever sends faster than we answer would fill the memory with requests.
            self.flow.pause_reading()

    def pause_writing(self) -> None:
        """The client takes less than it is sent."""
        self._stuck_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """The client has taken enough."""
        self._stuck_since = None
        super().resume_writing()

    def end_if_overdue(self, patience: Patience) -> None:
        """End the connection where it has kept the server waiting for too long."""
        if self.transport.is_closing():
            return
        now = self.loop.time()
        if self._stuck_since is not None:
            if now - self._stuck_since > patience.body:
                self.transport.abort()
            return
        if self._idle_since is not None:
            # Between two requests.
            if now - self._idle_since > self.timeout_keep_alive:
                self.transport.close()
            return
        cycle = self._request()
        if self._in_headers or cycle is None:
            if (cycle is None or cycle.response_complete) and now - self._began > patience.headers:
                self._refuse(
                    HTTPStatus.REQUEST_TIMEOUT,
                    "request_timeout",
                    f"The headers did not arrive within {patience.headers:g} s (VDB_HEADER_TIMEOUT_S).",
                )
        elif cycle.more_body and not cycle.response_started:
            if self.flow.read_paused:
                # It is we who do not read.
                self._began = now
                self._received = 0
            elif now - self._began > patience.body + self._received / MIN_BYTES_A_SECOND:
                self._refuse(
                    HTTPStatus.REQUEST_TIMEOUT,
                    "request_timeout",
                    f"The body did not arrive within {patience.body:g} s (VDB_BODY_TIMEOUT_S) and what "
                    f"{MIN_BYTES_A_SECOND:,} bytes a second take.",
                )

    def _request(self) -> RequestResponseCycle | None:
        """The latest request; the base class does not say that there is none before the first."""
        return cast("RequestResponseCycle | None", self.cycle)

    def _refuse(self, status: HTTPStatus, code: str, detail: str) -> None:
        """Answer in place of the application, which learns that its client is gone, and hang up."""
        cycle = self._request()
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
        content = Problem(status=status, code=code, detail=detail).to_bytes()
        self.transport.write(
            f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: {PROBLEM_MEDIA_TYPE}\r\n"
            f"content-length: {len(content)}\r\nconnection: close\r\n\r\n".encode()
            + content
        )
        self.transport.close()


def look_at(connections: Iterable[object], patience: Patience) -> None:
    """End the connections that are overdue."""
    for connection in list(connections):
        if isinstance(connection, PatientProtocol):
            connection.end_if_overdue(patience)
