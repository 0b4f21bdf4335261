"""Hands the hot routes to their endpoints past FastAPI's routing, which costs more than a search over few rows.

The endpoints are the very functions that FastAPI documents; without this layer everything works the same, slower.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.requests import Request

from vdb_server.wire.paths import decode_library_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

    Endpoint = Callable[[Request, str], Awaitable[Response]]

__all__ = ["HotPathsMiddleware"]

_PREFIX: Final = "/v1/libraries/"


class HotPathsMiddleware:
    """Routes ``POST /v1/libraries/{library_id}/TAIL`` for the tails it is given."""

    def __init__(self, app: ASGIApp, endpoints: Mapping[str, Endpoint]) -> None:
        self._app = app
        self._endpoints = {
            tail: (endpoint, f"{_PREFIX}{{library_id}}/{tail}") for tail, endpoint in endpoints.items()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"].startswith(_PREFIX):
            library_id, _, tail = scope["path"][len(_PREFIX) :].partition("/")
            hot = self._endpoints.get(tail)
            if hot is not None and library_id:
                endpoint, scope["vdb.route"] = hot
                response = await endpoint(Request(scope, receive, send), decode_library_id(library_id))
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)
