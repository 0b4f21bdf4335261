"""Rows as JSON text: what a chunk is beside its vector, kept as the bytes that also go to disk.

A record is one line::

    {"id":…,"document_id":…,"text":…,"metadata":{…},"revision":7,"created_at":"…Z","updated_at":"…Z"}

The part before ``,"revision"`` is made before a write is queued; the rest when it is committed. Kept as bytes, a
row costs its length and nothing more, and an answer needs to parse only the rows it returns.
"""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, Final, TypedDict, cast, final

import numpy as np
import orjson

from vdb_core.errors import SnapshotDamaged

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["ChunkRecord", "RecordFile", "created_at_of", "finish", "parse", "start"]

_NEWLINE: Final = 10
_COMMA: Final = 44
_OPEN: Final = ord("[")
_CLOSE: Final = ord("]")
# Offsets from the end of a record: `"created_at":"<27 characters>","updated_at":"<27 characters>"}`.
_CREATED_FROM: Final = -(27 + len('","updated_at":"') + 27 + len('"}'))
_CREATED_TO: Final = _CREATED_FROM + 27


class ChunkRecord(TypedDict):
    """A parsed record."""

    id: str
    document_id: str | None
    text: str | None
    metadata: dict[str, object]
    revision: int
    created_at: str
    updated_at: str


def start(chunk_id: str, document_id: str | None, text: str | None, metadata: Mapping[str, object]) -> bytes:
    """Make the part of a record that is known before the write is committed."""
    row = {"id": chunk_id, "document_id": document_id, "text": text, "metadata": metadata}
    return orjson.dumps(row)[:-1]


def finish(head: bytes, revision: int, created_at: bytes, updated_at: bytes) -> bytes:
    """Complete a record; times are the 27 characters of ``2026-11-22T07:49:58.123456Z``."""
    return b'%b,"revision":%d,"created_at":"%b","updated_at":"%b"}' % (head, revision, created_at, updated_at)


def created_at_of(record: bytes) -> bytes:
    """Read ``created_at`` without parsing the record."""
    return record[_CREATED_FROM:_CREATED_TO]


def parse(record: bytes) -> ChunkRecord:
    """Parse a record."""
    return cast("ChunkRecord", orjson.loads(record))


@final
class RecordFile:
    r"""Records as one JSON array with one element a line, mapped from its file or held in memory.

    ::

        [\n  record 0  ,\n  record 1  ,\n  …  record n-1  \n]
           ^ends[0]        ^ends[1]                          ^ends[n]
    """

    __slots__ = ("_buffer", "_ends", "_file_bytes")

    def __init__(self, buffer: bytes | mmap.mmap) -> None:
        self._buffer = buffer
        length = len(buffer)
        # The file may end with a line break of its own, behind the bracket.
        while length and buffer[length - 1] == _NEWLINE:
            length -= 1
        text = np.frombuffer(buffer, dtype=np.uint8, count=length)
        self._ends: NDArray[np.int64] = np.flatnonzero(text == _NEWLINE).astype(np.int64)
        # An empty array may stand on one line; otherwise the last line holds the bracket alone.
        if length < 2 or buffer[0] != _OPEN or buffer[length - 1] != _CLOSE or not len(self._ends):
            if bytes(buffer[:length]).replace(b"\n", b"") != b"[]":
                raise SnapshotDamaged("expected a JSON array with one element a line")
            self._ends = np.zeros(1, dtype=np.int64)
        elif int(self._ends[-1]) != length - 2:
            raise SnapshotDamaged("expected a JSON array that ends with a bracket on a line of its own")
        self._file_bytes = len(buffer)

    @classmethod
    def map(cls, path: Path) -> RecordFile:
        """Map a file that a snapshot store has verified."""
        with path.open("rb") as file:
            if path.stat().st_size < 2:
                raise SnapshotDamaged(f"{path.name} is empty; expected a JSON array")
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        records = cls(mapped)
        # Looking for the line ends made every page resident; a search needs only those of its hits.
        if hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)
        return records

    @classmethod
    def of(cls, records: Iterable[bytes]) -> RecordFile:
        """Hold records in memory, in the form of the file."""
        joined = b",\n".join(records)
        return cls(b"[\n" + joined + b"\n]" if joined else b"[\n]")

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, row: int) -> bytes:
        begin = int(self._ends[row]) + 1
        end = int(self._ends[row + 1])
        if self._buffer[end - 1] == _COMMA:
            end -= 1
        return self._buffer[begin:end]

    def __iter__(self) -> Iterator[bytes]:
        for row in range(len(self)):
            yield self[row]

    @property
    def nbytes(self) -> int:
        """Bytes of text plus those of the line offsets."""
        return self._file_bytes + self._ends.nbytes
