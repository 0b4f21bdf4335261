"""A block: rows with their vectors, records, metadata index and tombstones. The base is one, a delta segment is one.

Rows are appended and never move; a row's internal id is larger than that of every row before it, so the slot of
an internal id is found by bisection and a compaction renumbers nothing.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Final, final

import numpy as np

from vdb_core.engine.records import RecordBuffer, RecordFile, RecordSelection, parse
from vdb_core.engine.segments import segment_capacity
from vdb_core.filters import MetadataIndex
from vdb_core.indexes import bitmap

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from numpy.typing import NDArray

    from vdb_core.engine.chunk_ids import PackedIds, PackedIdsMaker
    from vdb_core.engine.segments import Fields
    from vdb_core.filters import Filter
    from vdb_core.indexes import Index

__all__ = ["Block"]

_CACHED_FILTERS: Final = 64


@final
class Block:
    """Rows ``0 .. rows - 1``, some of them dead. Changed by the committer alone, under the library's write lock.

    # Invariants
    - ``ids[:rows]`` ascends strictly.
    - ``alive`` has ``words_for(capacity)`` words; bits at and beyond ``rows`` are 0.
    - Rows below ``rows`` never change but for their bit in ``alive``; rows at and beyond it are staged.
    - ``metadata.rows <= rows``: the metadata index may lag behind and is brought up when it is needed.
    """

    __slots__ = (
        "_exact",
        "_exact_lock",
        "_exact_rows",
        "_fields",
        "_filters",
        "_metadata_lock",
        "_own_names",
        "alive",
        "dead",
        "ids",
        "metadata",
        "names",
        "norms",
        "records",
        "rows",
        "vectors",
    )

    def __init__(
        self,
        *,
        vectors: NDArray[np.float32],
        norms: NDArray[np.float64] | None,
        ids: NDArray[np.int64],
        records: RecordFile | RecordSelection | RecordBuffer,
        metadata: MetadataIndex,
        rows: int,
        names: PackedIds | None = None,
    ) -> None:
        self.vectors = vectors
        self.norms = norms
        self.ids = ids
        self.records: RecordFile | RecordSelection | RecordBuffer = records
        self.metadata = metadata
        self.names = names
        """The chunk ids of a base."""
        self._own_names: list[str] = []
        """The chunk ids of a segment: the very strings by which its rows are found until a fold."""
        self.rows = rows
        self.dead = 0
        self.alive: NDArray[np.uint64] = (
            bitmap.full(rows) if rows == len(ids) else bitmap.from_slots(np.arange(rows), len(ids))
        )
        self._exact: Index | None = None
        self._exact_rows = -1
        self._exact_lock = threading.Lock()
        self._metadata_lock = threading.Lock()
        self._fields: deque[tuple[int, int, Fields]] = deque()
        """What the metadata index has not taken in yet: of which rows, from and up to, and their fields."""
        self._filters: dict[tuple[str, int, int], NDArray[np.uint64]] = {}

    @classmethod
    def segment(cls, dimension: int, *, with_norms: bool) -> Block:
        """Make an empty delta segment."""
        capacity = segment_capacity(dimension)
        return cls.segment_of(np.empty((capacity, dimension), dtype=np.float32), with_norms=with_norms)

    @classmethod
    def segment_of(
        cls, vectors: NDArray[np.float32], *, with_norms: bool, metadata: MetadataIndex | None = None
    ) -> Block:
        """Make an empty delta segment for as many rows as there are vectors; it keeps these, and takes no other rows.

        Args:
            vectors: nobody else may change them any more.
            with_norms: whether each row has a length beside it.
            metadata: the index of these rows, where it is made already.
        """
        capacity = len(vectors)
        return cls(
            vectors=vectors,
            norms=np.empty(capacity, dtype=np.float64) if with_norms else None,
            ids=np.empty(capacity, dtype=np.int64),
            records=RecordBuffer(),
            metadata=MetadataIndex() if metadata is None else metadata,
            rows=0,
        )

    @property
    def live(self) -> int:
        """Rows that are not dead."""
        return self.rows - self.dead

    def stage(
        self,
        first_id: int,
        names: Sequence[str],
        records: Sequence[bytes],
        vectors: NDArray[np.float32] | None,
        norms: NDArray[np.float64] | None,
        ids: NDArray[np.int64] | None = None,
        fields: Fields | None = None,
    ) -> None:
        """Write rows behind those that count, where no reader looks; ``publish`` makes them count.

        Internal ids are ``ids``, else they rise from ``first_id``. ``vectors`` are none where the segment was made of
        them. ``fields`` saves the metadata index from reading the records. Needs no lock: the committer is the only
        writer.
        """
        own = self.records
        if not isinstance(own, RecordBuffer):
            raise TypeError("rows are appended to segments only, never to a base")
        begin, end = len(own), len(own) + len(records)
        if vectors is not None:
            self.vectors[begin:end] = vectors
        if self.norms is not None and norms is not None:
            self.norms[begin:end] = norms
        self.ids[begin:end] = np.arange(first_id, first_id + len(records)) if ids is None else ids
        own.extend(records)
        self._own_names.extend(names)
        if fields is not None:
            self._fields.append((begin, end, fields))

    def publish(self) -> None:
        """Make the staged rows count. Call under the library's write lock."""
        rows = len(self.records)
        if rows == len(self.ids) and not self.rows:
            self.alive = bitmap.full(rows)
        elif rows > self.rows:
            self.alive |= bitmap.from_slots(np.arange(self.rows, rows), len(self.ids))
        self.rows = rows

    def index_metadata(self) -> None:
        """Bring the metadata index up to the rows that count; filters do it too where it has not happened yet."""
        if self.metadata.rows == self.rows:
            return
        with self._metadata_lock:
            while self._fields and self._fields[0][1] <= self.rows:
                begin, _, (document_ids, metadatas) = self._fields.popleft()
                self._append_to(self.metadata, begin)
                self.metadata.extend(document_ids, metadatas)
            self._append_to(self.metadata, self.rows)
            if self.rows == len(self.ids):
                # It takes no more rows, and packed it answers as fast and holds no object a value.
                self.metadata.pack()

    def whole_metadata(self) -> MetadataIndex:
        """The metadata index over all rows of a block that takes no more of them, for a reader that is not a filter.

        Where the block's own lags behind, it is one beside it, packed, so that a fold over many segments that nobody
        filtered leaves no objects with each.
        """
        with self._metadata_lock:
            if self.metadata.rows == self.rows:
                return self.metadata
        metadata = MetadataIndex()
        self._append_to(metadata, self.rows)
        metadata.pack()
        return metadata

    def _append_to(self, metadata: MetadataIndex, end: int) -> None:
        for slot in range(metadata.rows, end):
            row = parse(self.records[slot])
            metadata.append(row["id"], row["document_id"], row["metadata"])

    def find(self, internal_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Slots of internal ids that are in this block, in the order given; ids that are not are left out."""
        ids = self.ids[: self.rows]
        slots = np.searchsorted(ids, internal_ids)
        inside = slots < self.rows
        slots = slots[inside]
        return slots[ids[slots] == internal_ids[inside]].astype(np.int64)

    def kill(self, slots: NDArray[np.int64]) -> None:
        """Mark rows as dead; rows that are dead already are left alone. Call under the library's write lock."""
        if not len(slots):
            return
        doomed = bitmap.from_slots(slots, len(self.ids)) & self.alive
        self.dead += bitmap.count(doomed)
        self.alive &= ~doomed

    def alive_words(self) -> NDArray[np.uint64]:
        """The bitmap over the rows held now."""
        return self.alive[: bitmap.words_for(self.rows)]

    def knows(self, wanted: Filter, *, documents_version: int) -> bool:
        """Whether ``matching`` has what a filter says of the rows."""
        return self._filter_key(wanted, documents_version) in self._filters

    def _filter_key(self, wanted: Filter, documents_version: int) -> tuple[str, int, int]:
        return (wanted.key, self.rows, documents_version if wanted.uses_documents else -1)

    def matching(
        self,
        wanted: Filter,
        *,
        ids: Callable[[str], int | None],
        documents: Callable[[Filter], Collection[str]],
        documents_version: int,
    ) -> NDArray[np.uint64]:
        """Bitmap of the live rows that a filter allows; what the filter says of the rows is cached."""
        key = self._filter_key(wanted, documents_version)
        words = self._filters.get(key)
        if words is None:
            self.index_metadata()
            with self._metadata_lock:
                words = self.metadata.evaluate(wanted, ids=ids, documents=documents, all_ids=self.chunk_ids)
                # `$id` looks at the ids of now, which a later write may move to another block.
                if not wanted.uses_ids:
                    while len(self._filters) >= _CACHED_FILTERS:
                        del self._filters[next(iter(self._filters))]
                    self._filters[key] = words
        return words & self.alive_words()

    def chunk_ids(self) -> Iterable[str]:
        """The id of every row, dead ones included."""
        if self.names is not None:
            yield from self.names
        else:
            yield from self._own_names[: self.rows]

    def name_rows(self, slots: NDArray[np.int64], maker: PackedIdsMaker) -> None:
        """Add the ids of chosen rows to those that are being packed."""
        if self.names is not None:
            maker.add_rows_of(self.names, slots)
        else:
            maker.add(map(self._own_names.__getitem__, slots.tolist()))

    def exact(self, build: Callable[[NDArray[np.float32]], Index]) -> Index:
        """An exact index over the rows held now. Call under the library's read lock."""
        index = self._exact
        if index is not None and self._exact_rows == self.rows:
            return index
        with self._exact_lock:
            if self._exact is None or self._exact_rows != self.rows:
                stale = self._exact
                view = self.vectors[: self.rows]
                view.flags.writeable = False
                self._exact = build(view)
                self._exact_rows = self.rows
                # Rows are only added under the write lock, so nobody searches the stale one any more.
                if stale is not None:
                    stale.close()
            return self._exact

    def close(self) -> None:
        """Let go of the exact index; the block is no longer searched."""
        with self._exact_lock:
            if self._exact is not None:
                self._exact.close()
                self._exact = None
                self._exact_rows = -1

    @property
    def nbytes(self) -> dict[str, int]:
        """Bytes by part, memory-mapped ones included."""
        return {
            "vectors": self.vectors.nbytes,
            "norms": 0 if self.norms is None else self.norms.nbytes,
            "ids": self.ids.nbytes + 8 * len(self._own_names),
            "records": 0 if isinstance(self.records, RecordSelection) else self.records.nbytes,
            "metadata_index": self.metadata.nbytes,
            "tombstones": self.alive.nbytes,
        }
