"""``/v1/libraries``: create, list, read, change, delete."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from vdb_server.audit import audited_delete
from vdb_server.libraries.schemas import LibraryCreate, LibraryPage, LibraryPatch, LibraryView
from vdb_server.state import services_of
from vdb_server.wire.calls import in_thread
from vdb_server.wire.describe import body, json_content, problems
from vdb_server.wire.json_body import read_object
from vdb_server.wire.once import write, write_opening
from vdb_server.wire.parameters import (
    Cursor,
    IfMatch,
    LibraryId,
    Limit,
    listing,
    parse_if_match,
    strict_query,
)
from vdb_server.wire.replies import created, entity, page

__all__ = ["router"]

router = APIRouter(prefix="/v1/libraries", tags=["libraries"], dependencies=[strict_query])


@router.post(
    "",
    status_code=201,
    response_model=LibraryView,
    responses=problems(400, 409, 413, 415, 422, 503, 507),
    openapi_extra=body(
        {
            "application/json": json_content(
                LibraryCreate,
                create={
                    "id": "glossary",
                    "name": "Glossary",
                    "metric": "cosine",
                    "dimension": 3,
                    "metadata": {"owner": "docs"},
                },
            )
        }
    ),
)
async def create_library(request: Request) -> Response:
    """Create a library."""
    given = await read_object(request)
    # An embedder that is named is opened, which may take long.
    writing = write if given.get("embedder") is None else write_opening
    return await writing(
        request,
        [await request.body()],
        lambda library: created(library, "libraries", library.id),
        services_of(request).libraries.create,
        given,
    )


@router.get("", response_model=LibraryPage, responses=problems(422))
async def list_libraries(request: Request, limit: Limit = 100, cursor: Cursor = None) -> Response:
    """List libraries."""
    with listing():
        found = await in_thread(services_of(request).libraries.list, limit=limit, cursor=cursor)
    return page([library.to_json() for library in found.items], found.next_cursor)


@router.get("/{library_id}", response_model=LibraryView, responses=problems(404, 422))
async def get_library(request: Request, library_id: LibraryId) -> Response:
    """Read a library."""
    return entity(await in_thread(services_of(request).libraries.get, library_id))


@router.patch(
    "/{library_id}",
    response_model=LibraryView,
    responses=problems(400, 404, 412, 413, 415, 422, 503, 507),
    openapi_extra=body(
        {
            "application/json": json_content(
                LibraryPatch, rename={"name": "Glosses", "metadata": {"reviewed": True}}
            )
        }
    ),
)
async def patch_library(request: Request, library_id: LibraryId, if_match: IfMatch = None) -> Response:
    """Change a library's name, metadata or embedder."""
    expected = parse_if_match(if_match)
    patch = await read_object(request)
    libraries, raw = services_of(request).libraries, await request.body()
    writing = write if patch.get("embedder") is None else write_opening
    return await writing(request, [raw], entity, libraries.patch, library_id, patch, if_match=expected)


@router.delete("/{library_id}", status_code=204, responses=problems(404, 412, 422, 503, 507))
async def delete_library(request: Request, library_id: LibraryId, if_match: IfMatch = None) -> Response:
    """Delete a library and everything in it."""
    expected = parse_if_match(if_match)
    audited = audited_delete(request, services_of(request).libraries.delete, "library", library_id)
    return await write(
        request, [], lambda _: Response(status_code=204), audited, library_id, if_match=expected
    )
