"""Rows as JSON text: what a chunk is beside its vector, kept as the bytes that also go to disk.

A record is one line::

    {"id":…,"document_id":…,"text":…,"metadata":{…},"revision":7,"created_at":"…Z","updated_at":"…Z"}

The part before ``,"revision"`` is made before a write is queued; the rest when it is committed. Kept as bytes, a
row costs its length and nothing more, and an answer is cut from the records of the rows it returns (see ``hits_json``).
"""

from __future__ import annotations

import mmap
import os
import weakref
from array import array
from itertools import accumulate, islice, pairwise
from typing import TYPE_CHECKING, Final, TypedDict, cast, final

import numpy as np
import orjson

from vdb_core.engine.record_run import RecordRun
from vdb_core.errors import SnapshotDamaged
from vdb_core.persistence.json_rows import json_chunks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = [
    "ChunkRecord",
    "RecordBuffer",
    "RecordFile",
    "RecordSelection",
    "created_at_of",
    "ending",
    "finish",
    "parse",
    "start",
]

_SELECTED: Final = 4096
_NEWLINE: Final = 10
_SCANNED: Final = 1 << 20
_MAPPED_ROWS: Final = 256
"""Reads in a row from which on mapping a file and letting go of it costs less than asking for each."""
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
    return head + ending(revision, created_at, updated_at)


def ending(revision: int, created_at: bytes, updated_at: bytes) -> bytes:
    """Make the part of a record that is known when the write is committed."""
    return b',"revision":%d,"created_at":"%b","updated_at":"%b"}' % (revision, created_at, updated_at)


def created_at_of(record: bytes) -> bytes:
    """Read ``created_at`` without parsing the record."""
    return record[_CREATED_FROM:_CREATED_TO]


def parse(record: bytes) -> ChunkRecord:
    """Parse a record."""
    return cast("ChunkRecord", orjson.loads(record))


