"""What a library will be after the writes that are prepared but not yet published.

The committer prepares a group of writes while the one before is on its way to the disk. Each write is validated
against the published state plus all writes before it; that sum is an overlay.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count, repeat
from typing import TYPE_CHECKING, final

from vdb_core.engine.operations import PutDocuments, PutLibrary, Remember, Remove, RemoveLibrary, Upsert
from vdb_core.engine.state import copy_info
from vdb_core.errors import LibraryNotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from vdb_core.engine.operations import Operation
    from vdb_core.engine.state import LibraryInfo, LibraryState

__all__ = ["NeedsPublishError", "Overlay", "StoredRow"]


class NeedsPublishError(Exception):
    """The write asks something that only the published state can tell: publish the group so far, then ask again."""


@final
@dataclass(frozen=True, slots=True)
class StoredRow:
    """A chunk as stored."""

    record: bytes
    vector: NDArray[np.float32]
    norm: float


@final
@dataclass(slots=True)
class Overlay:
    """One library, as a write of the current group sees it. Lives on the committer's thread."""

    library_id: str
    state: LibraryState | None
    """The published state; none where the library does not exist."""
    _info: LibraryInfo | None = None
    _removed: bool = False
    _next_id: int = 1
    _known: dict[str, tuple[Upsert, int] | None] = field(default_factory=dict)
    _upserts: list[Upsert] = field(default_factory=list)
    """Those that are not in ``_known`` yet: most groups are one write, which nobody asks about."""
    _documents: dict[str, bytes | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.state is not None:
            self._info = copy_info(self.state.info)
            self._next_id = self.state.next_id

    @property
    def _chunks(self) -> dict[str, tuple[Upsert, int] | None]:
        """What the writes before this one have made of chunks: the write and its row; none: removed."""
        for operation in self._upserts:
            self._known.update(zip(operation.ids, zip(repeat(operation), count()), strict=False))
        self._upserts.clear()
        return self._known

    @property
    def exists(self) -> bool:
        """Whether the library is there."""
        return self._info is not None and not self._removed

    @property
    def deleted(self) -> bool:
        """Whether a write that is not published yet deletes the library."""
        return self._removed

    @property
    def info(self) -> LibraryInfo:
        """The library's own fields; raises ``LibraryNotFound``."""
        if self._info is None or self._removed:
            raise LibraryNotFound(f"No library has the id {self.library_id!r}.")
        return self._info

    @property
    def next_id(self) -> int:
        """The internal id of the next row."""
        return self._next_id

    @property
    def published(self) -> LibraryState:
        """The state, where it is all there is; otherwise the group must be published first.

        Raises ``LibraryNotFound``: publishing would not bring back a library that was deleted, and waiting for it
        would never end.
        """
        _ = self.info
        if self._upserts or self._known or self._documents or self.state is None:
            raise NeedsPublishError
        return self.state

    def has_chunk(self, chunk_id: str) -> bool:
        """Whether a chunk is there."""
        pending = self._chunks
        if chunk_id in pending:
            return pending[chunk_id] is not None
        return self.state is not None and chunk_id in self.state.chunk_ids

    def records(self, chunk_ids: Sequence[str]) -> dict[str, bytes]:
        """The records of those of many chunks that are there."""
        found: dict[str, bytes] = {}
        wanted = set(chunk_ids)
        # Most writes are of rows that no write before them has touched: then nothing need be known row by row.
        apart = all(wanted.isdisjoint(operation.ids) for operation in self._upserts)
        pending = self._known if apart else self._chunks
        if self.state is not None:
            for chunk_id, internal in self.state.chunk_ids.get_all(chunk_ids).items():
                if chunk_id not in pending:
                    found[chunk_id] = self.state.row(internal).record
        for one in pending.keys() & wanted:
            row = pending[one]
            if row is not None:
                found[one] = row[0].records[row[1]]
        return found

    def chunk(self, chunk_id: str) -> StoredRow | None:
        """A chunk as stored, or none."""
        pending = self._chunks
        if chunk_id in pending:
            written = pending[chunk_id]
            if written is None:
                return None
            operation, at = written
            norm = 1.0 if operation.norms is None else float(operation.norms[at])
            return StoredRow(operation.records[at], operation.vectors[at], norm)
        row = None if self.state is None else self.state.find(chunk_id)
        return None if row is None else StoredRow(row.record, *row.stored())

    def document(self, document_id: str) -> bytes | None:
        """A document's record, or none."""
        if document_id in self._documents:
            return self._documents[document_id]
        return None if self.state is None else self.state.documents.get(document_id)

    def add(self, operation: Operation) -> None:
        """Count a prepared operation in."""
        match operation:
            case PutLibrary():
                self._info, self._removed = copy_info(operation.info), False
            case RemoveLibrary():
                # A library of this id that is made next has nothing of the one that was.
                self._removed, self.state, self._next_id = True, None, 1
                for pending in (self._known, self._upserts, self._documents):
                    pending.clear()
            case PutDocuments():
                self._documents.update(zip(operation.ids, operation.records, strict=True))
                self._stamp(operation.revision, operation.time)
            case Upsert():
                self._upserts.append(operation)
                self._next_id = operation.next_id
                info = self.info
                if info["dimension"] is None:
                    info["dimension"] = int(operation.vectors.shape[1])
                self._stamp(operation.revision, operation.time)
            case Remove():
                self._chunks.update(dict.fromkeys(operation.chunks))
                self._documents.update(dict.fromkeys(operation.documents))
                self._stamp(operation.revision, operation.time)
            case Remember():
                pass

    def _stamp(self, revision: int, time: str) -> None:
        self.info["revision"] = revision
        self.info["updated_at"] = time
