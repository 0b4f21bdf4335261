"""Makes responses from what the services return."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, final
from urllib.parse import quote

import orjson
from starlette.responses import Response

from vdb_server.errors import PROBLEM_MEDIA_TYPE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from starlette.types import Receive, Scope, Send

    from vdb_server.errors import Problem

__all__ = [
    "REPLY",
    "WRITE",
    "JsonReply",
    "created",
    "dump",
    "entity",
    "json_response",
    "lines",
    "page",
    "path_of",
    "problem_response",
    "result_reply",
]

JSON: Final = "application/json"

WRITE: Final = "vdb.write"
"""Of a scope, where the server can: writes a success as a whole, ``(lines of the head, body) -> bool``. False where it
cannot just now, and the messages of ASGI have to do; those cost ten times as much."""

REPLY: Final = "vdb.reply"
"""Of a scope: the same for a ``JsonReply``, by the layer that adds the headers of all answers."""


class _Result(Protocol):
    def to_json(self) -> dict[str, object]: ...


class _Entity(Protocol):
    @property
    def revision(self) -> int: ...

    def to_json(self) -> dict[str, object]: ...


def dump(value: object) -> bytes:
    """Make JSON of plain values and NumPy arrays."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


@final
class JsonReply(Response):
    """A success of the hot routes: Starlette's answer without the steps that come out the same each time."""

    def __init__(self, content: bytes) -> None:  # pyright: ignore[reportMissingSuperCall] - it would do those steps
        self.status_code = 200
        self.background = None
        self.body = content
        self.raw_headers = [(b"content-length", b"%d" % len(content)), (b"content-type", b"application/json")]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        write = scope.get(REPLY)
        if write is None or not write(self):
            await super().__call__(scope, receive, send)


def lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Headers as they go over the wire."""
    return b"".join([b"%b: %b\r\n" % header for header in headers])


def json_response(value: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with JSON."""
    return Response(dump(value), status, headers, JSON)


def entity(value: _Entity, *, status: int = 200, location: str | None = None) -> Response:
    """Answer with an entity, its ``ETag`` and, where it is new, its ``Location``."""
    headers = {"etag": f'"{value.revision}"'}
    if location is not None:
        headers["location"] = location
    return json_response(value.to_json(), status=status, headers=headers)


def result_reply(value: _Result) -> Response:
    """Answer with what a write of many rows did."""
    return JsonReply(dump(value.to_json()))


def created(value: _Entity, *path: str) -> Response:
    """Answer 201 with a new entity that can be found under ``/v1`` at these path segments."""
    return entity(value, status=201, location=path_of(*path))


def page(items: Sequence[object], next_cursor: str | None) -> Response:
    """Answer with one page of a list."""
    return json_response({"items": items, "next_cursor": next_cursor})


def path_of(*segments: str) -> str:
    """Make a path under ``/v1``; each segment is percent-encoded as a whole, slashes included."""
    return "/v1/" + "/".join(quote(segment, safe="") for segment in segments)


def problem_response(problem: Problem) -> Response:
    """Answer with a problem document."""
    return Response(problem.to_bytes(), int(problem.status), problem.headers, PROBLEM_MEDIA_TYPE)
