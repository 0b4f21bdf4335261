"""The outermost layer: gives each request an id, turns errors into problems, counts, and writes the log."""

from __future__ import annotations

import logging
import os
import re
import time
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.requests import ClientDisconnect

from vdb_core.errors import StorageFull, VdbError
from vdb_core.persistence.durable import is_full
from vdb_server.errors import HttpProblem, internal_error, problem_of
from vdb_server.logging import REQUEST_ID, get_logger
from vdb_server.middleware.headers import header
from vdb_server.wire.replies import REPLY, WRITE, lines, problem_response

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from vdb_server.errors import Problem
    from vdb_server.system.metrics import Metrics
    from vdb_server.wire.replies import JsonReply

__all__ = ["ObserveMiddleware"]

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SECURITY_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cache-control", b"no-store"),
)
_NO_CONTENT_POLICY: Final = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
_LINES: Final = lines((*_SECURITY_HEADERS, _NO_CONTENT_POLICY))
_OPERATORS_FAULT: Final = 500
_LOGGER: Final = "vdb_server.requests"


class ObserveMiddleware:
    """Sees the request first and the response last."""

    def __init__(
        self, app: ASGIApp, metrics: Metrics, *, hide: Callable[[str], str], whole: bool = False
    ) -> None:
        """Set up.

        Args:
            app: what is further in.
            metrics: where requests are counted.
            hide: takes out of the texts of operators' errors what callers need not know.
            whole: no layer further in changes answers, so that one may be written as a whole where the server can.
        """
        self._app = app
        self._whole = whole
        self._metrics = metrics
        self._hide = hide
        self._log = get_logger(_LOGGER)
        # Asked before a record is put together: that would cost as much as the rest of this layer.
        self._requests = logging.getLogger(_LOGGER)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer every request, whatever happens further in."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        asked = header(scope, b"x-request-id")
        request_id = asked if asked is not None and _REQUEST_ID.fullmatch(asked) else os.urandom(8).hex()
        REQUEST_ID.set(request_id)
        method: str = scope["method"]
        head = method == "HEAD"
        # Everything that can be got can be asked for its head; the server's own scope stays as it is.
        inner = {**scope, "method": "GET"} if head else scope
        status = 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [
                    *message.get("headers", ()),
                    (b"x-request-id", request_id.encode()),
                    *_SECURITY_HEADERS,
                ]
                if inner["path"] != "/docs":
                    headers.append(_NO_CONTENT_POLICY)
                message = {**message, "headers": headers}
            elif head:
                message = {**message, "body": b""}
            await send(message)

        write_whole = scope.get(WRITE) if self._whole else None
        if write_whole is not None:

            def write(reply: JsonReply) -> bool:
                nonlocal status
                own = lines((*reply.raw_headers, (b"x-request-id", request_id.encode())))
                if not write_whole(own + _LINES, reply.body):
                    return False
                status = reply.status_code
                return True

            inner[REPLY] = write
        try:
            await self._app(inner, receive, sending)
        except ClientDisconnect:
            # Nobody is left to answer; what was being read is dropped.
            status = status or 499
        except Exception as error:
            problem = self._problem(error, request_id, method, inner)
            if status:
                # Half an answer is on its way. Ending the connection is the only way left to say that it failed.
                raise
            await problem_response(problem)(inner, receive, sending)
        finally:
            seconds = time.perf_counter() - started
            template = _template(inner)
            self._metrics.observe(method, template, status, seconds)
            if self._requests.isEnabledFor(logging.DEBUG):
                self._log.debug(
                    "request",
                    method=method,
                    route=template,
                    status=status,
                    ms=round(seconds * 1e3, 3),
                )

    def _problem(self, error: Exception, request_id: str, method: str, scope: Scope) -> Problem:
        if isinstance(error, HttpProblem):
            return error.problem
        if isinstance(error, VdbError):
            problem = problem_of(error)
            if problem.status >= _OPERATORS_FAULT:
                # A full queue empties by itself; what else is here waits for somebody.
                busy = problem.status == HTTPStatus.SERVICE_UNAVAILABLE
                self._log.log(
                    logging.WARNING if busy else logging.ERROR,
                    "request failed",
                    code=problem.code,
                    detail=problem.detail,
                    method=method,
                    route=_template(scope),
                    exc_info=problem.status == HTTPStatus.INTERNAL_SERVER_ERROR,
                )
                problem = replace(problem, detail=self._hide(problem.detail))
            return problem
        if isinstance(error, OSError) and is_full(error):
            error = StorageFull(
                f"No room for the body of the request: {error.strerror}. Free some space in TMPDIR."
            )
            return self._problem(error, request_id, method, scope)
        self._log.error("unexpected error", method=method, route=_template(scope), exc_info=error)
        return internal_error(request_id)


def _template(scope: Scope) -> str:
    """The route's template, never the path itself: ids must not become labels of metrics."""
    hot: str | None = scope.get("vdb.route")
    if hot is not None:
        return hot
    route = scope.get("route")
    return getattr(route, "path_format", None) or "unmatched"
