"""Operations: what the journal keeps and what changes a library's state, the same code for both.

An operation is the *effect* of a request, already resolved (a delete by filter has become ids, a patch a whole
row), so that a replay cannot come out differently::

    put_library      the library's own fields: created, renamed, metadata changed
    remove_library   the library and all that is in it
    put_documents    whole documents
    upsert           whole chunks with their vectors; replaces rows of the same ids
    remove           chunks and documents by id
    remember         the answer to a write that may be repeated; lies in a chain of its own (see ``answers``)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast, final

import numpy as np
import orjson

from vdb_core.engine.blocks import Block
from vdb_core.engine.record_run import RecordRun
from vdb_core.engine.segments import is_small, shares
from vdb_core.engine.state import read_info
from vdb_core.errors import StorageFailed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from vdb_core.engine.records import ChunkRecord
    from vdb_core.engine.segments import Fields
    from vdb_core.engine.state import LibraryInfo, LibraryState
    from vdb_core.filters import MetadataIndex
    from vdb_core.persistence import JournalEntry

__all__ = [
    "Operation",
    "PutDocuments",
    "PutLibrary",
    "Remember",
    "Remove",
    "RemoveLibrary",
    "Upsert",
    "decode",
]

_SMALL = 200  # bytes of an entry beside what is counted


@final
@dataclass(slots=True, kw_only=True)
class PutLibrary:
    """The library's own fields. A library begins with a ``created`` one; later ones change name, metadata, embedder."""

    info: LibraryInfo
    created: bool = False

    @property
    def size(self) -> int:
        """About how many bytes of a journal it takes."""
        return _SMALL

    def encode(self) -> tuple[bytes, NDArray[np.float32] | None]:
        """The journal's text and vectors."""
        return orjson.dumps({"op": "put_library", "info": self.info, "created": self.created}), None

    def stage(self, state: LibraryState) -> None:
        """Nothing to prepare."""
        del state

    def apply(self, state: LibraryState) -> None:
        """Change the state; a build may have changed the index since the write was prepared, so that stays."""
        state.info["name"] = self.info["name"]
        state.info["metadata"] = self.info["metadata"]
        state.info["embedder"] = self.info["embedder"]
        if state.info["dimension"] is None:
            state.info["dimension"] = self.info["dimension"]
        _stamp(state, self.info["revision"], self.info["updated_at"])


@final
@dataclass(slots=True, kw_only=True)
class RemoveLibrary:
    """The library and all that is in it."""

    @property
    def size(self) -> int:
        """About how many bytes of a journal it takes."""
        return _SMALL

    def encode(self) -> tuple[bytes, NDArray[np.float32] | None]:
        """The journal's text and vectors."""
        return b'{"op":"remove_library"}', None

    def stage(self, state: LibraryState) -> None:
        """Nothing to prepare."""
        del state

    def apply(self, state: LibraryState) -> None:
        """Change the state."""
        state.removed = True


@final
@dataclass(slots=True, kw_only=True)
class PutDocuments:
    """Whole documents."""

    revision: int
    time: str
    ids: Sequence[str]
    records: Sequence[bytes]

    @property
    def size(self) -> int:
        """About how many bytes of a journal it takes."""
        return _SMALL + sum(map(len, self.ids)) + sum(map(len, self.records))

    def encode(self) -> tuple[bytes, NDArray[np.float32] | None]:
        """The journal's text and vectors."""
        head = {"op": "put_documents", "revision": self.revision, "time": self.time, "ids": list(self.ids)}
        return _with_records(head, self.records), None

    def stage(self, state: LibraryState) -> None:
        """Nothing to prepare."""
        del state

    def apply(self, state: LibraryState) -> None:
        """Change the state."""
        for document_id, record in zip(self.ids, self.records, strict=True):
            state.documents.put(document_id, record)
        _stamp(state, self.revision, self.time)


