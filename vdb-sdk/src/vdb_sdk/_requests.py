"""Builds the requests about libraries, documents, indexes and jobs. Pure: arguments in, `Request` out."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from vdb_sdk._request_parts import (
    ACCEPT,
    JSON,
    PATCH,
    UNSET,
    Unset,
    conditional,
    delete,
    get,
    given_only,
    if_match_header,
    json_body,
    library_path,
    query_string,
    segment,
)
from vdb_sdk._transport import Repeat, Request
from vdb_sdk.errors import InvalidArgument
from vdb_sdk.models import IndexSpec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = [
    "IndexLike",
    "build_index",
    "create_document",
    "create_library",
    "delete_library",
    "document_path",
    "export_library",
    "get_library",
    "import_library",
    "index_choice",
    "index_status",
    "job_path",
    "list_documents",
    "list_libraries",
    "patch_document",
    "patch_library",
    "snapshot",
]

IndexLike: TypeAlias = "str | IndexSpec | Mapping[str, object]"
"""The name of an index type, or a type with its parameters."""


def index_choice(index: IndexLike) -> dict[str, object]:
    """The ``index`` object of a library, from any of its spellings."""
    if isinstance(index, str):
        return {"type": index, "params": {}}
    if isinstance(index, IndexSpec):
        return {"type": index.type, "params": index.params}
    return dict(index)


# Libraries


def create_library(
    *,
    name: str,
    library_id: str | None,
    metric: str,
    dimension: int | None,
    index: IndexLike,
    metadata: Mapping[str, object] | None,
    embedder: str | None = None,
) -> Request:
    """``POST /libraries``."""
    body: dict[str, object] = {"name": name, "metric": metric, "index": index_choice(index)}
    if library_id is not None:
        body["id"] = library_id
    if dimension is not None:
        body["dimension"] = dimension
    if metadata is not None:
        body["metadata"] = metadata
    if embedder is not None:
        body["embedder"] = embedder
    repeat = Repeat.UNSENT if library_id is None else Repeat.REFUSED
    return Request(
        method="POST",
        target="/v1/libraries",
        headers=JSON,
        body=json_body(body, "create_library"),
        repeat=repeat,
    )


def get_library(library_id: str) -> Request:
    """``GET /libraries/{id}``."""
    return get(library_path(library_id))


def list_libraries(*, limit: int, cursor: str | None) -> Request:
    """``GET /libraries``."""
    return get(f"/v1/libraries{query_string({'limit': limit, 'cursor': cursor})}")


def patch_library(
    library_id: str,
    *,
    name: str | Unset,
    metadata: Mapping[str, object] | Unset | None,
    embedder: str | Unset = UNSET,
    if_match: int | None,
) -> Request:
    """``PATCH /libraries/{id}``."""
    return Request(
        method="PATCH",
        target=library_path(library_id),
        headers=if_match_header(PATCH, if_match),
        body=json_body(given_only(name=name, metadata=metadata, embedder=embedder), "update"),
        repeat=conditional(if_match),
    )


def delete_library(library_id: str, *, if_match: int | None) -> Request:
    """``DELETE /libraries/{id}``."""
    return delete(library_path(library_id), if_match=if_match)


def export_library(library_id: str) -> Request:
    """``GET …/export``."""
    return Request(
        method="GET",
        target=f"{library_path(library_id)}/export",
        headers={"accept": "application/x-tar"},
        patient=True,
    )


def import_library(source: Path, *, library_id: str | None) -> Request:
    """``POST /libraries/import``."""
    if not source.is_file():
        msg = f"import_library: there is no file {str(source)!r}."
        raise InvalidArgument(msg)
    return Request(
        method="POST",
        target=f"/v1/libraries/import{query_string({'id': library_id})}",
        headers={"content-type": "application/x-tar", "accept": "application/json"},
        source=source,
        repeat=Repeat.REFUSED,
        patient=True,
    )


# Documents


def document_path(library_id: str, document_id: str) -> str:
    """Path of a document."""
    return f"{library_path(library_id)}/documents/{segment(document_id, 'document_id')}"


def create_document(
    library_id: str, *, document_id: str | None, metadata: Mapping[str, object] | None
) -> Request:
    """``POST …/documents``."""
    body: dict[str, object] = {}
    if document_id is not None:
        body["id"] = document_id
    if metadata is not None:
        body["metadata"] = metadata
    return Request(
        method="POST",
        target=f"{library_path(library_id)}/documents",
        headers=JSON,
        body=json_body(body, "create_document"),
        repeat=Repeat.UNSENT if document_id is None else Repeat.REFUSED,
    )


def list_documents(library_id: str, *, limit: int, cursor: str | None) -> Request:
    """``GET …/documents``."""
    return get(f"{library_path(library_id)}/documents{query_string({'limit': limit, 'cursor': cursor})}")


def patch_document(
    library_id: str,
    document_id: str,
    *,
    metadata: Mapping[str, object] | Unset | None,
    if_match: int | None,
) -> Request:
    """``PATCH …/documents/{id}``."""
    return Request(
        method="PATCH",
        target=document_path(library_id, document_id),
        headers=if_match_header(PATCH, if_match),
        body=json_body(given_only(metadata=metadata), "update_document"),
        repeat=conditional(if_match),
    )


# Index, snapshots and jobs


def build_index(library_id: str, *, index_type: str | None, params: Mapping[str, object] | None) -> Request:
    """``POST …/index``."""
    body: dict[str, object] = {}
    if index_type is not None:
        body["type"] = index_type
    if params is not None:
        body["params"] = params
    return Request(
        method="POST",
        target=f"{library_path(library_id)}/index",
        headers=JSON,
        body=json_body(body, "build_index"),
        repeat=Repeat.REFUSED,
    )


def index_status(library_id: str) -> Request:
    """``GET …/index``."""
    return get(f"{library_path(library_id)}/index")


def snapshot(library_id: str) -> Request:
    """``POST …/snapshot``."""
    return Request(
        method="POST",
        target=f"{library_path(library_id)}/snapshot",
        headers=ACCEPT,
        repeat=Repeat.REFUSED,
        patient=True,
    )


def job_path(job_id: str) -> str:
    """Path of a job."""
    return f"/v1/jobs/{segment(job_id, 'job_id')}"
