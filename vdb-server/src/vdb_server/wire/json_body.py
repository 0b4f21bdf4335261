"""Reads JSON bodies: fast where they are fine, exact about the place where they are not."""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar

import orjson
from starlette.requests import ClientDisconnect

from vdb_core.errors import Fault, ValidationFailed
from vdb_server.errors import HttpProblem
from vdb_server.state import settings_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

__all__ = [
    "PARSE_IN_THREAD_BYTES",
    "check_json_type",
    "in_thread_if_big",
    "parse_json",
    "parse_object",
    "read_body",
    "read_object",
    "read_optional_object",
]

PARSE_IN_THREAD_BYTES: Final = 256 << 10
"""Bodies from here on are parsed away from the event loop; parsing fewer bytes takes about a millisecond."""

T = TypeVar("T")

_CONTAINERS: Final = frozenset({dict, list})
_NUMBERS: Final = frozenset({int, float})
_JSON_TYPES: Final = frozenset({"application/json", "application/merge-patch+json"})


def check_json_type(content_type: str | None) -> None:
    """Refuse a body that says it is something other than JSON. Saying nothing is fine."""
    if content_type is None or content_type == "application/json":
        return
    media_type, *parameters = (part.strip().lower() for part in content_type.split(";"))
    charset = next((part[8:].strip('"') for part in parameters if part.startswith("charset=")), "utf-8")
    if media_type in _JSON_TYPES and charset in {"utf-8", "utf8", "us-ascii"}:
        return
    raise HttpProblem.of(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        "unsupported_media_type",
        f"The body is {content_type!r}; this route takes application/json in UTF-8. Set Content-Type to it.",
    )


def parse_json(raw: bytes, *, max_depth: int) -> object:
    """Parse a JSON text.

    A name that occurs twice in one object has its last value. Integers beyond 64 bits become floats.

    Raises:
        HttpProblem: 400 ``malformed_json`` with the position, where it is not JSON; NaN and Infinity are not.
        ValidationFailed: it is nested deeper than ``max_depth``, or a string has a lone surrogate.
    """
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        _explain(raw, error, max_depth)
    # Nothing is nested deeper than the text has brackets that open.
    if _opens_more_than(raw, max_depth) and _is_too_deep(value, max_depth):
        _refuse_depth(value, max_depth)
    return value


def parse_object(raw: bytes, *, max_depth: int) -> dict[str, object]:
    """Parse a JSON text that has to be an object; raises as ``parse_json``, and 422 for another value."""
    value = parse_json(raw, max_depth=max_depth)
    if isinstance(value, dict):
        return value
    raise ValidationFailed.at("", f"the body is a JSON object; received {_kind(value)}")


async def in_thread_if_big(raw: bytes, work: Callable[[], T]) -> T:
    """Do work whose cost grows with a body: right here where it is small, in a thread where it is big."""
    if len(raw) < PARSE_IN_THREAD_BYTES:
        return work()
    return await asyncio.to_thread(work)


async def read_body(request: Request) -> bytes:
    """Read a request's body; what came in one piece is not copied.

    Raises:
        ClientDisconnect: the client went away.
    """
    message = await request.receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        return message.get("body", b"")
    pieces: list[bytes] = []
    while message["type"] == "http.request":
        pieces.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(pieces)
        message = await request.receive()
    raise ClientDisconnect


async def read_object(request: Request) -> dict[str, object]:
    """Read a request's body as a JSON object."""
    check_json_type(request.headers.get("content-type"))
    raw = await request.body()
    max_depth = settings_of(request).max_json_depth
    return await in_thread_if_big(raw, lambda: parse_object(raw, max_depth=max_depth))


async def read_optional_object(request: Request) -> dict[str, object]:
    """Read a request's body as a JSON object; no body is ``{}``."""
    raw = await request.body()
    if raw:
        check_json_type(request.headers.get("content-type"))
    max_depth = settings_of(request).max_json_depth
    return await in_thread_if_big(raw, lambda: parse_object(raw, max_depth=max_depth) if raw else {})


def _opens_more_than(raw: bytes, brackets: int) -> bool:
    """Tell whether more brackets than that open.

    Looking for the next one passes over numbers 32 bytes at a time, where counting looks at each byte: a query of 384 numbers
    takes a microsecond instead of six.
    """
    left = brackets
    for bracket in (b"{", b"["):
        at = raw.find(bracket)
        while at >= 0:
            left -= 1
            if left < 0:
                return True
            at = raw.find(bracket, at + 1)
    return False