@final
@dataclass(slots=True, kw_only=True)
class Upsert:
    """Whole chunks with their vectors, replacing rows of the same ids."""

    revision: int
    time: str
    first_id: int
    ids: Sequence[str]
    records: Sequence[bytes]
    vectors: NDArray[np.float32]
    norms: NDArray[np.float64] | None
    row_ids: NDArray[np.int64] | None = None
    """Internal ids, ascending, where they do not simply rise from ``first_id``: those of an import."""
    indexes: Sequence[MetadataIndex] = ()
    """Of the first segments that the rows get for themselves, where they are made already."""
    fields: Fields | None = None
    """Of the rows behind those, where they are known without reading the records."""
    all_new: bool = False
    """No chunk of the library has one of the ids when this comes to be applied: there is nothing to replace."""
    own_vectors: bool = False
    """Nobody else has the vectors, or will change them: they may be kept without a copy."""
    _segments: list[Block] = field(default_factory=list)
    _inline: Block | None = None

    @property
    def size(self) -> int:
        """About how many bytes of a journal it takes."""
        records = self.records
        size = records.nbytes if isinstance(records, RecordRun) else sum(map(len, records))
        return _SMALL + size + self.vectors.nbytes

    def encode(self) -> tuple[bytes, NDArray[np.float32] | None]:
        """The journal's text and vectors (as stored: unit rows under cosine, the norms in the text)."""
        head: dict[str, object] = {
            "op": "upsert",
            "revision": self.revision,
            "time": self.time,
            "first_id": self.first_id,
            "norms": None if self.norms is None else self.norms.tolist(),
        }
        if self.row_ids is not None:
            head["row_ids"] = self.row_ids.tolist()
        return _with_records(head, self.records), self.vectors

    @property
    def next_id(self) -> int:
        """The first internal id that is free after it."""
        if self.row_ids is not None and len(self.row_ids):
            return int(self.row_ids[-1]) + 1
        return self.first_id + len(self.ids)

    def stage(self, state: LibraryState) -> None:
        """Write the rows where no reader looks yet."""
        dimension, with_norms = int(self.vectors.shape[1]), self.norms is not None
        count = len(self.records)
        tail = state.delta[-1] if state.delta else None
        if tail is not None and is_small(count) and len(tail.records) + count <= len(tail.ids):
            self._stage_into(tail, 0, count, self.vectors)
            self._inline = tail
            return
        for number, (begin, end) in enumerate(shares(count, dimension)):
            vectors = self.vectors[begin:end]
            if is_small(end - begin):
                segment = Block.segment(dimension, with_norms=with_norms)
                self._stage_into(segment, begin, end, vectors)
            else:
                segment = Block.segment_of(
                    vectors if self.own_vectors else vectors.copy(),
                    with_norms=with_norms,
                    metadata=self.indexes[number] if number < len(self.indexes) else None,
                )
                self._stage_into(segment, begin, end, None)
            segment.publish()
            self._segments.append(segment)

    def _stage_into(self, block: Block, begin: int, end: int, vectors: NDArray[np.float32] | None) -> None:
        norms = None if self.norms is None else self.norms[begin:end]
        ids = None if self.row_ids is None else self.row_ids[begin:end]
        fields = None
        if self.fields is not None and end == len(self.records):
            document_ids, metadatas = self.fields
            first = len(document_ids) - (end - begin)
            fields = (document_ids[first:], metadatas[first:]) if first >= 0 else None
        names, records = self.ids[begin:end], self.records[begin:end]
        block.stage(self.first_id + begin, names, records, vectors, norms, ids, fields)

    def apply(self, state: LibraryState) -> None:
        """Change the state."""
        ids = state.chunk_ids
        replaced = [] if self.all_new else list(ids.get_all(self.ids).values())
        if replaced:
            state.kill(np.sort(np.array(replaced, dtype=np.int64)))
        if self.row_ids is None:
            ids.put(self.ids, self.first_id)
        else:
            ids.put_rows(self.ids, self.row_ids)
        if self._inline is not None:
            self._inline.publish()
        state.delta.extend(self._segments)
        state.next_id = self.next_id
        if state.info["dimension"] is None:
            state.info["dimension"] = int(self.vectors.shape[1])
        _stamp(state, self.revision, self.time)


