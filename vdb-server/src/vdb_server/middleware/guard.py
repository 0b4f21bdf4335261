"""Refuses requests that a foreign web page sends through somebody's browser.

DNS rebinding: a page's own name is made to resolve to this machine, so that the browser takes us for the page's
server. The ``Host`` header still has the page's name. Cross-site requests: ``Origin`` names the page.
"""

from __future__ import annotations

import ipaddress
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from vdb_server.errors import HttpProblem
from vdb_server.middleware.headers import header, headers_named
from vdb_server.settings import is_loopback

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from vdb_server.settings import Settings

__all__ = ["GuardMiddleware"]


class GuardMiddleware:
    """Checks ``Host`` and ``Origin``.

    Which hosts are fine without being listed: this machine's loopback names; where it listens on another address,
    that address, any IP address (rebinding needs a name), and any name at all where a key is needed (a page has none).
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._hosts = {host.lower() for host in settings.allowed_hosts} | {"localhost", settings.host.lower()}
        self._origins = settings.allowed_origins
        self._beyond_loopback = not is_loopback(settings.host)
        self._any_host = "*" in self._hosts or (
            self._beyond_loopback and settings.api_key is not None and not settings.allowed_hosts
        )
        self._seen: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is addressed to us by somebody who may."""
        if scope["type"] == "http":
            self.check(scope)
        await self._app(scope, receive, send)

    def check(self, scope: Scope) -> None:
        """Raise an ``HttpProblem`` for what a foreign page may have sent."""
        hosts = headers_named(scope, b"host")
        if len(hosts) != 1:
            raise HttpProblem.of(
                HTTPStatus.BAD_REQUEST,
                "malformed_host",
                f"A request has one Host header; received {len(hosts)}.",
            )
        if hosts[0] not in self._seen:
            self._check_host(hosts[0])
        origin = header(scope, b"origin")
        if origin is not None:
            self._check_origin(origin, hosts[0])

    def _check_host(self, host: str) -> None:
        if self._any_host:
            return
        name = _hostname(host)
        if name is not None and (name in self._hosts or self._is_safe_address(name)):
            if len(self._seen) < 64:
                # Spares the next requests the parsing; bounded, for the port may be anything.
                self._seen.add(host)
            return
        raise HttpProblem.of(
            HTTPStatus.FORBIDDEN,
            "host_not_allowed",
            f"Host {host!a} is not a name of this server. Use 127.0.0.1, or add the name to VDB_ALLOWED_HOSTS.",
        )

    def _is_safe_address(self, name: str) -> bool:
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return self._beyond_loopback or address.is_loopback

    def _check_origin(self, origin: str, host: str) -> None:
        if origin in self._origins or "*" in self._origins:
            return
        parts = urlsplit(origin)
        if parts.scheme in {"http", "https"} and parts.netloc.lower() == host.lower():
            return
        raise HttpProblem.of(
            HTTPStatus.FORBIDDEN,
            "origin_not_allowed",
            f"Pages of {origin!a} may not call this server. Add the origin to VDB_ALLOWED_ORIGINS to allow them.",
        )


def _hostname(host: str) -> str | None:
    """The name or address in a ``Host`` header, without its port; ``None`` where it is malformed."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return None
    if parts.netloc != host or "@" in host or parts.path:
        return None
    return parts.hostname
