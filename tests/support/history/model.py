"""The specification: a library as one thread would keep it, in plain dictionaries; no engine code but its definitions.

What the engine itself defines is taken from where it defines it: what a filter means for a row
(``vdb_core.filters.row_matches``), what exact distances are (``vdb_core.indexes.exact_distances``) and the unit form of a
row under cosine (``vdb_core.domain.normalize``). Each of these has tests of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, cast

import numpy as np
import orjson

from history.operations import (
    CreateChunk,
    CreateDocument,
    DeleteChunk,
    DeleteChunks,
    DeleteDocument,
    DeleteMatching,
    ExportLibrary,
    GetChunk,
    GetDocument,
    GetLibrary,
    ListChunks,
    ListDocuments,
    PatchChunk,
    PatchDocument,
    PatchLibrary,
    Search,
    Upsert,
)
from vdb_core.domain import merge_patch, normalize
from vdb_core.filters import parse_filter, row_matches
from vdb_core.indexes import exact_distances

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from history.operations import Read, Write
    from vdb_core.filters import Filter
    from vdb_core.indexes import Metric

__all__ = ["Document", "Model", "Refused", "Row", "same_hits"]


class Refused(Exception):
    """The library does not allow the operation; carries the code of the error."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A chunk as it should be stored."""

    id: str
    document_id: str | None
    text: str
    metadata: Mapping[str, object]
    stored: NDArray[np.float32]
    """The vector that is compared: of unit length under cosine."""
    embedding: bytes
    """The bits of the float32 numbers that a reader gets."""
    revision: int
    order: int
    """The internal id: rows are listed in this order, and ties go to the smaller one."""

    def shown(self, *, embedding: bool = True) -> dict[str, object]:
        """What an answer shows of it."""
        fields: dict[str, object] = {
            "id": self.id,
            "document_id": self.document_id,
            "text": self.text,
            "metadata": dict(self.metadata),
            "revision": self.revision,
        }
        return {**fields, "embedding": self.embedding} if embedding else fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A document as it should be stored."""

    id: str
    metadata: Mapping[str, object]
    revision: int

    def shown(self) -> dict[str, object]:
        """What an answer shows of it."""
        return {"id": self.id, "metadata": dict(self.metadata), "revision": self.revision}


@lru_cache(4096)
def _parsed(text: bytes) -> Filter:
    return parse_filter(orjson.loads(text))


def _filter(wanted: Mapping[str, object]) -> Filter:
    return _parsed(orjson.dumps(wanted, option=orjson.OPT_SORT_KEYS))


class Model:
    """One library. ``do`` carries out a write, ``read`` answers a read; both raise ``Refused``."""

    def __init__(
        self, metric: Metric, *, name: str = "", metadata: Mapping[str, object] | None = None
    ) -> None:
        self.metric: Metric = metric
        self.name = name
        self.metadata: Mapping[str, object] = metadata or {}
        self.revision = 1
        self.next_order = 1
        self.rows: dict[str, Row] = {}
        """By chunk id, in the order of their last writes."""
        self.documents: dict[str, Document] = {}

    def copy(self) -> Model:
        """A model that changes on its own; rows and documents are immutable and shared."""
        twin = Model(self.metric, name=self.name, metadata=self.metadata)
        twin.revision, twin.next_order = self.revision, self.next_order
        twin.rows, twin.documents = dict(self.rows), dict(self.documents)
        return twin

    # ---- writes ------------------------------------------------------------------------------------------------

    def do(self, write: Write) -> dict[str, object]:  # noqa: C901 - one case an operation
        """Carry out a write, or refuse it and change nothing; returns what its answer must say."""
        match write:
            case Upsert():
                return self._upsert(write)
            case CreateChunk():
                if write.row.id in self.rows:
                    raise Refused("already_exists")
                self._upsert(Upsert(rows=(write.row,)))
                return self.rows[write.row.id].shown()
            case PatchChunk():
                return self._patch(write)
            case DeleteChunk():
                if write.id not in self.rows:
                    raise Refused("chunk_not_found")
                return self._delete([write.id])
            case DeleteChunks():
                return self._delete([one for one in dict.fromkeys(write.ids) if one in self.rows])
            case DeleteMatching():
                return self._delete([row.id for row in self.matching(write.filter)])
            case CreateDocument():
                if write.id in self.documents:
                    raise Refused("already_exists")
                return self._put(write.id, write.metadata)
            case PatchDocument():
                if write.id not in self.documents:
                    raise Refused("document_not_found")
                return self._put(write.id, merge_patch(self.documents[write.id].metadata, write.metadata))
            case DeleteDocument():
                if write.id not in self.documents:
                    raise Refused("document_not_found")
                doomed = [row.id for row in self.rows.values() if row.document_id == write.id]
                del self.documents[write.id]
                return self._delete(doomed, always=True)
            case PatchLibrary():
                self.revision += 1
                self.name, self.metadata = write.name, merge_patch(self.metadata, write.metadata)
                return self._library()

    def _upsert(self, write: Upsert) -> dict[str, object]:
        named = {row.document_id: None for row in write.rows if row.document_id is not None}
        missing = [one for one in named if one not in self.documents]
        if missing and not write.create_documents:
            raise Refused("document_not_found")
        self.revision += 1
        for one in missing:
            self.documents[one] = Document(id=one, metadata={}, revision=self.revision)
        updated = sum(row.id in self.rows for row in write.rows)
        forms = self._forms([row.vector for row in write.rows])
        for row, (stored, embedding) in zip(write.rows, forms, strict=True):
            self._place(
                Row(
                    id=row.id,
                    document_id=row.document_id,
                    text=row.text,
                    metadata=row.metadata,
                    stored=stored,
                    embedding=embedding,
                    revision=self.revision,
                    order=self.next_order,
                )
            )
        return {"created": len(write.rows) - updated, "updated": updated, "revision": self.revision}

    def _forms(self, vectors: Sequence[NDArray[np.float32]]) -> list[tuple[NDArray[np.float32], bytes]]:
        """Of each row the vector as stored, and the bits that a reader gets."""
        if self.metric != "cosine":
            return [(vector, vector.tobytes()) for vector in vectors]
        units, norms = normalize(np.stack(vectors))
        back = (units.astype(np.float64) * norms[:, np.newaxis]).astype(np.float32)
        return [(unit, one.tobytes()) for unit, one in zip(units, back, strict=True)]

    def _place(self, row: Row) -> None:
        self.rows.pop(row.id, None)
        self.rows[row.id] = row
        self.next_order += 1

    def _patch(self, write: PatchChunk) -> dict[str, object]:
        old = self.rows.get(write.id)
        if old is None:
            raise Refused("chunk_not_found")
        if write.if_match not in (None, old.revision):
            raise Refused("revision_mismatch")
        self.revision += 1
        fresh = replace(
            old,
            metadata=merge_patch(old.metadata, write.metadata),
            text=old.text if write.text is None else write.text,
            revision=self.revision,
            order=self.next_order,
        )
        if write.vector is not None:
            stored, embedding = self._forms([write.vector])[0]
            fresh = replace(fresh, stored=stored, embedding=embedding)
        self._place(fresh)
        return fresh.shown()

    def _delete(self, ids: Sequence[str], *, always: bool = False) -> dict[str, object]:
        for one in ids:
            del self.rows[one]
        self.revision += bool(ids) or always
        return {"deleted": len(ids), "revision": self.revision}

    def _put(self, document_id: str, metadata: Mapping[str, object]) -> dict[str, object]:
        self.revision += 1
        self.documents[document_id] = Document(id=document_id, metadata=metadata, revision=self.revision)
        return self.documents[document_id].shown()

    # ---- reads -------------------------------------------------------------------------------------------------

    def matching(self, wanted: Mapping[str, object] | None) -> list[Row]:
        """Rows that a filter allows, in the order of their last writes."""
        if wanted is None:
            return list(self.rows.values())
        parsed = _filter(wanted)
        return [row for row in self.rows.values() if self._matches(parsed, row)]

    def _matches(self, parsed: Filter, row: Row) -> bool:
        document = None if row.document_id is None else self.documents.get(row.document_id)
        return row_matches(
            parsed,
            chunk_id=row.id,
            document_id=row.document_id,
            metadata=row.metadata,
            document_metadata=None if document is None else document.metadata,
        )

    def read(self, read: Read, orders: Mapping[tuple[str, int], int]) -> object:
        """Answer a read; ``orders`` tells the internal id a chunk had at a revision, for what comes after it."""
        match read:
            case GetChunk():
                if read.id not in self.rows:
                    raise Refused("chunk_not_found")
                return self.rows[read.id].shown()
            case GetDocument():
                if read.id not in self.documents:
                    raise Refused("document_not_found")
                return self.documents[read.id].shown()
            case GetLibrary():
                return self._library()
            case ListChunks():
                after = 0 if read.after is None else orders.get(read.after)
                if after is None:
                    raise Refused("the page before ended with a chunk that never was")
                rows = [row for row in self.matching(read.filter) if row.order > after]
                return {
                    "items": [row.shown() for row in rows[: read.limit]],
                    "more": len(rows) > read.limit,
                }
            case ListDocuments():
                ids = sorted(one for one in self.documents if read.after is None or one > read.after)
                return {
                    "items": [self.documents[one].shown() for one in ids[: read.limit]],
                    "more": len(ids) > read.limit,
                }
            case Search():
                rows = self.matching(read.filter)
                return [self.nearest(query, rows) for query in read.queries]
            case ExportLibrary():
                return {
                    "library": self._library(),
                    "documents": {one: document.shown() for one, document in self.documents.items()},
                    "chunks": [row.shown() for row in self.rows.values()],
                }

    def _library(self) -> dict[str, object]:
        return {
            "name": self.name,
            "metadata": dict(self.metadata),
            "revision": self.revision,
            "chunks": len(self.rows),
            "documents": len(self.documents),
        }

    def nearest(self, query: NDArray[np.float32], rows: Sequence[Row]) -> list[tuple[Row, float]]:
        """All rows with the distance that an answer shows, closest first; ties go to the row written first."""
        if not rows:
            return []
        one = normalize(query[np.newaxis])[0][0] if self.metric == "cosine" else query
        distances = exact_distances(np.stack([row.stored for row in rows]), one, self.metric)
        order = np.argsort(distances, kind="stable").tolist()
        return [(rows[at], self._shown(float(distances[at]))) for at in order]

    def _shown(self, distance: float) -> float:
        if self.metric == "l2":
            return math.sqrt(distance)
        return min(2.0, max(0.0, distance)) if self.metric == "cosine" else distance


_SAME = 1e-9
"""Two ways to sum the same float64 products differ by less than this, relative to a distance of about 1."""


def same_hits(
    hits: Sequence[Mapping[str, object]], ranked: Sequence[tuple[Row, float]], k: int, *, exact: bool
) -> bool:
    """Whether hits are the first of a ranking, or, where the answer is not exact, as many of its rows with their scores.

    Each hit must show the row's content and its own exact distance, and closer hits come first.
    """
    if len(hits) != min(k, len(ranked)):
        return False
    if exact:
        if [hit["id"] for hit in hits] != [row.id for row, _ in ranked[:k]]:
            return False
        chosen = list(ranked[:k])
    else:
        known = {row.id: (row, distance) for row, distance in ranked}
        if len({hit["id"] for hit in hits}) != len(hits) or any(hit["id"] not in known for hit in hits):
            return False
        chosen = [known[cast("str", hit["id"])] for hit in hits]
    before = -math.inf
    for hit, (row, distance) in zip(hits, chosen, strict=True):
        told = cast("float", hit["distance"])
        content = (hit["document_id"], hit["text"], hit["metadata"])
        if content != (row.document_id, row.text, row.metadata) or told < before:
            return False
        if not math.isclose(told, distance, rel_tol=_SAME, abs_tol=_SAME):
            return False
        before = told
    return True
