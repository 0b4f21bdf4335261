"""Bodies of the chunk routes, for the documentation."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from vdb_server.wire.models import (
    Absent,
    Body,
    Embedding,
    EmbeddingB64,
    EntityId,
    ExistingId,
    FilterObject,
    MetadataObject,
    Time,
    View,
)

__all__ = [
    "BulkForm",
    "ChunkPage",
    "ChunkPatch",
    "ChunkRow",
    "ChunkView",
    "ChunksDelete",
    "ChunksUpsert",
    "UpsertView",
]


class ChunkRow(Body):
    """A chunk, as it is created or upserted. It needs an embedding, or a text where there is an embedder."""

    id: EntityId | Absent = None
    document_id: str | None = Field(default=None, description="The document that it belongs to.")
    text: str | None = None
    embedding: Embedding | None = None
    embedding_b64: EmbeddingB64 | None = None
    metadata: MetadataObject = Field(default={})


class ChunkPatch(Body):
    """Changes to a chunk, as a JSON merge patch."""

    document_id: str | None = Field(
        default=None, description="Another document; null takes it out of its document."
    )
    text: str | None = Field(
        default=None,
        description="Another text, embedded where the library has an embedder and the patch brings no embedding; "
        "null removes it.",
    )
    embedding: Embedding | Absent = None
    embedding_b64: EmbeddingB64 | Absent = None
    metadata: MetadataObject | None = Field(
        default=None, description="Merged into what is there; null removes a key."
    )


class ChunksUpsert(Body):
    """Chunks to create or to replace, all of them or none."""

    chunks: list[ChunkRow]
    create_documents: bool = Field(default=False, description="Create documents that are named and unknown.")


class UpsertView(View):
    """What an upsert did."""

    created: int
    updated: int
    ids: list[str] = Field(description="The id of each row, in the order of the request.")
    revision: int = Field(description="The library's revision after it.")
    warnings: list[str] = Field(description="Such as a text that is longer than its embedder reads.")


class ChunksDelete(Body):
    """Which chunks to delete: exactly one of the two. Ids that are unknown count 0."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["ids"]}, {"required": ["filter"]}]})

    ids: list[ExistingId] | Absent = None
    filter: FilterObject | Absent = Field(default=None, json_schema_extra={"minProperties": 1})


class ChunkView(View):
    """A chunk."""

    id: str
    document_id: str | None
    text: str | None
    embedding: list[float] | None = Field(
        default=None, description="Within float32 rounding of what was given; lists have it on request only."
    )
    metadata: MetadataObject
    revision: int = Field(description="The library's revision at the write that last changed it; the `ETag`.")
    created_at: Time
    updated_at: Time
    warnings: list[str] = Field(
        default=[],
        description="In the answer to a write that has any: a text longer than its embedder reads.",
    )


class ChunkPage(View):
    """One page of chunks."""

    items: list[ChunkView]
    next_cursor: str | None


class BulkForm(Body):
    """Two files, row for row."""

    vectors: bytes = Field(
        description="`.npy`, float32 or float16 `[n, dim]`.",
        json_schema_extra={"type": "string", "format": "binary"},
    )
    chunks: bytes = Field(
        description="JSON Lines: n rows as in `upsert`, without `embedding`.",
        json_schema_extra={"type": "string", "format": "binary"},
    )
