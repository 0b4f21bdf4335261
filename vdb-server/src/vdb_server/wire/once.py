"""``Idempotency-Key``: a write that is sent again under its key is answered as the first time, and not done again.

The header is that of draft-ietf-httpapi-idempotency-key-header-07: a string in quotes; without them it is taken too.
A key belongs to one request: method, path, query, ``If-Match`` and body. Only successes are remembered: what was refused
has changed nothing, and is tried afresh.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from functools import partial
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

from fastapi import Response

from vdb_core.services import KeptAnswer, Once, WouldBlock
from vdb_server.errors import bad_parameter
from vdb_server.middleware.headers import header, headers_named
from vdb_server.state import services_of
from vdb_server.wire.calls import embedding, in_thread

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from concurrent.futures import Future

    from fastapi import Request
    from starlette.types import Scope

__all__ = ["REPLAYED", "idempotency_key", "started", "write", "write_opening", "write_texts"]

T = TypeVar("T")
P = ParamSpec("P")

REPLAYED: Final = "idempotent-replayed"
"""A header of answers that are those of before."""

_NAME: Final = b"idempotency-key"
_QUOTED: Final = re.compile(r'"((?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\]){1,255})"')
_BARE: Final = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]{1,255}")
_KEPT_HEADERS: Final = frozenset({"content-type", "etag", "location"})


def idempotency_key(scope: Scope) -> str | None:
    """Read the header; ``None`` where there is none.

    Raises:
        HttpProblem: 422 where it is there twice, or is no string of 1 to 255 printable ASCII characters.
    """
    given = headers_named(scope, _NAME)
    if not given:
        return None
    text = given[0].strip(" \t")
    quoted = _QUOTED.fullmatch(text)
    if len(given) == 1 and (quoted or _BARE.fullmatch(text)):
        return re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else text
    raise bad_parameter(
        "header",
        "Idempotency-Key",
        'expected one string of 1 to 255 printable ASCII characters in quotes, such as "8e03978e-40d5"; '
        f"received {', '.join(given)!a}",
    )


async def write(
    request: Request,
    body: Sequence[bytes | memoryview],
    reply: Callable[[T], Response],
    function: Callable[P, Future[T]],
    *args: P.args,
    **kwargs: P.kwargs,
) -> Response:
    """Carry out a write and answer it; under a key, once.

    Args:
        request: whose header may have a key.
        body: what tells the request from another one, beside its line and ``If-Match``.
        reply: makes the response of the result.
        function: starts the write, called with the rest.
    """
    return await _written(request, body, reply, partial(function, *args, **kwargs), in_thread)


async def write_texts(
    request: Request,
    body: Sequence[bytes | memoryview],
    reply: Callable[[T], Response],
    function: Callable[..., Future[T]],
    *args: object,
    **kwargs: object,
) -> Response:
    """As ``write``, of a function that takes ``embed``; texts are embedded in the threads that are for that."""
    try:
        return await _written(
            request, body, reply, partial(function, *args, embed=False, **kwargs), in_thread
        )
    except WouldBlock:
        return await write_opening(request, body, reply, function, *args, **kwargs)


async def write_opening(
    request: Request,
    body: Sequence[bytes | memoryview],
    reply: Callable[[T], Response],
    function: Callable[P, Future[T]],
    *args: P.args,
    **kwargs: P.kwargs,
) -> Response:
    """As ``write``, of a function that may open an embedder and embed with it: in the threads that are for that."""
    call = partial(function, *args, **kwargs)
    return await _written(request, body, reply, call, partial(embedding, request))


async def _written(
    request: Request,
    body: Sequence[bytes | memoryview],
    reply: Callable[[T], Response],
    call: Callable[[], Future[T]],
    run: Callable[[Callable[[], Future[T]]], Awaitable[Future[T]]],
) -> Response:
    """Carry out a write, which ``run`` starts in a thread."""
    key = idempotency_key(request.scope)
    if key is None:
        # A caller who goes away does not take the write back: it is in the queue.
        return reply(await asyncio.shield(asyncio.wrap_future(await run(call))))
    services = services_of(request)
    fingerprint = await asyncio.to_thread(_fingerprint, request.scope, body)
    kept = services.answers.begin(key, fingerprint)
    if kept is not None:
        return _replayed(kept)
    once = Once(key, fingerprint, lambda result: _kept(reply(result)))  # pyright: ignore[reportArgumentType] - of T
    # From here on a thread has it, whatever becomes of the request.
    started_write = run(partial(services.answers.follow, once, call))
    future = await asyncio.shield(asyncio.ensure_future(started_write))
    return reply(await asyncio.shield(asyncio.wrap_future(future)))


async def started(
    request: Request, body: Sequence[bytes | memoryview], answer: Callable[[], Awaitable[Response]]
) -> Response:
    """Start work that is no write, such as a job, and answer it; under a key, once as long as this process lives.

    A job does not outlive the process either: after a restart the same request starts it again.
    """
    key = idempotency_key(request.scope)
    if key is None:
        return await answer()
    answers = services_of(request).answers
    fingerprint = _fingerprint(request.scope, body)
    kept = answers.begin(key, fingerprint)
    if kept is not None:
        return _replayed(kept)
    try:
        response = await answer()
        once = Once(key, fingerprint, lambda _: _kept(response))
        answers.keep(once.remember(None), 0)
    finally:
        answers.end(key)
    return response


def _fingerprint(scope: Scope, body: Sequence[bytes | memoryview]) -> str:
    digest = hashlib.sha256()
    line = (scope["method"], scope["path"], scope["query_string"], header(scope, b"if-match"))
    digest.update(repr(line).encode())
    for part in body:
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return digest.hexdigest()[:32]


def _kept(response: Response) -> KeptAnswer:
    headers = {name: value for name, value in response.headers.items() if name in _KEPT_HEADERS}
    return KeptAnswer(status=response.status_code, headers=headers, body=bytes(response.body))


def _replayed(kept: KeptAnswer) -> Response:
    return Response(kept.body, kept.status, {**kept.headers, REPLAYED: "true"})
