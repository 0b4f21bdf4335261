"""Bounds the size of request bodies: the declared size at once, the actual one while it arrives."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from vdb_server.errors import HttpProblem
from vdb_server.middleware.headers import header

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from vdb_server.settings import Settings

__all__ = ["BodyLimitMiddleware"]


class BodyLimitMiddleware:
    """Answers 413 to bodies beyond ``max_body_bytes``; the two bulk routes have ``max_bulk_body_bytes``."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._limit = settings.max_body_bytes
        self._bulk_limit = settings.max_bulk_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on with a ``receive`` that counts."""
        if scope["type"] == "http":
            receive = self.check(scope, receive)
        await self._app(scope, receive, send)

    def check(self, scope: Scope, receive: Receive) -> Receive:
        """Raise an ``HttpProblem`` for a body that is announced too large; returns a ``receive`` that raises later."""
        bulk = _is_bulk(scope["path"])
        limit = self._bulk_limit if bulk else self._limit
        name = "max_bulk_body_bytes" if bulk else "max_body_bytes"
        declared = header(scope, b"content-length")
        if declared is not None and declared.isascii() and declared.isdigit():
            # The server hands over exactly as many bytes as were declared: nothing is left to count.
            if int(declared) > limit:
                raise _too_large(name, limit, f"{declared} bytes were announced")
            return receive
        received = 0

        async def counting() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > limit:
                    raise _too_large(name, limit, "more than that arrived")
            return message

        return counting


def _is_bulk(path: str) -> bool:
    return path.endswith("/chunks/bulk") or path == "/v1/libraries/import"


def _too_large(name: str, limit: int, what: str) -> HttpProblem:
    return HttpProblem.of(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "body_too_large",
        f"A body here has at most {limit:,} bytes ({name}); {what}. Send it in parts, or raise the limit in the settings.",
        # What is still on its way is not wanted: the connection ends here.
        headers={"connection": "close"},
    )
