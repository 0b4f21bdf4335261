"""Sends the head of an answer together with its body: one system call, and one packet, in place of two each.

ASGI has two messages for an answer, and uvicorn writes each to the socket as it comes. On one machine a write to a
socket is among the most expensive things that happen to a cheap query.
"""

from __future__ import annotations

import asyncio
from typing import Any, final

from vdb_server.cli.patience import PatientProtocol

__all__ = ["JoinedWrites", "Protocol"]


@final
class Protocol(PatientProtocol):
    """uvicorn's protocol over a transport that waits a moment for what follows."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin with a connection."""
        super().connection_made(JoinedWrites(transport, asyncio.get_running_loop()))  # pyright: ignore[reportArgumentType]


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
