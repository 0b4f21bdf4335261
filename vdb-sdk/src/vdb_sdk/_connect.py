"""From what the caller names to the client that leads there: nothing, a path, or a URL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from vdb_sdk._async.client import AsyncClient
from vdb_sdk._embedded import AsyncEmbeddedTransport, EmbeddedTransport
from vdb_sdk._sync.client import Client
from vdb_sdk.errors import InvalidArgument

if TYPE_CHECKING:
    from vdb_sdk._retry import RetryPolicy

__all__ = ["connect", "connect_async"]

DEFAULT_TIMEOUT_S: Final = 60.0


def connect(
    target: str | Path | None = None,
    *,
    api_key: str | None = None,
    timeout: float | None = DEFAULT_TIMEOUT_S,
    retries: int | RetryPolicy = 3,
) -> Client:
    """Open a client. Its methods are the same wherever the engine is.

    Args:
        target: Nothing: an engine in this process, in memory, gone when it is closed. A path: an engine in this
            process that keeps its data in that directory. An ``http://`` or ``https://`` URL: a server.
        api_key: The server's key; it is sent to that server alone and never shown.
        timeout: Seconds that a server may take to answer; ``None`` = no limit. An import and an export may take as
            long as they do. (A call into this process waits for no network and has no limit.)
        retries: How often to try again where the server cannot be reached or says "not now"; or a `RetryPolicy`.
            Only what does no harm when it arrives twice is sent twice.

    Raises:
        InvalidArgument: Neither a path nor a URL.
        EmbeddedUnavailable: No URL, and no engine is installed here.
        EmbeddedFailed: The directory cannot be opened, for example because another process has it.

    Examples:
        >>> import vdb_sdk
        >>> with vdb_sdk.connect() as client:
        ...     words = client.create_library("Words")
        ...     result = words.upsert([{"id": "a", "embedding": [3.0, 4.0], "text": "alpha"}])
        ...     [(hit.id, hit.text, round(hit.score, 3)) for hit in words.search([3.0, 4.0])]
        [('a', 'alpha', 1.0)]
    """
    place = _place(target, api_key)
    if isinstance(place, str):
        from vdb_sdk._http import HttpTransport

        return Client(HttpTransport(place, api_key=api_key, timeout=timeout), retries=retries)
    transport = EmbeddedTransport(place)
    client = Client(transport, retries=retries)
    transport.open()
    return client


def connect_async(
    target: str | Path | None = None,
    *,
    api_key: str | None = None,
    timeout: float | None = DEFAULT_TIMEOUT_S,
    retries: int | RetryPolicy = 3,
) -> AsyncClient:
    """Make a client for asyncio; the arguments are those of `connect`.

    An engine in this process opens at the first call, or on entering ``async with``, in a thread.
    """
    place = _place(target, api_key)
    if isinstance(place, str):
        from vdb_sdk._http import AsyncHttpTransport

        return AsyncClient(AsyncHttpTransport(place, api_key=api_key, timeout=timeout), retries=retries)
    return AsyncClient(AsyncEmbeddedTransport(place), retries=retries)


def _place(target: object, api_key: str | None) -> str | Path | None:
    """A URL as text, a directory as a path, or nothing."""
    if isinstance(target, str) and "://" in target:
        scheme = urlsplit(target).scheme
        if scheme not in {"http", "https"}:
            msg = f"connect: expected an http:// or https:// URL or a path, received the scheme {scheme!r}."
            raise InvalidArgument(msg)
        return target
    if api_key is not None:
        msg = "connect: api_key is for a server, and no URL was given. An engine in this process asks for no key."
        raise InvalidArgument(msg)
    if target is None:
        return None
    if not isinstance(target, (str, Path)):
        msg = f"connect: expected nothing, a path or a URL, received {type(target).__name__}."
        raise InvalidArgument(msg)
    if not str(target):
        msg = "connect: expected a path or a URL, received an empty string. For an engine in memory, give nothing."
        raise InvalidArgument(msg)
    return Path(target)
