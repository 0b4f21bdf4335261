"""The fast ways in: ``chunks/upsert`` (JSON) and ``chunks/bulk`` (a matrix and JSON Lines).

Bodies go from bytes to the core in as few steps as there are; no model stands between.
"""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING, Final

from fastapi import APIRouter, Request, Response
from orjson import JSONDecodeError, loads

from vdb_core.errors import Fault, ValidationFailed
from vdb_core.persistence.npy import read_npy_bytes
from vdb_server.chunks.multipart import FormReader, boundary_of
from vdb_server.chunks.schemas import BulkForm, ChunksUpsert, UpsertView
from vdb_server.errors import HttpProblem
from vdb_server.middleware.headers import header
from vdb_server.state import services_of, settings_of
from vdb_server.wire.describe import body, json_content, problems, schema_ref
from vdb_server.wire.embeddings import parse_rows
from vdb_server.wire.json_body import check_json_type, parse_object, read_body
from vdb_server.wire.once import write, write_texts
from vdb_server.wire.parameters import LibraryId, flag, single_values
from vdb_server.wire.replies import dump, result_reply

if TYPE_CHECKING:
    from concurrent.futures import Future

    from vdb_core.services import Services, UpsertResult

__all__ = ["bulk", "bulk_answer", "json_lines", "router", "upsert", "upsert_answer"]

router = APIRouter(prefix="/v1/libraries/{library_id}/chunks", tags=["chunks"])

_FIELDS: Final = ("chunks", "create_documents")
_LINES: Final = 256
"""Lines that are parsed in one go: no other thread runs meanwhile."""


def start_upsert(
    services: Services, library_id: str, raw: bytes, *, max_depth: int, embed: bool = True
) -> Future[UpsertResult]:
    """Parse the body of an upsert and hand its rows to the core."""
    given = parse_rows(raw, max_depth=max_depth)
    unknown = [
        Fault(f"/{name.replace('~', '~0').replace('/', '~1')}", f"unknown field; known: {', '.join(_FIELDS)}")
        for name in given
        if name not in _FIELDS
    ]
    if "chunks" not in given:
        unknown.append(Fault("/chunks", "expected a list of chunks; it is missing"))
    if unknown:
        raise ValidationFailed.of(unknown)
    return services.libraries.upsert_chunks(
        library_id,
        given["chunks"],  # pyright: ignore[reportArgumentType] - the core checks what it is
        create_documents=given.get("create_documents", False),
        embed=embed,
    )


def json_lines(data: bytes, pointer: str, *, max_depth: int) -> list[dict[str, object]]:
    """Parse JSON Lines of objects; a fault names the row. Blank lines are passed over."""
    rows: list[dict[str, object]] = []
    lines = data.split(b"\n")
    if not lines[-1]:
        del lines[-1]
    for begin in range(0, len(lines), _LINES):
        some = lines[begin : begin + _LINES]
        plain = _parse_plain(some, max_depth)
        if plain is not None:
            rows += plain
            continue
        for line in some:
            # A line that is fine is not worth a call that would find that out.
            if line.count(b"{") + line.count(b"[") <= max_depth:
                try:
                    value = loads(line)
                except JSONDecodeError:
                    value = None
                if type(value) is dict:
                    rows.append(value)
                    continue
            if not line or line.isspace():
                continue
            try:
                rows.append(parse_object(line, max_depth=max_depth))
            except ValidationFailed as error:
                where = f"{pointer}/{len(rows)}"
                faults = [Fault(f"{where}{fault.pointer}", fault.detail) for fault in error.faults]
                raise ValidationFailed.of(faults) from error
            except HttpProblem as problem:
                raise problem.within(f"{pointer}/{len(rows)}") from problem
    return rows


def _parse_plain(lines: list[bytes], max_depth: int) -> list[dict[str, object]] | None:
    """Parse lines in one go; none where not each of them is plainly an object by itself.

    Joined by a comma and a line break they are one array, in which such a place can only be between elements: in a string
    no line break may stand, in an object a name would have to follow and not the brace that each line begins with, and
    another list there is none. So where the array has as many elements as there are lines, each line is one.
    """
    text = b",\n".join(lines)
    if b"[" in text or not text.startswith(b"{") or text.count(b"\n{") != len(lines) - 1:
        return None
    if max(map(bytes.count, lines, repeat(b"{"))) > max_depth:
        return None
    try:
        rows: list[dict[str, object]] = loads(b"[%b]" % text)
    except JSONDecodeError:
        return None
    return rows if len(rows) == len(lines) else None


