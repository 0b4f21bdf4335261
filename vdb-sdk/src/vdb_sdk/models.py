"""The typed, frozen records that calls return. A list of results is a list of objects, never parallel lists."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "ActiveIndex",
    "Chunk",
    "DeleteResult",
    "Document",
    "Hit",
    "IndexSpec",
    "IndexStatus",
    "IndexTypeInfo",
    "JobState",
    "JobStatus",
    "JsonObject",
    "Library",
    "Metric",
    "Page",
    "PluginInfo",
    "SearchResult",
    "UpsertResult",
]

JsonObject: TypeAlias = dict[str, Any]
"""A JSON object as Python has it: the caller's own data, of any shape."""

Metric: TypeAlias = Literal["cosine", "dot", "l2"]
"""How near two embeddings are."""

JobState: TypeAlias = Literal["queued", "running", "succeeded", "failed", "cancelled"]
"""Where a background job is."""

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexSpec:
    """An index type and its build parameters."""

    type: str = "brute"
    """Name of an installed index type; ``client.index_types()`` lists them."""

    params: JsonObject = field(default_factory=dict)
    """Build parameters of that type; what is left out takes the type's default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """A library as it was when the server answered."""

    id: str
    """Unique id."""

    name: str
    """Name for people; need not be unique."""

    metric: Metric
    """How its embeddings are compared."""

    dimension: int | None
    """Length of its embeddings; ``None`` until the first one fixes it."""

    index: IndexSpec
    """The index type that was chosen for it."""

    metadata: JsonObject
    """Whatever its owner keeps with it."""

    revision: int
    """One more for each write; give it as ``if_match`` to change only what you have seen."""

    created_at: datetime
    """When it was made, UTC."""

    updated_at: datetime
    """When it last changed, UTC."""

    documents: int = 0
    """How many documents it holds."""

    chunks: int = 0
    """How many chunks it holds."""

    embedder: str | None = None
    """What makes embeddings of its texts; ``None`` until it is chosen, or texts are the first that is written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A document: what several chunks have in common."""

    id: str
    """Unique within the library."""

    metadata: JsonObject
    """Reached by chunk filters as ``$document.KEY``."""

    revision: int
    """The library's revision when it last changed."""

    created_at: datetime
    """When it was made, UTC."""

    updated_at: datetime
    """When it last changed, UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A text, its embedding and its metadata. Also what ``upsert`` takes; the server sets revision and times."""

    id: str
    """Unique within the library."""

    document_id: str | None = None
    """The document it belongs to, if any."""

    text: str | None = None
    """The text, if any."""

    # An array has no single truth value for ==; a changed embedding shows as a changed revision.
    embedding: NDArray[np.float32] | None = field(default=None, compare=False)
    """float32 ``[dimension]`` in its original scale; ``None`` where it was not asked for."""

    metadata: JsonObject = field(default_factory=dict)
    """What filters look at."""

    revision: int | None = None
    """The library's revision when it last changed."""

    created_at: datetime | None = None
    """When it was made, UTC."""

    updated_at: datetime | None = None
    """When it last changed, UTC."""

    warnings: tuple[str, ...] = ()
    """What the write that this answers wants known, such as a text that is longer than its embedder reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One chunk found by a search."""

    id: str
    """Id of the chunk."""

    score: float
    """Higher is closer: cosine similarity, dot product, or negative Euclidean distance."""

    distance: float
    """Smaller is closer: 1 - cosine, negative dot product, or Euclidean distance."""

    document_id: str | None = None
    """The document it belongs to, if any."""

    text: str | None = None
    """Its text, where ``include`` asks for it."""

    metadata: JsonObject = field(default_factory=dict)
    """Its metadata, where ``include`` asks for it."""

    embedding: NDArray[np.float32] | None = field(default=None, compare=False)
    """float32 ``[dimension]``, where ``include`` asks for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveIndex:
    """Which index answered."""

    type: str
    """Name of the active index type."""

    exact: bool
    """Whether this very answer is exact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """The answer to one query: a sequence of hits, nearest first."""

    hits: tuple[Hit, ...]
    """Nearest first; ``min(k, matches)`` of them, fewer only where ``min_score`` cut."""

    index: ActiveIndex
    """Which index answered, and whether the answer is exact."""

    revision: int
    """The library's revision that was searched."""

    warnings: tuple[str, ...] = ()
    """What the server wants known, such as an index plugin that is missing."""

    took_ms: float = 0.0
    """Time within the server, in milliseconds."""

    explain: JsonObject | None = None
    """The route taken, counts and times, where asked for."""

    def __len__(self) -> int:
        return len(self.hits)

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    @overload
    def __getitem__(self, index: int) -> Hit: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Hit, ...]: ...
    def __getitem__(self, index: int | slice) -> Hit | tuple[Hit, ...]:
        return self.hits[index]

    @property
    def ids(self) -> list[str]:
        """Ids of the hits, nearest first."""
        return [hit.id for hit in self.hits]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpsertResult:
    """What an upsert did, over all its batches."""

    created: int
    """Rows that are new."""

    updated: int
    """Rows that replaced one of the same id."""

    ids: Sequence[str]
    """Id of each row, in the order given."""

    revision: int | None
    """The library's revision after the last batch; ``None`` where nothing was sent."""

    warnings: tuple[str, ...] = ()
    """What the server wants known, such as a text that is longer than its embedder reads."""

    @property
    def rows(self) -> int:
        """How many rows the server acknowledged."""
        return self.created + self.updated


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteResult:
    """What a delete did."""

    deleted: int
    """How many chunks are gone; ids that did not exist count 0."""

    revision: int | None = None
    """The library's revision after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexStatus:
    """What a library's index is doing."""

    type: str
    """Name of the active index type."""

    params: JsonObject
    """Its build parameters."""

    state: str
    """Such as ``ready`` or ``building``."""

    rows: int
    """Rows under the index."""

    delta_rows: int
    """Rows written since it was built; searched exactly beside it."""

    dead_rows: int
    """Deleted rows it still carries."""

    bytes: int
    """Memory of the index, in bytes."""

    job_id: str | None = None
    """The running build, if any."""

    warnings: tuple[str, ...] = ()
    """What the server wants known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """A background job as it was when the server answered."""

    id: str
    """Id of the job."""

    state: JobState
    """Where it is."""

    library_id: str | None = None
    """The library it works on."""

    kind: str = ""
    """What it does, such as ``build`` or ``snapshot``."""

    phase: str | None = None
    """What it is doing now."""

    progress: float = 0.0
    """0 to 1."""

    eta_s: float | None = None
    """Seconds to go, where the server can tell."""

    error: str | None = None
    """Why it failed, where it did."""

    @property
    def finished(self) -> bool:
        """Whether it will not change any more."""
        return self.state in {"succeeded", "failed", "cancelled"}


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexTypeInfo:
    """An index type that the server offers."""

    name: str
    """What to give as ``index``."""

    summary: str
    """One sentence."""

    metrics: tuple[str, ...] = ()
    """The metrics it serves."""

    capabilities: JsonObject = field(default_factory=dict)
    """What it claims: ``exact``, ``native_filter``, ``deterministic``, ``releases_gil``."""

    complexity: JsonObject | None = None
    """Documented costs: ``build``, ``query``, ``space``."""

    params: JsonObject = field(default_factory=dict)
    """JSON Schema of its build parameters."""

    search_params: JsonObject = field(default_factory=dict)
    """JSON Schema of its search parameters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginInfo:
    """A plugin that the server found."""

    name: str
    """Name of its entry point."""

    state: str
    """``loaded``, ``failed``, ``disabled``, ``incompatible`` or ``conflict``."""

    distribution: str | None = None
    """The distribution it came with."""

    version: str | None = None
    """The version of that distribution."""

    reason: str | None = None
    """Why it is not loaded, where it is not."""

    provides: tuple[str, ...] = ()
    """What it offers, such as ``index_type:brute``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[Item]):
    """One page of a list."""

    items: tuple[Item, ...]
    """The entities of this page."""

    next_cursor: str | None
    """Give it as ``cursor`` to go on; ``None`` at the end."""

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)
