"""Takes paths apart while they are still percent-encoded, so that an id may hold a slash.

``scope["path"]`` as servers make it is decoded: ``a%2Fb`` and ``a/b`` look the same in it. The middleware puts the
encoded path in its place, routes match that, and each id is decoded on its own, once.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote_to_bytes

from vdb_core.domain import check_id, check_library_id
from vdb_server.errors import HttpProblem, bad_parameter

if TYPE_CHECKING:
    from starlette.types import Scope

__all__ = ["decode_chunk_id", "decode_document_id", "decode_library_id", "decode_segment", "encoded_path"]

_BAD_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_BAD_BYTE: Final = re.compile(rb"[^\x21-\x7e]")


def encoded_path(scope: Scope) -> str:
    """The path as it came, every segment encoded in one way.

    Raises:
        HttpProblem: 400 where an escape is broken, or what it encodes is not UTF-8.
    """
    raw: bytes | None = scope.get("raw_path")
    if raw is None:
        # Some ASGI callers leave it out; then no id can hold a slash, and nothing else is lost.
        return quote(scope["path"])
    raw = raw.partition(b"?")[0]
    if b"%" not in raw and not _BAD_BYTE.search(raw):
        return raw.decode("ascii")
    return "/".join(quote(decode_segment(segment), safe="") for segment in raw.split(b"/"))


def decode_segment(segment: bytes) -> str:
    """Decode one segment of a path; raises 400 where it cannot be."""
    if _BAD_ESCAPE.search(segment):
        raise HttpProblem.of(
            HTTPStatus.BAD_REQUEST,
            "malformed_path",
            f"The path has a % that is no escape, in {segment.decode('latin-1')!a}: write %25 for a percent sign.",
        )
    try:
        return unquote_to_bytes(segment).decode()
    except UnicodeDecodeError as error:
        raise HttpProblem.of(
            HTTPStatus.BAD_REQUEST,
            "malformed_path",
            f"The path is not percent-encoded UTF-8, in {segment.decode('latin-1')!a}: encode ids as UTF-8.",
        ) from error


def decode_library_id(segment: str) -> str:
    """Decode and check the id of a library."""
    value = decode_segment(segment.encode())
    for fault in check_library_id(value, "/library_id"):
        raise bad_parameter("path", "library_id", fault.detail)
    return value


def decode_document_id(segment: str) -> str:
    """Decode and check the id of a document."""
    value = decode_segment(segment.encode())
    for fault in check_id(value, "/document_id"):
        raise bad_parameter("path", "document_id", fault.detail)
    return value


def decode_chunk_id(segment: str) -> str:
    """Decode and check the id of a chunk."""
    value = decode_segment(segment.encode())
    for fault in check_id(value, "/chunk_id"):
        raise bad_parameter("path", "chunk_id", fault.detail)
    return value
