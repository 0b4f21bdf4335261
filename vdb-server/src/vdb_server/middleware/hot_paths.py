"""The short way of the hot routes: the same checks in the same order as the layers make them, without the layers.

Each layer of an application costs a call, a coroutine and a look at the scope, and what FastAPI and Starlette put around
our own costs as much again: together more than a search over few rows. The endpoints are the very functions that FastAPI
documents; without this way everything works the same, slower.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

from starlette.requests import Request

from vdb_server.middleware.authentication import AuthenticationMiddleware
from vdb_server.middleware.body_limit import BodyLimitMiddleware
from vdb_server.middleware.guard import GuardMiddleware
from vdb_server.middleware.headers import header
from vdb_server.middleware.observe import ObserveMiddleware
from vdb_server.wire.paths import decode_library_id, encoded_path

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send

    from vdb_server.settings import Settings
    from vdb_server.system.metrics import Metrics

    Endpoint = Callable[[Request, str], Awaitable[Response]]

__all__ = ["ShortWay"]

_PREFIX: Final = b"/v1/libraries/"
_MOST: Final = 1_000
"""So many paths are known by heart; when there are more, all are forgotten."""


@final
@dataclass(slots=True, kw_only=True)
class _Target:
    """What a path leads to."""

    endpoint: Endpoint
    route: str
    library_id: str
    path: str


class ShortWay:
    """Answers ``POST /v1/libraries/{library_id}/TAIL`` for the tails it is given."""

    def __init__(
        self,
        endpoints: Mapping[str, Endpoint],
        settings: Settings,
        metrics: Metrics,
        *,
        hide: Callable[[str], str],
        trusted: bool,
    ) -> None:
        """Set up the checks.

        Args:
            endpoints: what answers, by tail.
            settings: whose keys, hosts and limits hold.
            metrics: where requests are counted.
            hide: takes out of the texts of operators' errors what callers need not know.
            trusted: every caller is this very process: no key is asked for, ``Host`` and ``Origin`` are not looked at.
        """
        self._targets: dict[bytes, _Target] = {}
        self._endpoints = {
            tail.encode(): (endpoint, f"/v1/libraries/{{library_id}}/{tail}")
            for tail, endpoint in endpoints.items()
        }
        self._observed = ObserveMiddleware(self._checked, metrics, hide=hide, whole=True)
        self._limit = BodyLimitMiddleware(self._answer, settings)
        self._guard = None if trusted else GuardMiddleware(self._answer, settings)
        self._authentication = None if trusted else AuthenticationMiddleware(self._answer, settings)
        # Where pages of other origins are let in, their answers carry headers that a layer adds.
        self._by_origin = bool(settings.allowed_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that ``takes`` said yes to."""
        await self._observed(scope, receive, send)

    def takes(self, scope: Scope) -> bool:
        """Whether a request goes this way: all that is not plain goes the other."""
        if scope["type"] != "http" or scope["method"] != "POST":
            return False
        raw: bytes | None = scope.get("raw_path")
        if raw not in self._targets:
            if raw is None or not raw.startswith(_PREFIX) or b"%" in raw:
                return False
            library_id, _, tail = raw[len(_PREFIX) :].partition(b"/")
            if not library_id or tail not in self._endpoints:
                return False
        return not (self._by_origin and header(scope, b"origin") is not None)

    async def _checked(self, scope: Scope, receive: Receive, send: Send) -> None:
        known = self._targets.get(scope["raw_path"])
        scope["path"] = encoded_path(scope) if known is None else known.path
        if self._guard is not None:
            self._guard.check(scope)
        if self._authentication is not None:
            self._authentication.check(scope)
        await self._answer(scope, self._limit.check(scope, receive), send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        target = self._targets.get(scope["raw_path"]) or self._target(scope)
        scope["vdb.route"] = target.route
        response = await target.endpoint(Request(scope, receive, send), target.library_id)
        await response(scope, receive, send)

    def _target(self, scope: Scope) -> _Target:
        raw: bytes = scope["raw_path"]
        library_id, _, tail = raw[len(_PREFIX) :].partition(b"/")
        endpoint, scope["vdb.route"] = self._endpoints[tail]
        target = _Target(
            endpoint=endpoint,
            route=scope["vdb.route"],
            library_id=decode_library_id(library_id.decode("latin-1")),
            path=scope["path"],
        )
        if len(self._targets) >= _MOST:
            self._targets.clear()
        self._targets[raw] = target
        return target
