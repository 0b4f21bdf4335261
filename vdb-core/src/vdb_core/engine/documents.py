"""The documents of one library: records by id, and which of them a filter on document metadata matches."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TypedDict, cast, final

import orjson

from vdb_core.filters import MetadataIndex
from vdb_core.indexes import bitmap

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from vdb_core.filters import Filter

__all__ = ["DocumentRecord", "DocumentTable", "document_record"]


class DocumentRecord(TypedDict):
    """A parsed document."""

    id: str
    metadata: dict[str, object]
    revision: int
    created_at: str
    updated_at: str


def document_record(
    document_id: str, metadata: Mapping[str, object], *, revision: int, created_at: str, updated_at: str
) -> bytes:
    """Make the JSON text of a document."""
    return orjson.dumps(
        {
            "id": document_id,
            "metadata": metadata,
            "revision": revision,
            "created_at": created_at,
            "updated_at": updated_at,
        }
    )


@final
class DocumentTable:
    """Documents by id. Changed by the committer alone, under the library's write lock.

    The metadata index over documents is made when a filter first asks for it, and again after a change.
    """

    __slots__ = ("_index", "_lock", "_records", "_sorted", "version")

    def __init__(self, records: Iterable[bytes] = ()) -> None:
        self._records: dict[str, bytes] = {}
        for record in records:
            self._records[cast("DocumentRecord", orjson.loads(record))["id"]] = record
        self.version = 0
        self._lock = threading.Lock()
        self._index: tuple[int, MetadataIndex, list[str]] | None = None
        self._sorted: tuple[int, list[str]] | None = None

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, document_id: str) -> bool:
        return document_id in self._records

    def get(self, document_id: str) -> bytes | None:
        """The record of a document, or none."""
        return self._records.get(document_id)

    def parsed(self, document_id: str) -> DocumentRecord | None:
        """The parsed record of a document, or none."""
        record = self._records.get(document_id)
        return None if record is None else cast("DocumentRecord", orjson.loads(record))

    def put(self, document_id: str, record: bytes) -> None:
        """Add or replace a document."""
        self._records[document_id] = record
        self.version += 1

    def remove(self, document_id: str) -> None:
        """Remove a document; one that is not there is left out."""
        if self._records.pop(document_id, None) is not None:
            self.version += 1

    def snapshot(self) -> list[bytes]:
        """The records of now."""
        return list(self._records.values())

    def sorted_ids(self) -> list[str]:
        """Ids in code point order; do not change the list."""
        with self._lock:
            if self._sorted is None or self._sorted[0] != self.version:
                self._sorted = (self.version, sorted(self._records))
            return self._sorted[1]

    def matching(self, wanted: Filter) -> Collection[str]:
        """Ids of the documents whose metadata satisfy a filter."""
        with self._lock:
            if self._index is None or self._index[0] != self.version:
                index, ids = MetadataIndex(), list(self._records)
                for document_id, record in self._records.items():
                    index.append(document_id, None, cast("DocumentRecord", orjson.loads(record))["metadata"])
                index.pack()
                self._index = (self.version, index, ids)
            _, index, ids = self._index
            words = index.evaluate(wanted, ids=lambda _: None, documents=lambda _: (), all_ids=lambda: ids)
        return {ids[slot] for slot in bitmap.to_slots(words).tolist()}

    @property
    def nbytes(self) -> int:
        """Bytes of the records."""
        return sum(map(len, self._records.values()))
