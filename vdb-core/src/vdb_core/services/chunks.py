"""Chunks of a library: create, upsert, read, list, patch, delete."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, cast

import numpy as np

from vdb_core.domain import (
    Chunk,
    check_id,
    check_metadata,
    format_time,
    merge_patch,
    now_us,
    parse_time,
    to_datetime,
)
from vdb_core.engine.committer import Plan
from vdb_core.engine.documents import document_record
from vdb_core.engine.operations import PutDocuments, Remove, Upsert
from vdb_core.engine.records import created_at_of, ending, finish, parse, start
from vdb_core.engine.state import embedding_of
from vdb_core.errors import (
    AlreadyExists,
    ChunkNotFound,
    DocumentNotFound,
    Fault,
    LibraryNotFound,
    ValidationFailed,
)
from vdb_core.filters import parse_filter
from vdb_core.indexes import bitmap
from vdb_core.services.checks import (
    body_of,
    check_if_match,
    escaped,
    is_mapping,
    known_fields,
    object_of,
    raise_faults,
    text_fault,
)
from vdb_core.services.documents import DocumentOperations, chunk_ids_matching
from vdb_core.services.paging import check_limit, decode_cursor, encode_cursor
from vdb_core.services.results import DeleteResult, Page, UpsertResult
from vdb_core.services.rows import Rows, prepare_rows
from vdb_core.services.texts import choose_embedder, embedding_for

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from vdb_core.engine.operations import Operation
    from vdb_core.engine.overlay import Overlay
    from vdb_core.engine.state import LibraryInfo, LibraryState, Row

__all__ = ["ChunkOperations", "chunk_of"]

_PATCHABLE: Final = ("document_id", "text", "embedding", "embedding_b64", "metadata")
_DEFAULT: Final = -1


def chunk_of(row: Row, *, embedding: bool = True) -> Chunk:
    """Make the entity of a row."""
    return _chunk(row.record, row.embedding() if embedding else np.empty(0, dtype=np.float32))


def _written(operation: Operation) -> Chunk:
    """Make the entity of the one row that an upsert writes."""
    if not isinstance(operation, Upsert):
        raise TypeError("the last operation of a chunk's write is its upsert")
    norm = None if operation.norms is None else float(operation.norms[0])
    return _chunk(operation.records[0], embedding_of(operation.vectors[0], norm))


def _chunk(stored: bytes, embedding: NDArray[np.float32]) -> Chunk:
    record = parse(stored)
    return Chunk(
        id=record["id"],
        document_id=record["document_id"],
        text=record["text"],
        embedding=embedding,
        metadata=record["metadata"],
        revision=record["revision"],
        created_at=to_datetime(parse_time(record["created_at"])),
        updated_at=to_datetime(parse_time(record["updated_at"])),
    )


class ChunkOperations(DocumentOperations):
    """What can be done with chunks."""

    def _prepare_rows(
        self,
        library_id: str,
        rows: Sequence[object],
        *,
        pointer: str,
        single: bool = False,
        vectors: NDArray[np.generic] | None = None,
        embed: bool,
    ) -> Rows:
        entry = self._engine.entry(library_id)
        state = cast("LibraryState", entry.state)
        info = state.info
        return prepare_rows(
            rows,
            pointer=pointer,
            single=single,
            vectors=vectors,
            metric=info["metric"],
            dimension=info["dimension"],
            limits=self._engine.settings.limits,
            embed=embedding_for(self._engine, state, embed=embed),
        )

    def create_chunk(
        self, library_id: str, body: Mapping[str, object], *, embed: bool = True
    ) -> Future[Chunk]:
        """Create a chunk: ``{id?, document_id?, text?, embedding? or embedding_b64?, metadata?}``.

        Where ``embed`` is false and its text would have to be embedded, raises ``WouldBlock`` instead; so do the
        other writes of texts.

        Raises:
            ValidationFailed: the body is not acceptable.
            LibraryNotFound: there is no such library.
            AlreadyExists: (in the future) the id is taken.
            DocumentNotFound: (in the future) there is no such document.
        """
        rows = self._prepare_rows(library_id, [body], pointer="", single=True, embed=embed)

        def prepare(overlay: Overlay) -> Plan[Chunk]:
            chunk_id = rows.ids[0]
            if overlay.exists and overlay.has_chunk(chunk_id):
                raise AlreadyExists(
                    f"Chunk {chunk_id!r} exists already; change it with PATCH, or replace it with upsert.",
                    faults=[Fault("/id", "this id is taken")],
                )
            operations = plan_upsert(overlay, rows, {}, create_documents=False)
            return Plan(operations, lambda: replace(_written(operations[-1]), warnings=rows.warnings))

        return self._engine.committer.submit(library_id, prepare, size=rows.nbytes)

    def upsert_chunks(
        self,
        library_id: str,
        rows: Sequence[Mapping[str, object]],
        *,
        create_documents: object = False,
        vectors: NDArray[np.generic] | None = None,
        pointer: str = "/chunks",
        max_rows: int | None = _DEFAULT,
        embed: bool = True,
    ) -> Future[UpsertResult]:
        """Create or replace chunks, all of them or none.

        Args:
            library_id: the library.
            rows: objects with the fields of a chunk.
            create_documents: make documents that are named and not there; otherwise they are an error.
            vectors: float32 or float16 ``[n, dim]`` in place of each row's embedding.
            pointer: where the rows are in the request.
            max_rows: how many there may be; none is no limit.
            embed: false raises ``WouldBlock`` where there are texts to embed.
        """
        limit = self._engine.settings.limits.max_batch_rows if max_rows == _DEFAULT else max_rows
        if not isinstance(rows, (list, tuple)):
            raise ValidationFailed.at(pointer, f"expected a list of chunks; received {type(rows).__name__}")
        if limit is not None and len(rows) > limit:
            raise ValidationFailed.at(
                pointer, f"expected at most {limit} rows (max_batch_rows); received {len(rows)}"
            )
        if not isinstance(create_documents, bool):
            kind = type(create_documents).__name__
            raise ValidationFailed.at("/create_documents", f"expected true or false; received {kind}")
        if not rows:
            _ = self._engine.entry(library_id)
            return self._engine.committer.submit(library_id, _plan_nothing)
        ready = self._prepare_rows(library_id, rows, pointer=pointer, vectors=vectors, embed=embed)

        def prepare(overlay: Overlay) -> Plan[UpsertResult]:
            old = overlay.records(ready.ids)
            updated = len(old)
            operations = plan_upsert(overlay, ready, old, create_documents=create_documents)
            revision = overlay.info["revision"] + 1
            result = UpsertResult(
                created=len(ready.ids) - updated,
                updated=updated,
                ids=ready.ids,
                revision=revision,
                warnings=ready.warnings,
            )
            return Plan(operations, lambda: result)

        return self._engine.committer.submit(library_id, prepare, size=ready.nbytes)

    def get_chunk(self, library_id: str, chunk_id: str) -> Chunk:
        """Read a chunk; raises ``ChunkNotFound``."""
        entry = self._engine.entry(library_id)
        with entry.lock.read():
            row = entry.readable().find(chunk_id)
            if row is not None:
                return chunk_of(row)
        raise ChunkNotFound(f"Library {library_id!r} has no chunk {chunk_id!r}.")

    def list_chunks(
        self,
        library_id: str,
        *,
        limit: int = 100,
        cursor: str | None = None,
        document_id: str | None = None,
        filter: object = None,  # noqa: A002 - the word of the REST contract
        include: Sequence[str] = (),
    ) -> Page[Chunk]:
        """List chunks in the order in which they were last written.

        ``embedding`` is empty unless ``include`` names it.
        """
        limit = check_limit(limit)
        after = cast("int | None", decode_cursor("chunks", cursor, int)) or 0
        limits = self._engine.settings.limits
        wanted = None
        if filter is not None:
            wanted = parse_filter(
                filter, max_depth=limits.max_filter_depth, max_nodes=limits.max_filter_nodes
            )
        of_document = None if document_id is None else parse_filter({"$document_id": document_id})
        unknown = [one for one in include if one != "embedding"]
        if unknown:
            raise ValidationFailed.at("/include", f"unknown value {unknown[0]!r}; known: embedding")
        entry = self._engine.entry(library_id)
        items: list[Chunk] = []
        last = 0
        with entry.lock.read():
            state = entry.readable()
            if document_id is not None and document_id not in state.documents:
                raise DocumentNotFound(f"Library {library_id!r} has no document {document_id!r}.")
            for block in state.blocks():
                if not block.rows or int(block.ids[block.rows - 1]) <= after:
                    continue
                words = block.alive_words()
                for one in (wanted, of_document):
                    if one is not None:
                        words = words & state.matching(block, one)
                slots = bitmap.to_slots(words)
                slots = slots[block.ids[slots] > after][: limit + 1 - len(items)]
                for slot in slots.tolist():
                    if len(items) == limit:
                        return Page(items=items, next_cursor=encode_cursor("chunks", last))
                    items.append(chunk_of(state.row(int(block.ids[slot])), embedding="embedding" in include))
                    last = int(block.ids[slot])
        return Page(items=items, next_cursor=None)

    def patch_chunk(
        self,
        library_id: str,
        chunk_id: str,
        body: Mapping[str, object],
        *,
        if_match: int | None = None,
        embed: bool = True,
    ) -> Future[Chunk]:
        """Change a chunk by a JSON merge patch: ``{document_id?, text?, embedding? or embedding_b64?, metadata?}``.

        ``null`` takes a text or a document away; an embedding can be replaced, not taken away. Where the library has
        an embedder, another text gets an embedding of it unless the patch brings one.
        """
        body = object_of(body)
        state = cast("LibraryState", self._engine.entry(library_id).state)
        info = state.info
        limits = self._engine.settings.limits
        faults = known_fields(body, _PATCHABLE, "")
        if body.get("document_id") is not None:
            faults.extend(check_id(body["document_id"], "/document_id"))
        if body.get("text") is not None:
            faults.extend(text_fault(body["text"], "/text", max_bytes=limits.max_text_bytes))
        patch = body.get("metadata", {})
        if not (patch is None or is_mapping(patch)):
            faults.append(Fault("/metadata", f"expected an object; received {type(patch).__name__}"))
        faults.extend(
            Fault(f"/{name}", "a chunk has an embedding; replace it, or delete the chunk")
            for name in ("embedding", "embedding_b64")
            if name in body and body[name] is None
        )
        raise_faults(faults)
        ready: Rows | None = None
        given = {name: body[name] for name in ("embedding", "embedding_b64") if name in body}
        if not given and body.get("text") is not None and info["embedder"] is not None:
            given = {"text": body["text"]}
        if given:
            ready = prepare_rows(
                [{"id": chunk_id, **given}],
                pointer="",
                single=True,
                vectors=None,
                metric=info["metric"],
                dimension=info["dimension"],
                limits=limits,
                embed=embedding_for(self._engine, state, embed=embed),
            )

        def prepare(overlay: Overlay) -> Plan[Chunk]:
            revision = overlay.info["revision"] + 1
            old = overlay.chunk(chunk_id)
            if old is None:
                raise ChunkNotFound(f"Library {library_id!r} has no chunk {chunk_id!r}.")
            record = parse(old.record)
            check_if_match(if_match, record["revision"], f"Chunk {chunk_id!r}")
            document_id = cast("str | None", body.get("document_id", record["document_id"]))
            if document_id is not None and overlay.document(document_id) is None:
                raise DocumentNotFound(
                    f"Library {library_id!r} has no document {document_id!r}; create it first.",
                    faults=[Fault("/document_id", "no such document")],
                )
            # RFC 7396: null for the member removes it, which leaves the empty object.
            metadata = (
                {} if patch is None else merge_patch(record["metadata"], cast("Mapping[str, object]", patch))
            )
            raise_faults(
                check_metadata(
                    metadata,
                    "/metadata",
                    max_bytes=limits.max_metadata_bytes,
                    max_depth=limits.max_json_depth,
                )
            )
            now = format_time(now_us())
            head = start(
                chunk_id, document_id, cast("str | None", body.get("text", record["text"])), metadata
            )
            fresh = finish(head, revision, record["created_at"].encode(), now.encode())
            stored, length = old.vector, old.norm
            # A text that is the same keeps its embedding, which may be one that its owner gave.
            if ready is not None and (ready.embedder is None or body["text"] != record["text"]):
                _check_form(overlay.info, ready)
                _ = choose_embedder(overlay, ready.embedder, revision, now)
                stored, length = ready.vectors[0], 1.0 if ready.norms is None else float(ready.norms[0])
            operation = Upsert(
                revision=revision,
                time=now,
                first_id=overlay.next_id,
                ids=[chunk_id],
                records=[fresh],
                vectors=stored[np.newaxis, :],
                norms=np.array([length]) if overlay.info["metric"] == "cosine" else None,
            )
            warnings = [] if ready is None else ready.warnings
            return Plan([operation], lambda: replace(_written(operation), warnings=warnings))

        return self._engine.committer.submit(library_id, prepare)

    def delete_chunk(
        self, library_id: str, chunk_id: str, *, if_match: int | None = None
    ) -> Future[DeleteResult]:
        """Delete a chunk; fails with ``ChunkNotFound`` where it is not there."""
        _ = self._engine.entry(library_id)

        def prepare(overlay: Overlay) -> Plan[DeleteResult]:
            revision = overlay.info["revision"] + 1
            old = overlay.chunk(chunk_id)
            if old is None:
                raise ChunkNotFound(f"Library {library_id!r} has no chunk {chunk_id!r}.")
            if if_match is not None:
                check_if_match(if_match, parse(old.record)["revision"], f"Chunk {chunk_id!r}")
            operation = Remove(revision=revision, time=format_time(now_us()), chunks=[chunk_id])
            return Plan([operation], lambda: DeleteResult(deleted=1, revision=revision))

        return self._engine.committer.submit(library_id, prepare)

    def delete_chunks(self, library_id: str, body: Mapping[str, object]) -> Future[DeleteResult]:
        """Delete chunks: ``{"ids": [...]}`` or ``{"filter": {...}}``; ids that are not there count 0."""
        body = body_of(body, ("ids", "filter"))
        _ = self._engine.entry(library_id)
        if len(body) != 1:
            raise ValidationFailed.at(
                "", "expected exactly one of ids, filter; an empty body deletes nothing"
            )
        limits = self._engine.settings.limits
        if "ids" in body:
            ids = body["ids"]
            if not isinstance(ids, list):
                raise ValidationFailed.at("/ids", f"expected a list of ids; received {type(ids).__name__}")
            listed = cast("list[object]", ids)
            if len(listed) > limits.max_batch_rows:
                raise ValidationFailed.at(
                    "/ids",
                    f"expected at most {limits.max_batch_rows} ids (max_batch_rows); received {len(listed)}",
                )
            raise_faults([fault for at, one in enumerate(listed) for fault in check_id(one, f"/ids/{at}")])
            chosen = list(dict.fromkeys(cast("list[str]", listed)))
            return self._engine.committer.submit(
                library_id,
                lambda overlay: _plan_delete(overlay, [one for one in chosen if overlay.has_chunk(one)]),
            )
        wanted = parse_filter(
            body["filter"], max_depth=limits.max_filter_depth, max_nodes=limits.max_filter_nodes
        )
        if wanted.matches_everything:
            raise ValidationFailed.at(
                "/filter", "an empty filter is refused here; to delete everything, delete the library"
            )
        return self._engine.committer.submit(
            library_id, lambda overlay: _plan_delete(overlay, chunk_ids_matching(overlay.published, wanted))
        )


def _plan_delete(overlay: Overlay, ids: list[str]) -> Plan[DeleteResult]:
    if not ids:
        revision = overlay.info["revision"]
        return Plan([], lambda: DeleteResult(deleted=0, revision=revision))
    revision = overlay.info["revision"] + 1
    operation = Remove(revision=revision, time=format_time(now_us()), chunks=ids)
    return Plan([operation], lambda: DeleteResult(deleted=len(ids), revision=revision))


def _check_form(info: LibraryInfo, rows: Rows) -> None:
    """Check that rows that were prepared before the write's turn came are what the library stores now."""
    if (rows.norms is not None) != (info["metric"] == "cosine"):
        # Another library by now, deleted and made again under the same id; this write belongs to the one that was.
        raise LibraryNotFound(f"Library {info['id']!r} was deleted while rows for it were on their way.")
    dimension = int(rows.vectors.shape[1])
    if info["dimension"] not in (None, dimension):
        raise ValidationFailed.of(
            [
                Fault(
                    f"{rows.pointers(at)}/embedding",
                    f"expected {info['dimension']} numbers; received {dimension}",
                )
                for at in range(len(rows.ids))
            ]
        )


