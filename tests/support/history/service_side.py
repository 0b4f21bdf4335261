"""Asks the services in process; the same answers as over HTTP, in the form that the model compares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from history.events import Reply
from history.http_side import answer_of, chunk_of, document_of, export_of, library_of, row_body
from history.operations import (
    CreateChunk,
    CreateDocument,
    DeleteChunk,
    DeleteChunks,
    DeleteDocument,
    DeleteMatching,
    ExportLibrary,
    GetChunk,
    GetDocument,
    GetLibrary,
    ListChunks,
    ListDocuments,
    PatchChunk,
    PatchDocument,
    PatchLibrary,
    Search,
    Upsert,
)
from vdb_core.errors import CallerError

if TYPE_CHECKING:
    from history.operations import Read, Write
    from vdb_core.services import Export, SearchAnswer, Services

__all__ = ["ask_services"]

_TIMEOUT_S = 60.0


def ask_services(services: Services, library_id: str, operation: Read | Write) -> Reply:
    """Ask a library; an error that the caller did not cause is raised."""
    try:
        return Reply("ok", _ask(services, library_id, operation))
    except CallerError as error:
        if error.code == "validation_failed":
            raise
        return Reply("refused", error.code)


def _ask(services: Services, library_id: str, operation: Read | Write) -> object:
    libraries = services.libraries
    match operation:
        case Upsert():
            rows = [row_body(row, embedding=not operation.bulk) for row in operation.rows]
            matrix = np.stack([row.vector for row in operation.rows]) if operation.bulk else None
            upserted = libraries.upsert_chunks(
                library_id, rows, create_documents=operation.create_documents, vectors=matrix
            ).result(_TIMEOUT_S)
            return {
                "created": upserted.created,
                "updated": upserted.updated,
                "revision": upserted.revision,
            }
        case CreateChunk():
            created = libraries.create_chunk(library_id, row_body(operation.row)).result(_TIMEOUT_S)
            return chunk_of(created.to_json())
        case PatchChunk():
            body: dict[str, object] = {"metadata": operation.metadata}
            if operation.text is not None:
                body["text"] = operation.text
            if operation.vector is not None:
                body["embedding"] = operation.vector.tolist()
            patched = libraries.patch_chunk(library_id, operation.id, body, if_match=operation.if_match)
            return chunk_of(patched.result(_TIMEOUT_S).to_json())
        case DeleteChunk():
            return libraries.delete_chunk(library_id, operation.id).result(_TIMEOUT_S).to_json()
        case DeleteChunks():
            return (
                libraries.delete_chunks(library_id, {"ids": list(operation.ids)}).result(_TIMEOUT_S).to_json()
            )
        case DeleteMatching():
            return (
                libraries.delete_chunks(library_id, {"filter": operation.filter}).result(_TIMEOUT_S).to_json()
            )
        case CreateDocument():
            made = libraries.create_document(library_id, {"id": operation.id, "metadata": operation.metadata})
            return document_of(made.result(_TIMEOUT_S).to_json())
        case PatchDocument():
            changed = libraries.patch_document(library_id, operation.id, {"metadata": operation.metadata})
            return document_of(changed.result(_TIMEOUT_S).to_json())
        case DeleteDocument():
            return libraries.delete_document(library_id, operation.id).result(_TIMEOUT_S).to_json()
        case PatchLibrary():
            body = {"name": operation.name, "metadata": operation.metadata}
            return library_of(libraries.patch(library_id, body).result(_TIMEOUT_S).to_json())
        case _:
            return _read(services, library_id, operation)


def _read(services: Services, library_id: str, operation: Read) -> object:
    libraries = services.libraries
    match operation:
        case GetChunk():
            return chunk_of(libraries.get_chunk(library_id, operation.id).to_json())
        case GetDocument():
            return document_of(libraries.get_document(library_id, operation.id).to_json())
        case GetLibrary():
            return library_of(libraries.get(library_id).to_json())
        case ListChunks():
            page = libraries.list_chunks(
                library_id,
                limit=operation.limit,
                cursor=operation.cursor,
                filter=operation.filter,
                include=("embedding",),
            )
            items = [chunk_of(one.to_json()) for one in page.items]
            return {"items": items, "more": page.next_cursor is not None, "cursor": page.next_cursor}
        case ListDocuments():
            listed = libraries.list_documents(library_id, limit=operation.limit, cursor=operation.cursor)
            items = [document_of(one.to_json()) for one in listed.items]
            return {"items": items, "more": listed.next_cursor is not None, "cursor": listed.next_cursor}
        case Search():
            bodies = [
                {
                    "embedding": query.tolist(),
                    "k": operation.k,
                    **({} if operation.filter is None else {"filter": operation.filter}),
                }
                for query in operation.queries
            ]
            queries = services.queries
            if len(bodies) == 1:
                return [_answer(queries.search(library_id, bodies[0]))]
            return [_answer(one) for one in queries.search_batch(library_id, bodies)]
        case ExportLibrary():
            return _export(libraries.export(library_id))


def _answer(answer: SearchAnswer) -> dict[str, object]:
    body: dict[str, Any] = orjson.loads(answer.to_json())
    return answer_of(body)


def _export(export: Export) -> dict[str, object]:
    documents = [orjson.loads(one) for one in export.documents]
    chunks = [orjson.loads(one) for one in export.chunks]
    vectors = np.concatenate([np.empty((0, export.dimension), dtype=np.float32), *export.vectors])
    norms = None if export.norms is None else np.concatenate([np.empty(0), *export.norms])
    row_ids = np.concatenate([np.empty(0, dtype=np.int64), *export.row_ids])
    return export_of(export.library, documents, chunks, vectors, norms, row_ids)
