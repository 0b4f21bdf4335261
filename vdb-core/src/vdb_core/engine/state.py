"""The state of one library: its blocks, documents, ids and active index."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypedDict, cast, final

import numpy as np

from vdb_core.engine.chunk_ids import ChunkIds
from vdb_core.engine.costs import Costs
from vdb_core.engine.documents import DocumentTable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from pydantic import BaseModel

    from vdb_core.engine.blocks import Block
    from vdb_core.filters import Filter
    from vdb_core.indexes import Index, Metric
    from vdb_core.plugins import IndexType

__all__ = [
    "ActiveIndex",
    "LibraryInfo",
    "LibraryState",
    "Row",
    "View",
    "ViewPart",
    "copy_info",
    "embedding_of",
    "read_info",
]


class LibraryInfo(TypedDict):
    """What the journal and the manifest keep of a library itself."""

    id: str
    name: str
    metric: Metric
    dimension: int | None
    index_type: str
    index_params: dict[str, object]
    metadata: dict[str, object]
    embedder: str | None
    """What makes embeddings of its texts; none until it is chosen, or texts are the first that is written."""
    revision: int
    created_at: str
    updated_at: str


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveIndex:
    """The index over the base, as it serves now."""

    type: IndexType
    params: BaseModel
    index: Index
    search_params: BaseModel = field(init=False)
    """Those of a search that gives none."""

    def __post_init__(self) -> None:
        # Frozen, so not by assignment; made once, for making them takes longer than planning a search does.
        object.__setattr__(self, "search_params", self.type.search_params())


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Where a row is."""

    block: Block
    slot: int

    @property
    def record(self) -> bytes:
        """Its record."""
        return self.block.records[self.slot]

    def stored(self) -> tuple[NDArray[np.float32], float]:
        """Its vector as stored (unit length under cosine) and its norm (1.0 under the other metrics)."""
        norms = self.block.norms
        return self.block.vectors[self.slot], 1.0 if norms is None else float(norms[self.slot])

    def embedding(self) -> NDArray[np.float32]:
        """Its vector in the caller's scale, float32 ``[dim]``."""
        vector, norm = self.stored()
        return embedding_of(vector, None if self.block.norms is None else norm)


def embedding_of(vector: NDArray[np.float32], norm: float | None) -> NDArray[np.float32]:
    """A stored vector in the caller's scale; ``norm`` is none where the metric keeps none."""
    return vector.copy() if norm is None else (vector.astype(np.float64) * norm).astype(np.float32)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ViewPart:
    """A block as it was when a view was taken."""

    block: Block
    rows: int
    alive: NDArray[np.uint64]
    live: int


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """An immutable view of a library: rows are only ever appended, and the tombstones are copied."""

    info: LibraryInfo
    parts: Sequence[ViewPart]
    documents: list[bytes]
    documents_version: int
    next_id: int
    journal_position: int

    @property
    def live(self) -> int:
        """Rows that are not dead."""
        return sum(part.live for part in self.parts)


