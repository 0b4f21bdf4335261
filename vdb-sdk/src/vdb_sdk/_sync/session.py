# Written by vdb-sdk/scripts/unasync.py from _async/session.py: change that file, then run the script.
# fmt: off
# ruff: noqa: I001, UP028, RUF100
"""Sends requests with retries and reads the answers: all that lies between a client and its transport."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, TypeVar

from vdb_sdk import _responses
from vdb_sdk._request_parts import with_key
from vdb_sdk._responses import Raw, error_of, is_in_progress
from vdb_sdk._retry import parse_retry_after
from vdb_sdk._sleep import sleep
from vdb_sdk._transport import Repeat
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
        """Send until there is an answer that is no refusal to come back from; raise what stands against it.

        A write goes under one idempotency key however often it is sent, so that it is done once.
        """
        attempt, repeat = 0, request.repeat
        if request.writes and self.transport.loses_answers:
            request, repeat = with_key(request), Repeat.ALWAYS
        while True:
            try:
                response = self.transport.send(request, sink)
            except ConnectionFailed as error:
                delay = self.retry.after_failure(repeat, attempt, sent=error.sent)
                if delay is None:
                    raise
            else:
                if response.status < 300:
                    return response
                refused = error_of(request, response)
                asked = parse_retry_after(response.headers.get("retry-after"))
                # 429 stands for "the same request is still being answered" as well: its answer is worth waiting for.
                status = 429 if is_in_progress(refused) else response.status
                delay = self.retry.after_status(repeat, attempt, status, asked)
                if delay is None:
                    raise refused
            sleep(delay)
            attempt += 1
