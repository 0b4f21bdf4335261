"""``…/search`` and ``…/search/batch``: from bytes to the query service and back in as few steps as there are.

What a pydantic model on this path would cost is measured by ``scripts/measure_hot_path.py``.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Final

from fastapi import APIRouter, Request, Response

from vdb_core.errors import Fault, ValidationFailed
from vdb_core.persistence.npy import read_npy_bytes
from vdb_core.services import WouldBlock
from vdb_server.errors import HttpProblem, bad_parameter
from vdb_server.middleware.headers import header
from vdb_server.search.schemas import BatchAnswer, BatchQuery, SearchAnswerView, SearchQuery
from vdb_server.state import is_traced, metrics_of, services_of, settings_of, turns_of
from vdb_server.system.tracing import describe
from vdb_server.wire.calls import embedding, in_thread
from vdb_server.wire.describe import BINARY, body, json_content, problems
from vdb_server.wire.json_body import (
    PARSE_IN_THREAD_BYTES,
    check_json_type,
    in_thread_if_big,
    parse_object,
    read_body,
)
from vdb_server.wire.parameters import LibraryId, flag, names_of, parse_object_parameter, single_values
from vdb_server.wire.replies import JsonReply

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vdb_core.services import SearchAnswer, Services

__all__ = ["answer", "batch_answer", "router", "search", "search_batch"]

router = APIRouter(prefix="/v1/libraries/{library_id}", tags=["search"])

_MATRIX_OPTIONS: Final = frozenset({"k", "filter", "params", "include", "min_score", "explain"})


@router.post(
    "/search",
    response_model=SearchAnswerView,
    responses=problems(400, 404, 413, 415, 422, 503),
    openapi_extra=body(
        {
            "application/json": json_content(
                SearchQuery,
                nearest={"embedding": [0.1, 0.2, 0.3], "k": 2},
                filtered={
                    "embedding": [0.1, 0.2, 0.3],
                    "k": 5,
                    "filter": {"lang": "en", "page": {"$gte": 5}},
                    "include": ["text"],
                    "explain": True,
                },
            )
        }
    ),
)
async def search(request: Request, library_id: LibraryId) -> Response:
    """Find the nearest chunks."""
    check_json_type(header(request.scope, b"content-type"))
    single_values(request.scope["query_string"], frozenset())
    raw = await read_body(request)
    queries = services_of(request).queries
    parse = partial(parse_object, max_depth=settings_of(request).max_json_depth)
    try:
        if len(raw) >= PARSE_IN_THREAD_BYTES:
            raise WouldBlock("The query takes long to read.")
        found = queries.search_text(library_id, raw, parse, wait=False)
    except WouldBlock:
        query = await in_thread_if_big(raw, lambda: parse(raw))
        found = await (
            embedding(request, queries.search, library_id, query)
            if "text" in query
            else in_thread(queries.search, library_id, query)
        )
    metrics_of(request).searched(found)
    if is_traced(request):
        describe(found, library_id)
    return JsonReply(found.to_json())


def answer(
    services: Services,
    library_id: str,
    raw: bytes,
    *,
    content_type: str | None,
    query_string: bytes,
    max_depth: int,
) -> bytes:
    """Answer one query on the calling thread; waits where that is needed."""
    check_json_type(content_type)
    single_values(query_string, frozenset())
    parse = partial(parse_object, max_depth=max_depth)
    return services.queries.search_text(library_id, raw, parse).to_json()


def batch_answer(
    services: Services,
    library_id: str,
    raw: bytes,
    *,
    content_type: str | None,
    query_string: bytes,
    max_depth: int,
    embed: bool = True,
    seen: Callable[[Sequence[SearchAnswer]], None] | None = None,
) -> bytes:
    """Answer a batch of queries, whichever form it comes in; ``seen`` is called with the answers.

    Without ``embed`` raises ``WouldBlock`` of texts.
    """
    if content_type == "application/x-npy":
        answers = _matrix_answers(services, library_id, raw, query_string, max_depth)
    else:
        check_json_type(content_type)
        single_values(query_string, frozenset())
        given = parse_object(raw, max_depth=max_depth)
        faults = [Fault(f"/{name}", "unknown field; known: queries") for name in given if name != "queries"]
        if "queries" not in given:
            faults.append(Fault("/queries", "expected a list of queries; it is missing"))
        if faults:
            raise ValidationFailed.of(faults)
        answers = services.queries.search_batch(
            library_id,
            given["queries"],  # pyright: ignore[reportArgumentType] - the core checks what it is
            embed=embed,
        )
    if seen is not None:
        seen(answers)
    return b'{"results":[' + b",".join([answer.to_json() for answer in answers]) + b"]}"


def _matrix_answers(
    services: Services, library_id: str, raw: bytes, query_string: bytes, max_depth: int
) -> list[SearchAnswer]:
    options = single_values(query_string, _MATRIX_OPTIONS)
    matrix = read_npy_bytes(raw, allowed_dtypes={"float32", "float16"}, ndim=2)
    include = options.get("include")
    try:
        return services.queries.search_matrix(
            library_id,
            matrix,
            k=_whole_number("k", options.get("k", "10")),
            filter=parse_object_parameter("filter", options.get("filter"), max_depth=max_depth),
            params=parse_object_parameter("params", options.get("params"), max_depth=max_depth),
            include=("text", "metadata") if include is None else names_of([include]),
            min_score=_number("min_score", options.get("min_score")),
            explain=flag("explain", options.get("explain")),
        )
    except ValidationFailed as error:
        named = {fault.pointer.split("/")[1] for fault in error.faults if fault.pointer}
        if named and named <= _MATRIX_OPTIONS:
            raise HttpProblem.in_query(error) from error
        raise


def _whole_number(name: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise bad_parameter("query", name, f"expected a whole number; received {text!a}")
    return int(text)


def _number(name: str, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise bad_parameter("query", name, f"expected a number; received {text!a}")
    return value


@router.post(
    "/search/batch",
    response_model=BatchAnswer,
    responses=problems(400, 404, 413, 415, 422, 503),
    openapi_extra=body(
        {
            "application/json": json_content(
                BatchQuery,
                two={
                    "queries": [
                        {"embedding": [0.1, 0.2, 0.3], "k": 1},
                        {"embedding": [0.9, 0.1, 0.0], "k": 2},
                    ]
                },
            ),
            "application/x-npy": {"schema": {**BINARY, "description": "float32 or float16 `[q, dim]`."}},
        },
        query={
            "k": ({"type": "integer", "minimum": 1, "default": 10}, "Hits a query; for a matrix."),
            "filter": ({"type": "string"}, "A filter as JSON; for a matrix."),
            "params": ({"type": "string"}, "Search parameters as JSON; for a matrix."),
            "include": ({"type": "string", "default": "text,metadata"}, "Names, by commas; for a matrix."),
            "min_score": ({"type": "number"}, "Cuts off hits below; for a matrix."),
            "explain": ({"type": "boolean", "default": False}, "Adds how answers were found; for a matrix."),
        },
    ),
)
async def search_batch(request: Request, library_id: LibraryId) -> Response:
    """Answer many queries: JSON, each with options of its own, or a `.npy` matrix with `?k=` and so on for all."""
    raw = await read_body(request)
    answers = partial(
        batch_answer,
        services_of(request),
        library_id,
        raw,
        content_type=header(request.scope, b"content-type"),
        query_string=request.scope["query_string"],
        max_depth=settings_of(request).max_json_depth,
        seen=metrics_of(request).searched_batch,
    )
    with turns_of(request).short(wanted=services_of(request).queries.is_hurried()):
        try:
            content = await in_thread(answers, embed=False)
        except WouldBlock:
            content = await embedding(request, answers)
    return JsonReply(content)
