"""Random operations that meet each other: few ids, many writers, everything a library can be asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

import numpy as np

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
    NewRow,
    PatchChunk,
    PatchDocument,
    PatchLibrary,
    Search,
    Upsert,
)

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from numpy.typing import NDArray

    from history.events import Event
    from history.operations import Read, Write

__all__ = ["Workload", "follow"]

_LANGUAGES: Final = ("en", "de", "fr")


class Workload:
    """What one client does. Every row it writes names the write in its text, so that no two writes look alike."""

    def __init__(
        self,
        chance: random.Random,
        client: str,
        *,
        dimension: int,
        chunks: int = 40,
        documents: int = 4,
        reads: float = 0.4,
        large: int = 0,
    ) -> None:
        """Set it up.

        Args:
            chance: where its choices come from.
            client: who it is.
            dimension: of the embeddings.
            chunks: how many ids there are; fewer meet more often.
            documents: likewise.
            reads: the share of operations that only read.
            large: rows of a bulk upload at most, 0 for no large ones.
        """
        self._chance = chance
        self._client = client
        self._dimension = dimension
        self._chunks = [f"c{number}" for number in range(chunks)]
        self._documents = [f"d{number}" for number in range(documents)]
        self._reads = reads
        self._large = large
        self._serial = 0
        self._seen: dict[str, int] = {}
        """Revisions of chunks as this client last saw them."""

    def next(self) -> Read | Write:
        """Choose an operation."""
        chance = self._chance
        if chance.random() < self._reads:
            return chance.choices(_READS, _READ_WEIGHTS)[0](self)
        return chance.choices(_WRITES, _WRITE_WEIGHTS)[0](self)

    def saw(self, event: Event) -> None:
        """Learn from an answer what the next ``If-Match`` names."""
        if isinstance(event.operation, (GetChunk, PatchChunk, CreateChunk)) and event.reply.outcome == "ok":
            chunk = cast("dict[str, object]", event.reply.value)
            self._seen[cast("str", chunk["id"])] = cast("int", chunk["revision"])

    def vector(self) -> NDArray[np.float32]:
        """Small whole numbers, which tie, or any numbers, whose bits must all come back."""
        if self._chance.random() < 0.5:
            numbers = [float(self._chance.randint(-2, 2)) for _ in range(self._dimension)]
        else:
            numbers = [self._chance.gauss(0.0, 1.0) for _ in range(self._dimension)]
        if not any(numbers):
            numbers[0] = 1.0
        return np.array(numbers, dtype=np.float32)

    def row(self, chunk_id: str | None = None) -> NewRow:
        """A chunk, of a document now and then."""
        self._serial += 1
        chance = self._chance
        return NewRow(
            id=chunk_id or chance.choice(self._chunks),
            vector=self.vector(),
            text=f"{self._client} {self._serial}",
            metadata={
                "lang": chance.choice(_LANGUAGES),
                "year": chance.randint(2020, 2024),
                "by": self._client,
                "nested": {"n": self._serial},
            },
            document_id=chance.choice(self._documents) if chance.random() < 0.4 else None,
        )

    def filter(self) -> dict[str, object]:
        """A filter that matches some rows."""
        chance = self._chance
        return chance.choice(
            [
                {"lang": chance.choice(_LANGUAGES)},
                {"lang": chance.choice(_LANGUAGES), "year": {"$gte": chance.randint(2020, 2024)}},
                {"$or": [{"by": self._client}, {"year": 2022}]},
                {"$document_id": chance.choice(self._documents)},
                {"$document.kind": {"$ne": "book"}},
                {"$id": {"$in": chance.sample(self._chunks, 5)}},
            ]
        )

    def upsert(self) -> Write:
        """Some rows, or many of them, as JSON or in bulk."""
        chance = self._chance
        if self._large and chance.random() < 0.1:
            # More rows than fit beside others go into segments of their own.
            count = chance.randint(self._large // 4, self._large)
            ids = [f"x{number}" for number in chance.sample(range(2 * self._large), count)]
        else:
            ids = chance.sample(self._chunks, chance.randint(1, min(12, len(self._chunks))))
        return Upsert(
            rows=tuple(self.row(one) for one in ids),
            create_documents=chance.random() < 0.5,
            bulk=len(ids) > 12 or chance.random() < 0.3,
        )

    def create_chunk(self) -> Write:
        """A chunk that may be there already."""
        return CreateChunk(row=self.row())

    def patch_chunk(self) -> Write:
        """Another text or embedding, now and then only where it is as this client last saw it."""
        self._serial += 1
        chance = self._chance
        chunk_id = chance.choice(self._chunks)
        return PatchChunk(
            id=chunk_id,
            metadata={"lang": chance.choice(_LANGUAGES), "patched": self._serial, "year": None},
            text=f"{self._client} {self._serial}" if chance.random() < 0.5 else None,
            vector=self.vector() if chance.random() < 0.5 else None,
            if_match=self._seen.get(chunk_id) if chance.random() < 0.5 else None,
        )

    def delete_chunk(self) -> Write:
        """A chunk that may not be there."""
        return DeleteChunk(id=self._chance.choice(self._chunks))

    def delete_chunks(self) -> Write:
        """Some chunks that may not be there."""
        return DeleteChunks(ids=tuple(self._chance.sample(self._chunks, 3)))

    def delete_matching(self) -> Write:
        """What a filter matches, which is narrow so that something is left."""
        chance = self._chance
        wide = {"lang": chance.choice(_LANGUAGES), "year": chance.randint(2020, 2024)}
        if self._large:
            # Now and then most of the library, or it would only grow.
            return DeleteMatching(filter=chance.choice([wide, {"lang": chance.choice(_LANGUAGES)}]))
        return DeleteMatching(filter=wide)

    def create_document(self) -> Write:
        """A document that may be there already."""
        return CreateDocument(id=self._chance.choice(self._documents), metadata=self._kind())

    def patch_document(self) -> Write:
        """Another kind, which filters on documents see."""
        return PatchDocument(id=self._chance.choice(self._documents), metadata=self._kind())

    def delete_document(self) -> Write:
        """A document with its chunks."""
        return DeleteDocument(id=self._chance.choice(self._documents))

    def patch_library(self) -> Write:
        """Another name."""
        self._serial += 1
        return PatchLibrary(name=f"{self._client} {self._serial}", metadata={"by": self._client})

    def _kind(self) -> dict[str, object]:
        self._serial += 1
        return {"kind": self._chance.choice(["book", "letter"]), "n": self._serial}

    def get_chunk(self) -> Read:
        """A chunk that may not be there."""
        return GetChunk(id=self._chance.choice(self._chunks))

    def get_document(self) -> Read:
        """A document that may not be there."""
        return GetDocument(id=self._chance.choice(self._documents))

    def get_library(self) -> Read:
        """The counts."""
        return GetLibrary()

    def list_chunks(self) -> Read:
        """The first page; ``follow`` asks for the next ones."""
        wanted = self.filter() if self._chance.random() < 0.5 else None
        return ListChunks(limit=self._chance.choice([3, 10, 1000]), filter=wanted)

    def list_documents(self) -> Read:
        """The first page."""
        return ListDocuments(limit=self._chance.choice([2, 1000]))

    def search(self) -> Read:
        """One query or a batch of them, with or without a filter."""
        chance = self._chance
        wanted = self.filter() if chance.random() < 0.5 else None
        queries = 1 if chance.random() < 0.7 else chance.randint(2, 4)
        return Search(
            queries=tuple(self.vector() for _ in range(queries)),
            k=chance.choice([1, 5, 20, 1000]),
            filter=wanted,
        )

    def export(self) -> Read:
        """Everything."""
        return ExportLibrary()


def follow(event: Event) -> Read | None:
    """What an answer makes a client ask next: for the page after it, or for one of the rows it has written."""
    operation = event.operation
    if event.reply.outcome != "ok":
        return None
    if isinstance(operation, Upsert):
        return GetChunk(id=operation.rows[0].id)
    if not isinstance(operation, (ListChunks, ListDocuments)):
        return None
    page = cast("dict[str, object]", event.reply.value)
    items = cast("list[dict[str, object]]", page["items"])
    if not page["more"]:
        return None
    last, cursor = items[-1], cast("str", page["cursor"])
    if isinstance(operation, ListDocuments):
        return ListDocuments(limit=operation.limit, after=cast("str", last["id"]), cursor=cursor)
    after = (cast("str", last["id"]), cast("int", last["revision"]))
    return ListChunks(limit=operation.limit, filter=operation.filter, after=after, cursor=cursor)


_WRITES: Final[tuple[Callable[[Workload], Write], ...]] = (
    Workload.upsert,
    Workload.create_chunk,
    Workload.patch_chunk,
    Workload.delete_chunk,
    Workload.delete_chunks,
    Workload.delete_matching,
    Workload.create_document,
    Workload.patch_document,
    Workload.delete_document,
    Workload.patch_library,
)
_WRITE_WEIGHTS: Final = (8, 2, 4, 1, 1, 1, 2, 1, 0.5, 0.5)
_READS: Final[tuple[Callable[[Workload], Read], ...]] = (
    Workload.get_chunk,
    Workload.get_document,
    Workload.get_library,
    Workload.list_chunks,
    Workload.list_documents,
    Workload.search,
    Workload.export,
)
_READ_WEIGHTS: Final = (3, 1, 1, 2, 1, 5, 0.3)
