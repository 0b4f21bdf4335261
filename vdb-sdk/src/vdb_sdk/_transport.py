"""What a transport is: it carries one request to an engine and brings the answer back. It knows no endpoint.

Two exist: `vdb_sdk._http` (the only module that knows httpx) and `vdb_sdk._embedded` (an engine in this process).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["AsyncTransport", "Repeat", "Request", "Response", "Transport"]


class Repeat(enum.Enum):
    """When a request may be sent a second time that carries no idempotency key; one that does, always may."""

    ALWAYS = "always"
    """Twice does the same as once: reads, searches, upserts under explicit ids, deletes by id."""

    REFUSED = "refused"
    """Only after the server said that it did nothing (429, 503), or was never reached. A second create under the
    same id could otherwise answer 409 for what the first one made."""

    UNSENT = "unsent"
    """Only where the server was never reached: a create without an id would otherwise make two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request, ready to go."""

    method: str
    """HTTP method."""

    target: str
    """Percent-encoded path and query, as on the wire."""

    headers: Mapping[str, str] = field(default_factory=dict)
    """Lower-case names."""

    body: bytes = b""
    """What is sent."""

    source: Path | None = None
    """A file that is sent in place of ``body``."""

    repeat: Repeat = Repeat.ALWAYS
    """When it may be sent again."""

    patient: bool = False
    """Whether the answer may take as long as it takes, such as that to an import."""

    @property
    def writes(self) -> bool:
        """Whether it changes anything; searches are sent as ``POST`` and change nothing."""
        path = self.target.partition("?")[0]
        return self.method != "GET" and not path.endswith(("/search", "/search/batch"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One answer."""

    status: int
    """HTTP status."""

    headers: Mapping[str, str]
    """Lower-case names."""

    body: bytes
    """The content; empty where it went to a sink."""


class Transport(Protocol):
    """Carries requests; safe to use from several threads at once."""

    @property
    def name(self) -> str:
        """Where it leads, for people: a URL without secrets, a path, or ``memory``."""
        ...

    @property
    def loses_answers(self) -> bool:
        """Whether an answer can be lost on its way, so that nobody knows what became of a write."""
        ...

    def open(self) -> None:
        """Get ready; does nothing when it is. `send` opens by itself."""
        ...

    def send(self, request: Request, sink: BinaryIO | None = None) -> Response:
        """Send and wait for the answer. The body of a success goes to ``sink`` where one is given.

        Raises `ConnectionFailed`, `TimeoutExceeded` or `ClientClosed`; a refusal by the server is a `Response`.
        """
        ...

    def close(self) -> None:
        """Let go of everything; idempotent."""
        ...


class AsyncTransport(Protocol):
    """The same for asyncio; safe to use from several tasks of one event loop at once."""

    @property
    def name(self) -> str:
        """Where it leads, for people: a URL without secrets, a path, or ``memory``."""
        ...

    @property
    def loses_answers(self) -> bool:
        """Whether an answer can be lost on its way, so that nobody knows what became of a write."""
        ...

    async def open(self) -> None:
        """Get ready; does nothing when it is. `send` opens by itself."""
        ...

    async def send(self, request: Request, sink: BinaryIO | None = None) -> Response:
        """Send and wait for the answer; see `Transport.send`."""
        ...

    async def close(self) -> None:
        """Let go of everything; idempotent."""
        ...
