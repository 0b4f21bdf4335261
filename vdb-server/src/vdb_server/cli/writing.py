"""Sends the head of an answer together with its body: one system call, and one packet, in place of two each.

ASGI has two messages for an answer, and uvicorn writes each to the socket as it comes. On one machine a write to a
socket is among the most expensive things that happen to a cheap query. So a piece waits a moment for the next one; and
the answers of the hot routes, whose headers are our own, are not handed over as messages at all, nor is each header looked at.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, cast, final

from vdb_server.cli.patience import PatientProtocol
from vdb_server.wire.replies import WRITE, lines

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

__all__ = ["JoinedWrites", "Protocol"]


@final
class Protocol(PatientProtocol):
    """uvicorn's protocol over a transport that waits a moment for what follows."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin with a connection."""
        super().connection_made(JoinedWrites(transport, asyncio.get_running_loop()))  # pyright: ignore[reportArgumentType]

    def on_headers_complete(self) -> None:
        """Offer the request a way to be answered as a whole."""
        super().on_headers_complete()
        cycle = self._request()
        if cycle is not None and cycle.scope is self.scope:
            cast("dict[str, object]", cast("object", self.scope))[WRITE] = partial(_write_whole, cycle)


def _write_whole(cycle: RequestResponseCycle, head: bytes, body: bytes) -> bool:
    """Write a success as a whole: what uvicorn does with the two messages of a plain answer, which leaves the rest to it."""
    if cycle.response_started or not cycle.keep_alive or cycle.flow.write_paused:
        return False
    cycle.response_started = cycle.response_complete = True
    transport = cast("JoinedWrites", cast("object", cycle.transport))
    transport.write_at_once(
        b"".join((b"HTTP/1.1 200 OK\r\n", lines(cycle.default_headers), head, b"\r\n", body))
    )
    cycle.message_event.set()
    cycle.on_response()
    return True


class JoinedWrites:
    """A transport that keeps a first piece until a second comes, at most until the event loop turns."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._kept = b""

    def __getattr__(self, name: str) -> Any:
        """All else is the transport's own."""
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write, now or in a moment; nothing where the connection is gone, which uvloop would make an error of."""
        if self._transport.is_closing():
            return
        kept = self._kept
        if kept:
            self._kept = b""
            self._transport.write(kept + data)
        elif data:
            self._kept = data
            self._loop.call_soon(self.flush)

    def write_at_once(self, data: bytes) -> None:
        """Write what waits for nothing more."""
        if not self._transport.is_closing():
            self._transport.write(self._kept + data)
            self._kept = b""

    def flush(self) -> None:
        """Write what was kept."""
        kept = self._kept
        if kept:
            self._kept = b""
            if not self._transport.is_closing():
                self._transport.write(kept)

    def close(self) -> None:
        """Write what was kept, then close."""
        self.flush()
        self._transport.close()
