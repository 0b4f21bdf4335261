"""The OpenAPI document: what FastAPI makes of the routes, plus the request models, security and defaults."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from vdb_server import __version__
from vdb_server.chunks import schemas as chunks
from vdb_server.documents import schemas as documents
from vdb_server.errors import ProblemView
from vdb_server.indexing import schemas as indexing
from vdb_server.libraries import schemas as libraries
from vdb_server.search import schemas as search
from vdb_server.wire.describe import schema_ref

if TYPE_CHECKING:
    from fastapi import FastAPI
    from pydantic import BaseModel

__all__ = ["REQUEST_MODELS", "TAGS", "make_openapi"]

REQUEST_MODELS: Final[tuple[type[BaseModel], ...]] = (
    libraries.LibraryCreate,
    libraries.LibraryPatch,
    documents.DocumentCreate,
    documents.DocumentPatch,
    chunks.ChunkRow,
    chunks.ChunkPatch,
    chunks.ChunksUpsert,
    chunks.ChunksDelete,
    chunks.BulkForm,
    search.SearchQuery,
    search.BatchQuery,
    indexing.IndexBuild,
    indexing.SnapshotWrite,
)
"""Models of bodies that routes read by themselves; FastAPI does not see them."""

TAGS: Final = [
    {"name": "libraries", "description": "Collections of chunks that are searched together."},
    {"name": "documents", "description": "What chunks were cut from; filters reach their metadata."},
    {"name": "chunks", "description": "Text, embedding and metadata: what a search finds."},
    {"name": "search", "description": "`min(k, matches)` hits, always, right after any write."},
    {"name": "index", "description": "Builds run in the background; the index of before serves meanwhile."},
    {"name": "jobs", "description": "Progress and cancellation of background work."},
    {"name": "transfer", "description": "Whole libraries in open formats."},
    {"name": "plugins", "description": "What is installed."},
    {"name": "system", "description": "Health and metrics."},
]

_DESCRIPTION: Final = """\
Libraries hold documents, documents hold chunks; a search finds the chunks whose embeddings are nearest.

* Errors are `application/problem+json` (RFC 9457) with a stable `code`; `errors` points at every fault.
* Lists have pages: give `next_cursor` back as `cursor` until it is null.
* The `ETag` of an entity is its revision; `If-Match` makes a change conditional.
* `Idempotency-Key` on a write: sent again under the same key, it answers the same and is not done twice.
* Ids in paths are percent-encoded as a whole: a slash in an id is `%2F`.
* Where the server has an API key: `Authorization: Bearer KEY`.
"""

_READING_TAILS: Final = ("/search", "/search/batch")
_IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Names this write, so that sending it again answers the same and does nothing twice.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "title": "Idempotency-Key"},
    "example": '"8e03978e-40d5-43dd-bc93-6894a57f9324"',
}
_OPEN_PATHS: Final = frozenset({"/healthz", "/readyz"})


def make_openapi(app: FastAPI) -> dict[str, Any]:
    """Make the document once; it is the same for everybody."""
    if app.openapi_schema is not None:
        return app.openapi_schema
    document = get_openapi(
        title="vdb", version=__version__, description=_DESCRIPTION, routes=app.routes, tags=TAGS
    )
    _, definitions = models_json_schema(
        [(model, "validation") for model in (*REQUEST_MODELS, ProblemView)],
        ref_template="#/components/schemas/{model}",
    )
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name, schema in definitions.get("$defs", {}).items():
        schemas.setdefault(name, schema)
    for schema in schemas.values():
        _forget_null_defaults(schema)
    components["securitySchemes"] = {
        "key": {
            "type": "http",
            "scheme": "bearer",
            "description": "`VDB_API_KEY` or `VDB_READ_ONLY_API_KEY`.",
        }
    }
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if method != "get" and not path.endswith(_READING_TAILS):
                operation.setdefault("parameters", []).append(_IDEMPOTENCY_KEY)
            if path not in _OPEN_PATHS:
                operation["security"] = [{"key": []}, {}]
            operation["responses"]["default"] = {
                "description": "Any other error.",
                "content": {"application/problem+json": {"schema": schema_ref("ProblemView")}},
            }
    app.openapi_schema = document
    return document


def _forget_null_defaults(schema: dict[str, Any]) -> None:
    """What may be left out and must not be null has no default: a schema that offers null would contradict itself."""
    for field in schema.get("properties", {}).values():
        if field.get("default", ...) is None and field.get("type") not in {None, "null"}:
            del field["default"]
