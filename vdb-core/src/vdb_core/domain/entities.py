"""The entities: libraries hold documents, documents hold chunks, a chunk holds text, an embedding and metadata."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vdb_core.domain.times import format_datetime

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    import numpy as np
    from numpy.typing import NDArray

    from vdb_core.indexes.contract import Metric

__all__ = ["Chunk", "Document", "IndexChoice", "Library"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexChoice:
    """Which index a library uses."""

    type: str
    """The name of an index type."""

    params: Mapping[str, object] = field(default_factory=dict)
    """Build parameters as they were given; what is missing has the type's default."""

    def to_json(self) -> dict[str, object]:
        """Make what REST shows."""
        return {"type": self.type, "params": dict(self.params)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """A collection of chunks that are searched together: one metric, one dimension, one index."""

    id: str
    """``[A-Za-z0-9][A-Za-z0-9._-]{0,127}``, unique without regard to case."""

    name: str
    """What people call it."""

    metric: Metric
    """How near is measured."""

    dimension: int | None
    """Length of every embedding; ``None`` until the first one fixes it."""

    index: IndexChoice
    """The index that was asked for."""

    metadata: Mapping[str, object]
    """The caller's own values."""

    revision: int
    """One more for each write."""

    created_at: datetime
    """When it was created, UTC."""

    updated_at: datetime
    """When it last changed, UTC."""

    documents: int
    """How many documents it holds."""

    chunks: int
    """How many chunks it holds."""

    embedder: str | None = None
    """What makes embeddings of its texts; ``None`` until it is chosen, or texts are the first that is written."""

    def to_json(self) -> dict[str, object]:
        """Make what REST shows."""
        return {
            "id": self.id,
            "name": self.name,
            "metric": self.metric,
            "dimension": self.dimension,
            "index": self.index.to_json(),
            "metadata": dict(self.metadata),
            "embedder": self.embedder,
            "revision": self.revision,
            "created_at": format_datetime(self.created_at),
            "updated_at": format_datetime(self.updated_at),
            "documents": self.documents,
            "chunks": self.chunks,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What chunks were cut from."""

    id: str
    """Unique within its library."""

    metadata: Mapping[str, object]
    """The caller's own values; filters reach them as ``$document.KEY``."""

    revision: int
    """The library's revision at the write that last changed it."""

    created_at: datetime
    """When it was created, UTC."""

    updated_at: datetime
    """When it last changed, UTC."""

    def to_json(self) -> dict[str, object]:
        """Make what REST shows."""
        return {
            "id": self.id,
            "metadata": dict(self.metadata),
            "revision": self.revision,
            "created_at": format_datetime(self.created_at),
            "updated_at": format_datetime(self.updated_at),
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chunk:
    """What a search finds. Two chunks are compared by their JSON: an array has no single truth value."""

    id: str
    """Unique within its library."""

    document_id: str | None
    """The document it belongs to, or none."""

    text: str | None
    """The text, where it is kept."""

    embedding: NDArray[np.float32]
    """float32 ``[dim]`` in the scale in which it was given; read-only."""

    metadata: Mapping[str, object]
    """The caller's own values; filters look at them."""

    revision: int
    """The library's revision at the write that last changed it."""

    created_at: datetime
    """When it was created, UTC."""

    updated_at: datetime
    """When it last changed, UTC."""

    warnings: Sequence[str] = ()
    """What a write wants known, such as a text that is longer than its embedder reads; shown in its answer alone."""

    def to_json(self, *, embedding: bool = True) -> dict[str, object]:
        """Make what REST shows; ``embedding=False`` leaves the numbers out."""
        shown: dict[str, object] = {"id": self.id, "document_id": self.document_id, "text": self.text}
        if embedding:
            shown["embedding"] = self.embedding.tolist()
        shown["metadata"] = dict(self.metadata)
        shown["revision"] = self.revision
        shown["created_at"] = format_datetime(self.created_at)
        shown["updated_at"] = format_datetime(self.updated_at)
        if self.warnings:
            shown["warnings"] = list(self.warnings)
        return shown
