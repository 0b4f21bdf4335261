"""Sends requests with retries and reads the answers: all that lies between a client and its transport."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, TypeVar

from vdb_sdk import _responses
from vdb_sdk._responses import Raw, error_of
from vdb_sdk._retry import parse_retry_after
from vdb_sdk._sleep import async_sleep
from vdb_sdk.errors import ConnectionFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from vdb_sdk._retry import RetryPolicy
    from vdb_sdk._transport import AsyncTransport, Request, Response

__all__ = ["AsyncSession"]

Result = TypeVar("Result")


class AsyncSession:
    """A transport and the patience to use it."""

    def __init__(self, transport: AsyncTransport, retry: RetryPolicy) -> None:
        self.transport: AsyncTransport = transport
        self.retry: RetryPolicy = retry

    async def call(self, request: Request, reader: Callable[[Raw], Result]) -> Result:
        """Send, and read the answer with ``reader``."""
        return _responses.parse(await self.send(request), reader)

    async def send(self, request: Request, sink: BinaryIO | None = None) -> Response:
        """Send until there is an answer that is no refusal to come back from; raise what stands against it."""
        attempt = 0
        while True:
            try:
                response = await self.transport.send(request, sink)
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
            await async_sleep(delay)
            attempt += 1