@final
@dataclass(slots=True, kw_only=True)
class Remove:
    """Chunks and documents by id."""

    revision: int
    time: str
    chunks: Sequence[str]
    documents: Sequence[str] = ()

    @property
    def size(self) -> int:
        """About how many bytes of a journal it takes."""
        return _SMALL + sum(map(len, self.chunks)) + sum(map(len, self.documents))

    def encode(self) -> tuple[bytes, NDArray[np.float32] | None]:
        """The journal's text and vectors."""
        body = {
            "op": "remove",
            "revision": self.revision,
            "time": self.time,
            "chunks": list(self.chunks),
            "documents": list(self.documents),
        }
        return orjson.dumps(body), None

    def stage(self, state: LibraryState) -> None:
        """Nothing to prepare."""
        del state

    def apply(self, state: LibraryState) -> None:
        """Change the state."""
        dead = list(state.chunk_ids.get_all(self.chunks).values())
        state.kill(np.sort(np.array(dead, dtype=np.int64)))
        state.chunk_ids.discard(self.chunks)
        for document_id in self.documents:
            state.documents.remove(document_id)
        _stamp(state, self.revision, self.time)


@final
@dataclass(frozen=True, slots=True)
class Remember:
    """The answer to a write that may be repeated; comes last among the write's operations, and changes no library."""

    text: bytes
    """JSON, as :mod:`vdb_core.engine.answers` makes and reads it."""

    @property
    def size(self) -> int:
        """Nothing that a snapshot of the library would save."""
        return 0

    def encode(self) -> tuple[bytes, NDArray[np.float32] | None]:
        """The journal's text and vectors."""
        return self.text, None

    def stage(self, state: LibraryState) -> None:
        """Nothing to prepare."""
        del state

    def apply(self, state: LibraryState) -> None:
        """Nothing to change."""
        del state


LibraryOperation = PutLibrary | RemoveLibrary | PutDocuments | Upsert | Remove
"""What changes a library, and lies in its chain of the journal."""

Operation = LibraryOperation | Remember


def _stamp(state: LibraryState, revision: int, time: str) -> None:
    state.info["revision"] = revision
    state.info["updated_at"] = time


def _with_records(head: Mapping[str, object], records: Sequence[bytes]) -> bytes:
    """Append ready-made JSON texts as the member ``records``."""
    joined = records.joined(b",") if isinstance(records, RecordRun) else b",".join(records)
    return orjson.dumps(head)[:-1] + b',"records":[' + joined + b"]}"


def decode(entry: JournalEntry) -> LibraryOperation:
    """Read an operation back; raises ``StorageFailed`` where it is of a kind that this version does not know."""
    body = cast("dict[str, object]", orjson.loads(entry.operation))
    match body["op"]:
        case "put_library":
            return PutLibrary(info=read_info(body["info"]), created=bool(body["created"]))
        case "remove_library":
            return RemoveLibrary()
        case "put_documents":
            return PutDocuments(
                revision=cast("int", body["revision"]),
                time=cast("str", body["time"]),
                ids=cast("list[str]", body["ids"]),
                records=[orjson.dumps(row) for row in cast("list[object]", body["records"])],
            )
        case "upsert":
            records = [orjson.dumps(row) for row in cast("list[object]", body["records"])]
            norms = cast("list[float] | None", body["norms"])
            row_ids = cast("list[int] | None", body.get("row_ids"))
            if entry.vectors is None:
                raise StorageFailed(
                    "the journal holds an upsert without vectors; expected a matrix beside it"
                )
            return Upsert(
                revision=cast("int", body["revision"]),
                time=cast("str", body["time"]),
                first_id=cast("int", body["first_id"]),
                ids=[row["id"] for row in cast("list[ChunkRecord]", body["records"])],
                records=records,
                vectors=entry.vectors,
                norms=None if norms is None else np.array(norms, dtype=np.float64),
                row_ids=None if row_ids is None else np.array(row_ids, dtype=np.int64),
            )
        case "remove":
            return Remove(
                revision=cast("int", body["revision"]),
                time=cast("str", body["time"]),
                chunks=cast("list[str]", body["chunks"]),
                documents=cast("list[str]", body["documents"]),
            )
        case other:
            raise StorageFailed(
                f"the journal holds an operation {other!r}, which this version does not know: upgrade vdb-core"
            )
