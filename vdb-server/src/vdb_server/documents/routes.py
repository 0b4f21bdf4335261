"""``/v1/libraries/{library_id}/documents``: create, list, read, change, delete."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from vdb_server.audit import audited_delete
from vdb_server.documents.schemas import (
    DeletedView,
    DocumentCreate,
    DocumentPage,
    DocumentPatch,
    DocumentView,
)
from vdb_server.state import services_of
from vdb_server.wire.calls import in_thread
from vdb_server.wire.describe import body, json_content, problems
from vdb_server.wire.json_body import read_object
from vdb_server.wire.once import write
from vdb_server.wire.parameters import (
    Cursor,
    DocumentId,
    IfMatch,
    LibraryId,
    Limit,
    listing,
    parse_if_match,
    strict_query,
)
from vdb_server.wire.replies import created, entity, page, result_reply

__all__ = ["router"]

router = APIRouter(
    prefix="/v1/libraries/{library_id}/documents", tags=["documents"], dependencies=[strict_query]
)


@router.post(
    "",
    status_code=201,
    response_model=DocumentView,
    responses=problems(400, 404, 409, 413, 415, 422, 503, 507),
    openapi_extra=body(
        {
            "application/json": json_content(
                DocumentCreate, create={"id": "book-1", "metadata": {"title": "A first book", "year": 2024}}
            )
        }
    ),
)
async def create_document(request: Request, library_id: LibraryId) -> Response:
    """Create a document."""
    given = await read_object(request)
    return await write(
        request,
        [await request.body()],
        lambda document: created(document, "libraries", library_id, "documents", document.id),
        services_of(request).libraries.create_document,
        library_id,
        given,
    )


@router.get("", response_model=DocumentPage, responses=problems(404, 422))
async def list_documents(
    request: Request, library_id: LibraryId, limit: Limit = 100, cursor: Cursor = None
) -> Response:
    """List the documents of a library."""
    with listing():
        found = await in_thread(
            services_of(request).libraries.list_documents, library_id, limit=limit, cursor=cursor
        )
    return page([document.to_json() for document in found.items], found.next_cursor)


@router.get("/{document_id}", response_model=DocumentView, responses=problems(400, 404, 422))
async def get_document(request: Request, library_id: LibraryId, document_id: DocumentId) -> Response:
    """Read a document."""
    return entity(await in_thread(services_of(request).libraries.get_document, library_id, document_id))


@router.patch(
    "/{document_id}",
    response_model=DocumentView,
    responses=problems(400, 404, 412, 413, 415, 422, 503, 507),
    openapi_extra=body(
        {"application/json": json_content(DocumentPatch, change={"metadata": {"year": 2025}})}
    ),
)
async def patch_document(
    request: Request, library_id: LibraryId, document_id: DocumentId, if_match: IfMatch = None
) -> Response:
    """Change a document's metadata."""
    expected = parse_if_match(if_match)
    patch = await read_object(request)
    libraries, raw = services_of(request).libraries, await request.body()
    return await write(
        request, [raw], entity, libraries.patch_document, library_id, document_id, patch, if_match=expected
    )


@router.delete("/{document_id}", response_model=DeletedView, responses=problems(400, 404, 412, 422, 503, 507))
async def delete_document(
    request: Request, library_id: LibraryId, document_id: DocumentId, if_match: IfMatch = None
) -> Response:
    """Delete a document and its chunks."""
    expected = parse_if_match(if_match)
    libraries = services_of(request).libraries
    audited = audited_delete(request, libraries.delete_document, "document", library_id, item=document_id)
    return await write(request, [], result_reply, audited, library_id, document_id, if_match=expected)
