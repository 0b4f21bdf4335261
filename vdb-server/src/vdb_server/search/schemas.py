"""Bodies of the search routes, for the documentation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from vdb_server.wire.models import Body, Embedding, EmbeddingB64, FilterObject, MetadataObject, View

__all__ = ["ActiveIndex", "BatchAnswer", "BatchQuery", "HitView", "SearchAnswerView", "SearchQuery"]


class SearchQuery(Body):
    """A query: one of `embedding`, `embedding_b64` and `text`, and what to do with it."""

    embedding: Embedding | None = None
    embedding_b64: EmbeddingB64 | None = None
    text: str | None = Field(default=None, description="Embedded by the library's embedder.")
    k: int = Field(default=10, ge=1, description="How many hits; `min(k, matches)` come back.")
    filter: FilterObject | None = Field(default={})
    params: dict[str, object] | None = Field(
        default={}, description="Search parameters of the active index, see `GET /v1/index-types`."
    )
    include: list[Literal["text", "metadata", "embedding"]] = Field(
        default=["text", "metadata"], description="What a hit carries beside ids and numbers."
    )
    min_score: float | None = Field(
        default=None, description="Cuts off hits below; fewer than k may be left."
    )
    explain: bool = Field(default=False, description="Adds how the answer was found.")


class HitView(View):
    """One hit."""

    id: str
    document_id: str | None
    score: float = Field(
        description="Higher is closer: cosine similarity, dot product, negative Euclidean distance."
    )
    distance: float = Field(
        description="Smaller is closer: 1 - cosine, negative dot product, Euclidean distance."
    )
    text: str | None = None
    metadata: MetadataObject | None = None
    embedding: list[float] | None = None


class ActiveIndex(View):
    """What answered."""

    type: str = Field(description="The active index.")
    exact: bool = Field(description="Whether this answer is exact.")


class SearchAnswerView(View):
    """Hits, closest first."""

    hits: list[HitView]
    index: ActiveIndex
    revision: int = Field(description="The library's revision that was searched.")
    warnings: list[str]
    took_ms: float
    explain: dict[str, object] | None = Field(
        default=None, description="Route, counts and times, where asked for."
    )


class BatchQuery(Body):
    """Several queries."""

    queries: list[SearchQuery]


class BatchAnswer(View):
    """An answer a query, in the order of the queries."""

    results: list[SearchAnswerView]