@final
class _OpenFile:
    """A file as a sequence of bytes. Read, not mapped: pages that were looked at once do not stay resident."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        _ = weakref.finalize(self, os.close, self.descriptor)
        self._size = os.fstat(self.descriptor).st_size

    def __len__(self) -> int:
        return self._size

    def mapped(self) -> mmap.mmap:
        """The file as memory, until that is closed."""
        return mmap.mmap(self.descriptor, 0, access=mmap.ACCESS_READ)

    def __getitem__(self, part: slice) -> bytes:
        return os.pread(self.descriptor, part.stop - part.start, part.start)


def _open(path: Path) -> _OpenFile | mmap.mmap:
    if hasattr(os, "pread"):
        return _OpenFile(path)
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


@final
class RecordFile:
    r"""Records as one JSON array with one element a line, in a file or held in memory.

    ::

        [\n  record 0  ,\n  record 1  ,\n  …  record n-1  \n]
           ^ends[0]        ^ends[1]                          ^ends[n]
    """

    __slots__ = ("_at", "_ends", "_text")

    def __init__(self, text: bytes | _OpenFile | mmap.mmap) -> None:
        self._text = text
        length = len(text)
        parts: list[NDArray[np.int64]] = []
        for begin in range(0, length, _SCANNED):
            some = np.frombuffer(text[begin : min(begin + _SCANNED, length)], dtype=np.uint8)
            parts.append(np.flatnonzero(some == _NEWLINE) + begin)
        ends: NDArray[np.int64] = np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)
        # The file may end with a line break of its own, behind the bracket.
        if len(ends) and int(ends[-1]) == length - 1:
            ends, length = ends[:-1], length - 1
        if (
            text[0:2] == b"[\n"
            and len(ends)
            and int(ends[-1]) == length - 2
            and text[length - 1 : length] == b"]"
        ):
            self._ends = np.ascontiguousarray(ends)
        elif length <= 4 and text[0:length].replace(b"\n", b"") == b"[]":
            self._ends = np.zeros(1, dtype=np.int64)
        else:
            raise SnapshotDamaged("expected a JSON array with one element a line")
        # Gives Python's own numbers, one at a time, in half the time that an array takes for it.
        self._at = self._ends.data

    @classmethod
    def open(cls, path: Path) -> RecordFile:
        """Open a file that a snapshot store has verified."""
        return cls(_open(path))

    @classmethod
    def of(cls, records: Iterable[bytes]) -> RecordFile:
        """Hold records in memory, in the form of the file."""
        return cls(b"".join(json_chunks(records)))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, row: int) -> bytes:
        return self._text[self._at[row] + 1 : self._at[row + 1]].removesuffix(b",")

    def many(self, rows: Sequence[int]) -> list[bytes]:
        """The records of many rows. A file is mapped for the moment, so that what was read does not stay resident."""
        text, ends = self._text, self._at
        if not isinstance(text, _OpenFile):
            return [text[ends[row] + 1 : ends[row + 1]].removesuffix(b",") for row in rows]
        if len(rows) < _MAPPED_ROWS:
            read, file = os.pread, text.descriptor
            return [
                read(file, ends[row + 1] - ends[row] - 1, ends[row] + 1).removesuffix(b",") for row in rows
            ]
        at = np.asarray(rows, dtype=np.int64)
        begins, ends = (self._ends[at] + 1).tolist(), self._ends[at + 1].tolist()
        with text.mapped() as view:
            return [view[begin:end].removesuffix(b",") for begin, end in zip(begins, ends, strict=True)]

    def between(self, first: int, stop: int) -> list[bytes]:
        """The records of rows that follow each other, read in one go."""
        if first >= stop:
            return []
        begin, end = int(self._ends[first]) + 1, int(self._ends[stop])
        return [line.removesuffix(b",") for line in self._text[begin:end].split(b"\n")]

    def sizes(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """About how many bytes the records of some rows take."""
        return self._ends[rows + 1] - self._ends[rows]

    def __iter__(self) -> Iterator[bytes]:
        for begin in range(0, len(self), _SELECTED):
            yield from self.between(begin, min(begin + _SELECTED, len(self)))

    @property
    def nbytes(self) -> int:
        """Bytes in memory: of the line offsets, and of the text where it is in memory too."""
        return self._ends.nbytes + (len(self._text) if isinstance(self._text, bytes) else 0)


@final
class RecordBuffer:
    """Records that follow each other in one growing buffer: an object each would cost more than it is now.

    Small objects keep whole arenas of Python's allocator, also when the others in them are long gone.
    """

    __slots__ = ("_ends", "_text")

    def __init__(self) -> None:
        self._text = bytearray()
        self._ends = array("Q", [0])

    def extend(self, records: Sequence[bytes]) -> None:
        """Add records. Readers of the rows before them may go on meanwhile."""
        if isinstance(records, RecordRun):
            more = (records.ends + len(self._text)).astype(np.uint64)
            self._text += records.joined()
            self._ends.frombytes(more.tobytes())
            return
        ends = accumulate(map(len, records), initial=len(self._text))
        self._text += b"".join(records)
        self._ends.extend(islice(ends, 1, None))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, row: int) -> bytes:
        return bytes(self._text[self._ends[row] : self._ends[row + 1]])

    def many(self, rows: Sequence[int]) -> list[bytes]:
        """The records of many rows."""
        return [self[row] for row in rows]

    def between(self, first: int, stop: int) -> list[bytes]:
        """The records of rows that follow each other."""
        ends = self._ends[first : stop + 1]
        text = bytes(self._text[ends[0] : ends[-1]])
        return [text[begin - ends[0] : end - ends[0]] for begin, end in pairwise(ends)]

    def sizes(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many bytes the records of some rows take."""
        # A copy: what looks at the array itself keeps it from growing.
        ends = np.frombuffer(self._ends[:], dtype=np.int64)
        return ends[rows + 1] - ends[rows]

    @property
    def nbytes(self) -> int:
        """Bytes of the text and its offsets."""
        return len(self._text) + 8 * len(self._ends)


def _chosen(
    records: RecordFile | RecordSelection | RecordBuffer, slots: NDArray[np.int64]
) -> Iterator[bytes]:
    """The records of chosen rows, which rise; a megabyte of them in memory at a time, or one that is larger."""
    if isinstance(records, RecordSelection):
        for slot in slots.tolist():
            yield records[slot]
        return
    total = np.cumsum(records.sizes(slots))
    begin = 0
    while begin < len(slots):
        room = _SCANNED + (int(total[begin - 1]) if begin else 0)
        end = max(begin + 1, int(np.searchsorted(total, room, side="right")))
        first, stop = int(slots[begin]), int(slots[end - 1]) + 1
        if stop - first == end - begin:
            yield from records.between(first, stop)
        else:
            yield from records.many(slots[begin:end].tolist())
        begin = end


@final
class RecordSelection:
    """Records of chosen rows, read from where they are each time they are asked for: a copy would cost their size.

    The rows chosen of each part rise.
    """

    __slots__ = ("_parts",)

    def __init__(
        self, parts: Sequence[tuple[RecordFile | RecordSelection | RecordBuffer, NDArray[np.int64]]]
    ) -> None:
        self._parts = parts

    def __len__(self) -> int:
        return sum(len(slots) for _, slots in self._parts)

    def __iter__(self) -> Iterator[bytes]:
        for records, slots in self._parts:
            yield from _chosen(records, slots)

    def __getitem__(self, row: int) -> bytes:
        for records, slots in self._parts:
            if row < len(slots):
                return records[int(slots[row])]
            row -= len(slots)
        raise IndexError(row)

    def many(self, rows: Sequence[int]) -> list[bytes]:
        """The records of many rows."""
        return [self[row] for row in rows]
