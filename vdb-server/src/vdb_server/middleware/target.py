"""Keeps the path of a request percent-encoded for those further in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vdb_server.wire.paths import encoded_path

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["TargetMiddleware"]


class TargetMiddleware:
    """Puts the encoded path in the place of the decoded one; see :mod:`vdb_server.wire.paths`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on with ``scope["path"]`` as it came over the wire."""
        if scope["type"] == "http":
            scope["path"] = encoded_path(scope)
        await self._app(scope, receive, send)