def plan_upsert(
    overlay: Overlay, rows: Rows, old: Mapping[str, bytes], *, create_documents: bool
) -> list[Operation]:
    """The operations that store rows; raises a ``CallerError`` where the library does not allow them.

    Args:
        overlay: the library, as the write sees it.
        rows: what is stored.
        old: the records of those of the rows that are there already, by chunk id; of every one.
        create_documents: make documents that are named and not there.
    """
    info: LibraryInfo = overlay.info
    _check_form(info, rows)
    revision = info["revision"] + 1
    now = format_time(now_us())
    operations: list[Operation] = [*choose_embedder(overlay, rows.embedder, revision, now)]
    named = dict.fromkeys(one for one in rows.document_ids if one is not None)
    missing = [one for one in named if overlay.document(one) is None]
    if missing and not create_documents:
        absent = set(missing)
        faults = [
            Fault(f"{rows.pointers(at)}/document_id", f"no document {escaped(one)!r}; create it first")
            for at, one in enumerate(rows.document_ids)
            if one in absent
        ]
        raise DocumentNotFound(f"Library {info['id']!r} has no document {missing[0]!r}.", faults=faults)
    if missing:
        records = [
            document_record(one, {}, revision=revision, created_at=now, updated_at=now) for one in missing
        ]
        operations.append(PutDocuments(revision=revision, time=now, ids=missing, records=records))
    stamp = now.encode()
    finished: Sequence[bytes] = rows.heads.ending(ending(revision, stamp, stamp))
    if old:
        created = (old.get(one) for one in rows.ids)
        finished = [
            finish(head, revision, stamp if before is None else created_at_of(before), stamp)
            for head, before in zip(rows.heads, created, strict=True)
        ]
    operations.append(
        Upsert(
            revision=revision,
            time=now,
            first_id=overlay.next_id,
            ids=rows.ids,
            records=finished,
            vectors=rows.vectors,
            norms=rows.norms,
            indexes=rows.indexes,
            fields=rows.fields,
            all_new=not old,
            own_vectors=rows.own_vectors,
        )
    )
    return operations


def _plan_nothing(overlay: Overlay) -> Plan[UpsertResult]:
    result = UpsertResult(created=0, updated=0, ids=[], revision=overlay.info["revision"])
    return Plan([], lambda: result)