@final
@dataclass(slots=True, kw_only=True)
class LibraryState:
    """Everything a library is. Changed by the committer alone, under the library's write lock."""

    info: LibraryInfo
    base: Block | None = None
    delta: list[Block] = field(default_factory=list)
    documents: DocumentTable = field(default_factory=DocumentTable)
    chunk_ids: ChunkIds = field(default_factory=ChunkIds)
    """Chunk id to internal id, live chunks only."""
    next_id: int = 1
    journal_position: int = 0
    active: ActiveIndex | None = None
    generation: int = 0
    """The newest generation on disk, 0 where there is none."""
    generation_positions: dict[int, int] = field(default_factory=dict)
    """Journal positions of the generations that are kept."""
    snapshot_position: int = -1
    """Journal position of the newest generation; -1 where there is none."""
    snapshot_documents_version: int = -1
    base_generation: int = 0
    """The generation whose row files hold exactly the rows of ``base``, 0 where there is none."""
    warnings: tuple[str, ...] = ()
    """Said in every answer: a plugin is missing or broken."""
    deleted_rows: list[NDArray[np.int64]] | None = None
    """Internal ids that died since the running build took its view; none while no build runs."""
    costs: Costs = field(default_factory=Costs)
    """What searches took, for the choice between the event loop and a thread."""
    removed: bool = False
    unsaved_bytes: int = 0
    """About what has been written since the newest generation, replayed or not."""
    unsaved_since: float = 0.0
    """When the first of that was, by the monotonic clock."""

    @property
    def unsaved(self) -> bool:
        """Whether there is anything that the newest generation has not."""
        return self.journal_position != self.snapshot_position

    def count_unsaved(self, size: int) -> None:
        """Count in what is being written. Call before the journal position moves."""
        if not self.unsaved or not self.unsaved_bytes:
            self.unsaved_since = time.monotonic()
        self.unsaved_bytes += size

    def blocks(self) -> list[Block]:
        """The base, where there is one, then the delta, in the order in which rows were written."""
        return [*self.delta] if self.base is None else [self.base, *self.delta]

    @property
    def live(self) -> int:
        """Chunks of the library."""
        return len(self.chunk_ids)

    @property
    def delta_rows(self) -> int:
        """Rows written since the base was made, dead ones included."""
        return sum(block.rows for block in self.delta)

    @property
    def dead_rows(self) -> int:
        """Rows that were overwritten or deleted and still take room."""
        return sum(block.dead for block in self.blocks())

    def find(self, chunk_id: str) -> Row | None:
        """Where the row of a chunk is, or none."""
        internal = self.chunk_ids.get(chunk_id)
        return None if internal is None else self.row(internal)

    def row(self, internal_id: int) -> Row:
        """Where the row of an internal id is; the id must be a live one."""
        for block in reversed(self.blocks()):
            if block.rows and int(block.ids[0]) <= internal_id:
                return Row(block=block, slot=int(np.searchsorted(block.ids[: block.rows], internal_id)))
        raise KeyError(internal_id)

    def kill(self, internal_ids: NDArray[np.int64]) -> None:
        """Mark rows as dead."""
        if not len(internal_ids):
            return
        for block in self.blocks():
            block.kill(block.find(internal_ids))
        deaths = self.deleted_rows
        if deaths is not None:
            deaths.append(internal_ids)

    def matching(self, block: Block, wanted: Filter) -> NDArray[np.uint64]:
        """Bitmap of a block's live rows that a filter allows."""
        return block.matching(
            wanted,
            ids=self._slot_in(block),
            documents=self.documents.matching,
            documents_version=self.documents.version,
        )

    def _slot_in(self, block: Block) -> Callable[[str], int | None]:
        def slot_of(chunk_id: str) -> int | None:
            row = self.find(chunk_id)
            return row.slot if row is not None and row.block is block else None

        return slot_of

    def view(self) -> View:
        """Take an immutable view. Call under the read lock, or on the committer's thread."""
        parts = [
            ViewPart(block=block, rows=block.rows, alive=block.alive_words().copy(), live=block.live)
            for block in self.blocks()
        ]
        return View(
            info=copy_info(self.info),
            parts=parts,
            documents=self.documents.snapshot(),
            documents_version=self.documents.version,
            next_id=self.next_id,
            journal_position=self.journal_position,
        )

    def nbytes(self) -> dict[str, int]:
        """Bytes by part."""
        total: dict[str, int] = {}
        for block in self.blocks():
            for part, size in block.nbytes.items():
                total[part] = total.get(part, 0) + size
        total["chunk_ids"] = self.chunk_ids.nbytes
        total["documents"] = self.documents.nbytes
        if self.active is not None:
            for part, size in self.active.index.stats().bytes.items():
                total[f"index.{part}"] = size
        return total


def read_info(given: object) -> LibraryInfo:
    """The library's own fields as they were stored; those that an older version did not have are added."""
    info = cast("LibraryInfo", given).copy()
    _ = info.setdefault("embedder", None)
    return info


def copy_info(info: LibraryInfo) -> LibraryInfo:
    """Copy a library's own fields, so that later changes do not show."""
    copy = info.copy()
    copy["metadata"] = dict(info["metadata"])
    copy["index_params"] = dict(info["index_params"])
    return copy
