"""``/v1/libraries/{library_id}/chunks``: create, list, read, change, delete."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from vdb_server.audit import audited_delete
from vdb_server.chunks.schemas import ChunkPage, ChunkPatch, ChunkRow, ChunksDelete, ChunkView
from vdb_server.documents.schemas import DeletedView
from vdb_server.state import services_of, settings_of
from vdb_server.wire.calls import in_thread
from vdb_server.wire.describe import body, json_content, problems
from vdb_server.wire.json_body import read_object
from vdb_server.wire.once import write, write_texts
from vdb_server.wire.parameters import (
    ChunkId,
    Cursor,
    IfMatch,
    LibraryId,
    Limit,
    listing,
    names_of,
    parse_if_match,
    parse_object_parameter,
    strict_query,
)
from vdb_server.wire.replies import created, entity, page, result_reply

__all__ = ["router"]

router = APIRouter(prefix="/v1/libraries/{library_id}/chunks", tags=["chunks"], dependencies=[strict_query])


@router.post(
    "",
    status_code=201,
    response_model=ChunkView,
    responses=problems(400, 404, 409, 413, 415, 422, 503, 507),
    openapi_extra=body(
        {
            "application/json": json_content(
                ChunkRow,
                create={
                    "id": "c-1",
                    "document_id": "book-1",
                    "text": "A chunk is what a search finds.",
                    "embedding": [0.1, 0.2, 0.3],
                    "metadata": {"lang": "en", "page": 7},
                },
                anonymous={"text": "The server makes an id.", "embedding_b64": "AACAPwAAAAAAAAAA"},
            )
        }
    ),
)
async def create_chunk(request: Request, library_id: LibraryId) -> Response:
    """Create a chunk; 409 where its id is taken."""
    row = await read_object(request)
    return await write_texts(
        request,
        [await request.body()],
        lambda chunk: created(chunk, "libraries", library_id, "chunks", chunk.id),
        services_of(request).libraries.create_chunk,
        library_id,
        row,
    )


@router.get("", response_model=ChunkPage, responses=problems(404, 422))
async def list_chunks(
    request: Request,
    library_id: LibraryId,
    limit: Limit = 100,
    cursor: Cursor = None,
    document_id: Annotated[str | None, Query(description="Only chunks of this document.")] = None,
    filter: Annotated[  # noqa: A002 - the word of the REST contract
        str | None, Query(description='Only chunks that match this filter, as JSON: `{"lang":"en"}`.')
    ] = None,
    include: Annotated[
        list[str] | None,
        Query(description="`embedding` adds the numbers. Names are repeated or separated by commas."),
    ] = None,
) -> Response:
    """List the chunks of a library."""
    wanted = parse_object_parameter("filter", filter, max_depth=settings_of(request).max_json_depth)
    names = names_of(include)
    with listing():
        found = await in_thread(
            services_of(request).libraries.list_chunks,
            library_id,
            limit=limit,
            cursor=cursor,
            document_id=document_id,
            filter=wanted,
            include=names,
        )
    return page([chunk.to_json(embedding="embedding" in names) for chunk in found.items], found.next_cursor)


@router.post(
    "/delete",
    response_model=DeletedView,
    responses=problems(400, 404, 413, 415, 422, 503, 507),
    openapi_extra=body(
        {
            "application/json": json_content(
                ChunksDelete, ids={"ids": ["c-2", "unknown"]}, filter={"filter": {"lang": "fr"}}
            )
        }
    ),
)
async def delete_chunks(request: Request, library_id: LibraryId) -> Response:
    """Delete chunks by their ids or by a filter; an empty body or filter is refused."""
    wanted = await read_object(request)
    delete = services_of(request).libraries.delete_chunks
    audited = audited_delete(request, delete, "chunks", library_id, body=wanted)
    return await write(request, [await request.body()], result_reply, audited, library_id, wanted)


@router.get("/{chunk_id}", response_model=ChunkView, responses=problems(400, 404, 422))
async def get_chunk(request: Request, library_id: LibraryId, chunk_id: ChunkId) -> Response:
    """Read a chunk, with its embedding."""
    return entity(await in_thread(services_of(request).libraries.get_chunk, library_id, chunk_id))


@router.patch(
    "/{chunk_id}",
    response_model=ChunkView,
    responses=problems(400, 404, 412, 413, 415, 422, 503, 507),
    openapi_extra=body(
        {
            "application/json": json_content(
                ChunkPatch, change={"text": "Changed.", "metadata": {"page": None}}
            )
        }
    ),
)
async def patch_chunk(
    request: Request, library_id: LibraryId, chunk_id: ChunkId, if_match: IfMatch = None
) -> Response:
    """Change a chunk. Another text gets another embedding, where the library has an embedder."""
    expected = parse_if_match(if_match)
    patch = await read_object(request)
    libraries, raw = services_of(request).libraries, await request.body()
    return await write_texts(
        request, [raw], entity, libraries.patch_chunk, library_id, chunk_id, patch, if_match=expected
    )


@router.delete("/{chunk_id}", response_model=DeletedView, responses=problems(400, 404, 412, 422, 503, 507))
async def delete_chunk(
    request: Request, library_id: LibraryId, chunk_id: ChunkId, if_match: IfMatch = None
) -> Response:
    """Delete a chunk."""
    expected = parse_if_match(if_match)
    delete = services_of(request).libraries.delete_chunk
    audited = audited_delete(request, delete, "chunk", library_id, item=chunk_id)
    return await write(request, [], result_reply, audited, library_id, chunk_id, if_match=expected)
