# Written by vdb-sdk/scripts/unasync.py from _async/session.py: change that file, then run the script.
# fmt: off
# ruff: noqa: I001, UP028, RUF100
"""Sends requests with retries and reads the answers: all that lies between a client and its transport."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, TypeVar

from vdb_sdk import _responses
from vdb_sdk._responses import Raw, error_of
from vdb_sdk._retry import parse_retry_after
from vdb_sdk._sleep import sleep
from vdb_sdk.errors import ConnectionFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from vdb_sdk._retry import RetryPolicy
    from vdb_sdk._transport import Transport, Request, Response

__all__ = ["Session"]

Result = TypeVar("Result")


class Session:
    """A transport and the patience to use it."""

    def __init__(self, transport: Transport, retry: RetryPolicy) -> None:
        self.transport: Transport = transport
        self.retry: RetryPolicy = retry

    def call(self, request: Request, reader: Callable[[Raw], Result]) -> Result:
        """Send, and read the answer with ``reader``."""
        return _responses.parse(self.send(request), reader)

    def send(self, request: Request, sink: BinaryIO | None = None) -> Response:
        """Send until there is an answer that is no refusal to come back from; raise what stands against it."""
        attempt = 0
        while True:
            try:
                response = self.transport.send(request, sink)
            except ConnectionFailed as error:
                delay = self.retry.after_failure(request.repeat, attempt, sent=error.sent)
                if delay is None:
                    raise
            else:
                if response.status < 300:
                    return response
                asked = parse_retry_after(response.headers.get("retry-after"))
                delay = self.retry.after_status(request.repeat, attempt, response.status, asked)
                if delay is None:
                    raise error_of(request, response)
            sleep(delay)
            attempt += 1