def start_bulk(
    services: Services,
    library_id: str,
    vectors: memoryview,
    chunks: memoryview,
    *,
    create_documents: bool,
    max_depth: int,
) -> Future[UpsertResult]:
    """Read both files of a bulk upload and hand them to the core."""
    matrix = read_npy_bytes(vectors, allowed_dtypes={"float32", "float16"}, ndim=2, pointer="/vectors")
    rows = json_lines(bytes(chunks), "/chunks", max_depth=max_depth)
    return services.libraries.upsert_chunks(
        library_id, rows, create_documents=create_documents, vectors=matrix, max_rows=None
    )


def upsert_answer(
    services: Services,
    library_id: str,
    raw: bytes,
    *,
    content_type: str | None,
    query_string: bytes,
    max_depth: int,
) -> bytes:
    """Carry out an upsert on the calling thread, until it is durable."""
    check_json_type(content_type)
    single_values(query_string, frozenset())
    return dump(start_upsert(services, library_id, raw, max_depth=max_depth).result().to_json())


def bulk_answer(
    services: Services,
    library_id: str,
    raw: bytes,
    *,
    content_type: str | None,
    query_string: bytes,
    max_depth: int,
) -> bytes:
    """Carry out a bulk upload on the calling thread, until it is durable."""
    create_documents = bulk_options(query_string)
    with FormReader(boundary_of(content_type), {"vectors", "chunks"}) as form:
        form.feed(raw)
        files = form.finish()
        future = start_bulk(
            services,
            library_id,
            files["vectors"],
            files["chunks"],
            create_documents=create_documents,
            max_depth=max_depth,
        )
        return dump(future.result().to_json())


def bulk_options(query_string: bytes) -> bool:
    """Read the query of a bulk upload: whether to create documents."""
    return flag("create_documents", single_values(query_string, {"create_documents"}).get("create_documents"))


@router.post(
    "/upsert",
    response_model=UpsertView,
    responses=problems(400, 404, 413, 415, 422, 503, 507),
    openapi_extra=body(
        {
            "application/json": json_content(
                ChunksUpsert,
                upsert={
                    "chunks": [
                        {
                            "id": "c-2",
                            "text": "One row.",
                            "embedding": [0.3, 0.2, 0.1],
                            "metadata": {"lang": "en"},
                        },
                        {
                            "id": "c-3",
                            "document_id": "book-2",
                            "text": "Une autre.",
                            "embedding": [0.2, 0.9, 0.1],
                            "metadata": {"lang": "fr", "page": 9},
                        },
                    ],
                    "create_documents": True,
                },
            )
        }
    ),
)
async def upsert(request: Request, library_id: LibraryId) -> Response:
    """Create or replace chunks, all of them or none."""
    check_json_type(header(request.scope, b"content-type"))
    single_values(request.scope["query_string"], frozenset())
    raw = await read_body(request)
    services, max_depth = services_of(request), settings_of(request).max_json_depth
    return await write_texts(
        request, [raw], result_reply, start_upsert, services, library_id, raw, max_depth=max_depth
    )


@router.post(
    "/bulk",
    response_model=UpsertView,
    responses=problems(400, 404, 413, 415, 422, 503, 507),
    openapi_extra=body(
        {"multipart/form-data": {"schema": schema_ref(BulkForm)}},
        query={
            "create_documents": (
                {"type": "boolean", "default": False},
                "Create documents that are named and unknown.",
            )
        },
    ),
)
async def bulk(request: Request, library_id: LibraryId) -> Response:
    """Create or replace any number of chunks from a matrix and JSON Lines, all of them or none."""
    create_documents = bulk_options(request.scope["query_string"])
    with FormReader(boundary_of(request.headers.get("content-type")), {"vectors", "chunks"}) as form:
        async for part in request.stream():
            form.feed(part)
        files = form.finish()
        # The parts, not the body around them: whoever makes a form anew makes up another boundary.
        return await write(
            request,
            [files["vectors"], files["chunks"]],
            result_reply,
            start_bulk,
            services_of(request),
            library_id,
            files["vectors"],
            files["chunks"],
            create_documents=create_documents,
            max_depth=settings_of(request).max_json_depth,
        )