def _is_too_deep(value: object, max_depth: int) -> bool:
    """Tell whether a value is nested deeper than it may be; a microsecond for a query, level by level."""
    level: list[object] = [value]
    for _ in range(max_depth):
        below: list[object] = []
        for container in level:
            if type(container) is dict:
                below += [item for item in container.values() if type(item) in _CONTAINERS]
            # A list that begins with a number holds an embedding or plain values, or is refused as a whole by
            # whoever takes it: looking at each of its numbers would cost more than parsing them did.
            elif type(container) is list and container and type(container[0]) not in _NUMBERS:
                below += [item for item in container if type(item) in _CONTAINERS]
        if not below:
            return False
        level = below
    return True


def _refuse_depth(value: object, max_depth: int) -> NoReturn:
    """Say where a value is too deep: once more over what :func:`_is_too_deep` saw, with pointers this time."""
    level: list[tuple[str, object]] = [("", value)]
    for _ in range(max_depth):
        below: list[tuple[str, object]] = []
        for pointer, container in level:
            if isinstance(container, dict):
                below += [(f"{pointer}/{_token(key)}", item) for key, item in container.items()]
            elif isinstance(container, list) and container and type(container[0]) not in _NUMBERS:
                below += [(f"{pointer}/{position}", item) for position, item in enumerate(container)]
        level = [(pointer, item) for pointer, item in below if type(item) in _CONTAINERS]
    where = level[0][0] if level else ""
    raise ValidationFailed.at(
        where,
        f"JSON is nested at most {max_depth} deep (max_json_depth); this value is deeper: flatten the body",
    )


def _explain(raw: bytes, error: orjson.JSONDecodeError, max_depth: int) -> NoReturn:
    """Say what the fast parser stumbled over, with the slow one where that knows better."""
    try:
        text = raw.decode()
    except UnicodeDecodeError as undecodable:
        _malformed(f"it is not UTF-8 at byte {undecodable.start}", raw[: undecodable.start].decode())
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        _far_too_deep(max_depth)
    except _Constant as constant:
        _malformed(f"{constant} is not a JSON number; numbers are finite", None)
    except json.JSONDecodeError as malformed:
        _malformed(malformed.msg, text[: malformed.pos])
    except ValueError as other:
        _malformed(str(other), None)
    pointers = _surrogates(value)
    if pointers:
        raise ValidationFailed.of(
            [
                Fault(
                    pointer, "text has no lone surrogate, which UTF-8 cannot carry; send the whole character"
                )
                for pointer in pointers
            ]
        ) from error
    if _is_too_deep(value, max_depth):
        _far_too_deep(max_depth)
    _malformed(error.msg, text[: error.pos])


def _far_too_deep(max_depth: int) -> NoReturn:
    """Refuse what the fast parser itself gave up on; a pointer to it would be longer than it helps."""
    raise ValidationFailed.at(
        "", f"JSON is nested at most {max_depth} deep (max_json_depth); this body is far deeper: flatten it"
    )


class _Constant(ValueError):
    """The standard library's parser met NaN or an infinity."""


def _refuse_constant(name: str) -> NoReturn:
    raise _Constant(name)


def _malformed(reason: str, before: str | None) -> NoReturn:
    where = ""
    if before is not None:
        line = before.count("\n") + 1
        where = f" at line {line}, column {len(before) - (before.rfind(chr(10)) + 1) + 1} (character {len(before)})"
    raise HttpProblem.of(
        HTTPStatus.BAD_REQUEST,
        "malformed_json",
        f"The body is not JSON{where}: {reason}. Send one JSON value in UTF-8.",
        faults=[Fault("", reason)],
    )


def _surrogates(root: object) -> list[str]:
    """Pointers to every string that UTF-8 cannot carry, in the order of the body."""
    found: list[str] = []
    pending: list[tuple[str, object]] = [("", root)]
    while pending:
        pointer, value = pending.pop()
        if isinstance(value, str):
            if not _encodable(value):
                found.append(pointer)
        elif isinstance(value, list):
            pending += [(f"{pointer}/{position}", item) for position, item in enumerate(value)][::-1]
        elif isinstance(value, dict):
            found += [f"{pointer}/{_token(key)}" for key in value if not _encodable(key)]
            pending += [(f"{pointer}/{_token(key)}", item) for key, item in value.items()][::-1]
    return found


def _encodable(text: str) -> bool:
    try:
        _ = text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _token(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _kind(value: object) -> str:
    if value is None:
        return "null"
    names: dict[type, str] = {
        list: "an array",
        str: "a string",
        bool: "a boolean",
        int: "a number",
        float: "a number",
    }
    return names.get(type(value), type(value).__name__)
