"""Asks for an API key where one is set, before anything of the body is read."""

from __future__ import annotations

import hmac
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from vdb_server.audit import KEY_NAME
from vdb_server.errors import HttpProblem
from vdb_server.middleware.headers import header

if TYPE_CHECKING:
    from pydantic import SecretStr
    from starlette.types import ASGIApp, Receive, Scope, Send

    from vdb_server.settings import Settings

__all__ = ["AuthenticationMiddleware"]

_OPEN: Final = frozenset({"/healthz", "/readyz", "/docs", "/openapi.json"})
"""Paths without a key: probes have none, and the documentation is the same for everybody."""

_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class AuthenticationMiddleware:
    """``Authorization: Bearer KEY``; the read-only key may read, and searching is reading."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._key = _bytes(settings.api_key)
        self._read_only_key = _bytes(settings.read_only_api_key)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on requests with a key that suffices."""
        if scope["type"] == "http":
            self.check(scope)
        await self._app(scope, receive, send)

    def check(self, scope: Scope) -> None:
        """Raise an ``HttpProblem`` where a key is missing, unknown, or may not do this."""
        if not self._key or scope["path"] in _OPEN:
            return
        scheme, _, given = (header(scope, b"authorization") or "").partition(" ")
        key = given.strip().encode("latin-1") if scheme.lower() == "bearer" else b""
        # Both comparisons always run, and each takes the same time whatever the key is.
        writes = hmac.compare_digest(key, self._key)
        reads = hmac.compare_digest(key, self._read_only_key) and bool(self._read_only_key)
        if not writes and not reads:
            raise HttpProblem.of(
                HTTPStatus.UNAUTHORIZED,
                "unauthorized",
                "This server asks for a key: send Authorization: Bearer KEY with a valid one.",
                headers={"www-authenticate": 'Bearer realm="vdb"'},
            )
        scope[KEY_NAME] = "api_key" if writes else "read_only_api_key"
        if not writes and not _is_reading(scope):
            raise HttpProblem.of(
                HTTPStatus.FORBIDDEN,
                "forbidden",
                f"The key may only read, and {scope['method']} {scope['path']} writes: use the other key.",
            )


def _bytes(key: SecretStr | None) -> bytes:
    return b"" if key is None else key.get_secret_value().encode()


def _is_reading(scope: Scope) -> bool:
    if scope["method"] in _READING:
        return True
    path: str = scope["path"]
    if scope["method"] != "POST" or not path.startswith("/v1/libraries/"):
        return False
    return path.split("/")[4:] in (["search"], ["search", "batch"])
