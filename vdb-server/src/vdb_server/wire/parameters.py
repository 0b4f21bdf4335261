"""The parameters of paths, queries and headers: declared once, for FastAPI to read and to document."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Final
from urllib.parse import parse_qsl

from fastapi import Depends, Header, Path, Query, Request
from pydantic import AfterValidator

from vdb_core.errors import RevisionMismatch, ValidationFailed
from vdb_server.errors import HttpProblem, bad_parameter
from vdb_server.wire.json_body import parse_object
from vdb_server.wire.models import ID_SCHEMA, LIBRARY_ID_PATTERN, Absent
from vdb_server.wire.paths import decode_chunk_id, decode_document_id, decode_library_id, decode_segment

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from collections.abc import Set as AbstractSet

    from fastapi.routing import APIRoute

__all__ = [
    "ChunkId",
    "Cursor",
    "DocumentId",
    "IfMatch",
    "JobId",
    "LibraryId",
    "Limit",
    "flag",
    "listing",
    "names_of",
    "parse_if_match",
    "parse_object_parameter",
    "single_values",
    "strict_query",
]

LibraryId = Annotated[
    str,
    Path(
        description="Id of the library.",
        examples=["glossary"],
        json_schema_extra={"pattern": LIBRARY_ID_PATTERN},
    ),
    AfterValidator(decode_library_id),
]
DocumentId = Annotated[
    str,
    Path(
        description="Id of the document; a slash is `%2F`.", examples=["book-1"], json_schema_extra=ID_SCHEMA
    ),
    AfterValidator(decode_document_id),
]
ChunkId = Annotated[
    str,
    Path(description="Id of the chunk; a slash is `%2F`.", examples=["c-1"], json_schema_extra=ID_SCHEMA),
    AfterValidator(decode_chunk_id),
]
JobId = Annotated[
    str, Path(description="Id of the job."), AfterValidator(lambda segment: decode_segment(segment.encode()))
]
Limit = Annotated[int, Query(ge=1, le=1000, description="Most items of the page.")]
Cursor = Annotated[
    str | Absent, Query(description="`next_cursor` of the page before; leave it out for the first page.")
]
IfMatch = Annotated[
    str | Absent,
    Header(
        description='Change it only while its `ETag` is this one, as `"7"`; `*` = whatever it is.',
        examples=["*"],
        json_schema_extra={"pattern": r'^("[0-9]{1,18}"|\*)$'},
    ),
]

_ENTITY_TAG: Final = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_REVISION: Final = re.compile(r"[0-9]{1,18}")


def parse_if_match(header: str | None) -> int | None:
    """Read ``If-Match``: the revision that it names, or ``None`` for any.

    Raises:
        HttpProblem: 422 where it is not a list of entity tags or names several revisions.
        RevisionMismatch: it names nothing that a revision could be.
    """
    if header is None or header.strip() == "*":
        return None
    strong: list[str] = []
    for part in header.split(","):
        tag = _ENTITY_TAG.fullmatch(part.strip())
        if tag is None:
            raise bad_parameter(
                "header", "If-Match", f'an entity tag is written as "7", with quotes; received {header!a}'
            )
        if tag[1] is None:
            strong.append(tag[2])
    revisions = {int(tag) for tag in strong if _REVISION.fullmatch(tag)}
    if len(revisions) > 1:
        raise bad_parameter(
            "header", "If-Match", "one revision can be asked for, or * for any; send a single entity tag"
        )
    if not revisions:
        # RFC 9110, section 13.1.1: the comparison is strong, so a weak tag never matches.
        raise RevisionMismatch(
            f"If-Match is {header}, and no revision looks like that; use the ETag of the entity."
        )
    return revisions.pop()


def parse_object_parameter(name: str, text: str | None, *, max_depth: int) -> dict[str, object] | None:
    """Read a query parameter that is a JSON object, such as ``filter``; ``None`` where it is not given."""
    if text is None:
        return None
    try:
        return parse_object(text.encode("utf-8", "surrogatepass"), max_depth=max_depth)
    except HttpProblem as problem:
        raise bad_parameter("query", name, f"expected a JSON object: {problem.problem.detail}") from problem
    except ValidationFailed as error:
        raise bad_parameter("query", name, f"expected a JSON object: {error}") from error


def names_of(values: Sequence[str] | None) -> list[str]:
    """Read a query parameter that is a list of names: repeated, separated by commas, or both."""
    return [name.strip() for value in values or () for name in value.split(",") if name.strip()]


def single_values(query_string: bytes, known: AbstractSet[str]) -> dict[str, str]:
    """Read the query of a route that does without FastAPI: known parameters, each at most once.

    Raises:
        HttpProblem: 422 where a parameter is unknown or repeated.
    """
    if not query_string:
        return {}
    values: dict[str, str] = {}
    for name, value in parse_qsl(query_string.decode("latin-1"), keep_blank_values=True):
        if name not in known:
            raise _unknown(name, known)
        if name in values:
            raise bad_parameter("query", name, "expected once; it is there twice")
        values[name] = value
    return values


def flag(name: str, text: str | None) -> bool:
    """Read a query parameter that is true or false; false where it is not given."""
    if text is None or text in {"false", "0"}:
        return False
    if text in {"true", "1"}:
        return True
    raise bad_parameter("query", name, f"expected true or false; received {text!a}")


def _unknown(name: str, known: AbstractSet[str]) -> HttpProblem:
    takes = f"this route takes {', '.join(sorted(known))}" if known else "this route takes none"
    return bad_parameter("query", name, f"there is no such parameter; {takes}")


@contextmanager
def listing() -> Generator[None]:
    """Say of faults within that they point into the query of the URL, not into a body."""
    try:
        yield
    except ValidationFailed as error:
        raise HttpProblem.in_query(error) from error


async def _refuse_unknown_query(request: Request) -> None:
    # A coroutine although it waits for nothing: FastAPI takes a plain function to a thread of its own.
    if not request.scope["query_string"]:
        return
    route: APIRoute = request.scope["route"]
    known = {parameter.alias for parameter in route.dependant.query_params}
    for name in request.query_params:
        if name not in known:
            raise _unknown(name, known)


strict_query: Final = Depends(_refuse_unknown_query)
"""Dependency of every router: nothing that a caller asks for is ignored silently."""
