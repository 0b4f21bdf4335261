"""What clients ask of one library, as plain records that HTTP, the services and the model all understand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "CreateChunk",
    "CreateDocument",
    "DeleteChunk",
    "DeleteChunks",
    "DeleteDocument",
    "DeleteMatching",
    "ExportLibrary",
    "GetChunk",
    "GetDocument",
    "GetLibrary",
    "ListChunks",
    "ListDocuments",
    "NewRow",
    "PatchChunk",
    "PatchDocument",
    "PatchLibrary",
    "Read",
    "Search",
    "Upsert",
    "Write",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRow:
    """A chunk as a client sends it."""

    id: str
    vector: NDArray[np.float32]
    text: str
    metadata: Mapping[str, object]
    document_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Upsert:
    """Create or replace chunks, all of them or none; ``bulk`` sends the vectors as ``.npy``."""

    rows: tuple[NewRow, ...]
    create_documents: bool = False
    bulk: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateChunk:
    """Create a chunk; refused where its id is taken."""

    row: NewRow


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchChunk:
    """Merge into a chunk's metadata and text; ``vector`` replaces its embedding; ``if_match`` is its revision."""

    id: str
    metadata: Mapping[str, object]
    text: str | None = None
    vector: NDArray[np.float32] | None = None
    if_match: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteChunk:
    """Delete one chunk; refused where it is not there."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteChunks:
    """Delete chunks by id; unknown ids count 0."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteMatching:
    """Delete the chunks that a filter matches."""

    filter: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateDocument:
    """Create a document; refused where its id is taken."""

    id: str
    metadata: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchDocument:
    """Merge into a document's metadata."""

    id: str
    metadata: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteDocument:
    """Delete a document and its chunks."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchLibrary:
    """Rename a library, merge into its metadata."""

    name: str
    metadata: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class GetChunk:
    """Read a chunk with its embedding."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GetDocument:
    """Read a document."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GetLibrary:
    """Read a library's own fields and counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListChunks:
    """One page of chunks with their embeddings, in the order of their last writes."""

    limit: int
    filter: Mapping[str, object] | None = None
    after: tuple[str, int] | None = None
    """Id and revision of the last chunk of the page before; none: the first page."""
    cursor: str | None = field(default=None, compare=False)
    """What that page gave to go on with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListDocuments:
    """One page of documents, in the order of their ids."""

    limit: int
    after: str | None = None
    """Id of the last document of the page before."""
    cursor: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """The nearest chunks of one query, or of several in one request."""

    queries: tuple[NDArray[np.float32], ...]
    k: int
    filter: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportLibrary:
    """Everything, as it was at one revision."""


Write = (
    Upsert
    | CreateChunk
    | PatchChunk
    | DeleteChunk
    | DeleteChunks
    | DeleteMatching
    | CreateDocument
    | PatchDocument
    | DeleteDocument
    | PatchLibrary
)
Read = GetChunk | GetDocument | GetLibrary | ListChunks | ListDocuments | Search | ExportLibrary
