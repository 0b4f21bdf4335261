"""Documents of a library: create, read, patch, delete with their chunks."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, cast

import orjson

from vdb_core.domain import (
    Document,
    check_id,
    check_metadata,
    format_time,
    merge_patch,
    new_id,
    now_us,
    parse_time,
    to_datetime,
)
from vdb_core.engine.committer import Plan
from vdb_core.engine.documents import DocumentRecord, document_record
from vdb_core.engine.operations import PutDocuments, Remove
from vdb_core.engine.records import parse
from vdb_core.errors import AlreadyExists, DocumentNotFound, Fault, ValidationFailed
from vdb_core.filters import parse_filter
from vdb_core.indexes import bitmap
from vdb_core.services.checks import (
    body_of,
    check_if_match,
    is_mapping,
    known_fields,
    object_of,
    raise_faults,
)
from vdb_core.services.paging import check_limit, decode_cursor, encode_cursor
from vdb_core.services.results import DeleteResult, Page

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future

    from vdb_core.engine.core import Engine
    from vdb_core.engine.overlay import Overlay
    from vdb_core.engine.state import LibraryState
    from vdb_core.filters import Filter

__all__ = ["DocumentOperations", "chunk_ids_matching", "document_of"]


def document_of(record: bytes) -> Document:
    """Make the entity of a record."""
    row = cast("DocumentRecord", orjson.loads(record))
    return Document(
        id=row["id"],
        metadata=row["metadata"],
        revision=row["revision"],
        created_at=to_datetime(parse_time(row["created_at"])),
        updated_at=to_datetime(parse_time(row["updated_at"])),
    )


def chunk_ids_matching(state: LibraryState, wanted: Filter) -> list[str]:
    """Ids of the live chunks that a filter allows, oldest first."""
    found: list[str] = []
    for block in state.blocks():
        slots = bitmap.to_slots(state.matching(block, wanted))
        found.extend(parse(block.records[slot])["id"] for slot in slots.tolist())
    return found


class DocumentOperations:
    """What can be done with documents."""

    def __init__(self, engine: Engine) -> None:
        self._engine: Engine = engine

    def _metadata_faults(self, value: object, pointer: str) -> list[Fault]:
        limits = self._engine.settings.limits
        return check_metadata(
            value, pointer, max_bytes=limits.max_metadata_bytes, max_depth=limits.max_json_depth
        )

    def create_document(self, library_id: str, body: Mapping[str, object]) -> Future[Document]:
        """Create a document: ``{id?, metadata?}``.

        Raises:
            ValidationFailed: the body is not acceptable.
            LibraryNotFound: there is no such library.
            AlreadyExists: (in the future) the id is taken.
        """
        body = object_of(body)
        _ = self._engine.entry(library_id)
        document_id = body["id"] if "id" in body else new_id()
        metadata = body.get("metadata", {})
        raise_faults(
            [
                *known_fields(body, ("id", "metadata"), ""),
                *check_id(document_id, "/id"),
                *self._metadata_faults(metadata, "/metadata"),
            ]
        )
        one, values = cast("str", document_id), cast("Mapping[str, object]", metadata)

        def prepare(overlay: Overlay) -> Plan[Document]:
            revision = overlay.info["revision"] + 1
            if overlay.document(one) is not None:
                raise AlreadyExists(
                    f"Document {one!r} exists already; change it with PATCH.",
                    faults=[Fault("/id", "this id is taken")],
                )
            now = format_time(now_us())
            record = document_record(one, values, revision=revision, created_at=now, updated_at=now)
            operation = PutDocuments(revision=revision, time=now, ids=[one], records=[record])
            return Plan([operation], lambda: document_of(record))

        return self._engine.committer.submit(library_id, prepare)

    def get_document(self, library_id: str, document_id: str) -> Document:
        """Read a document; raises ``DocumentNotFound``."""
        entry = self._engine.entry(library_id)
        with entry.lock.read():
            record = entry.readable().documents.get(document_id)
        if record is None:
            raise DocumentNotFound(f"Library {library_id!r} has no document {document_id!r}.")
        return document_of(record)

    def list_documents(
        self, library_id: str, *, limit: int = 100, cursor: str | None = None
    ) -> Page[Document]:
        """List documents in the order of their ids."""
        limit = check_limit(limit)
        after = decode_cursor("documents", cursor, str)
        entry = self._engine.entry(library_id)
        with entry.lock.read():
            table = entry.readable().documents
            ids = table.sorted_ids()
            begin = 0 if after is None else bisect_right(ids, cast("str", after))
            chosen = ids[begin : begin + limit]
            records = [table.get(one) for one in chosen]
        more = begin + limit < len(ids)
        return Page(
            items=[document_of(record) for record in records if record is not None],
            next_cursor=encode_cursor("documents", chosen[-1]) if more else None,
        )

    def patch_document(
        self, library_id: str, document_id: str, body: Mapping[str, object], *, if_match: int | None = None
    ) -> Future[Document]:
        """Change a document's metadata by a JSON merge patch: ``{metadata?}``."""
        body = body_of(body, ("metadata",))
        _ = self._engine.entry(library_id)
        patch = body.get("metadata", {})
        if not (patch is None or is_mapping(patch)):
            raise ValidationFailed.at("/metadata", f"expected an object; received {type(patch).__name__}")

        def prepare(overlay: Overlay) -> Plan[Document]:
            revision = overlay.info["revision"] + 1
            record = overlay.document(document_id)
            if record is None:
                raise DocumentNotFound(f"Library {library_id!r} has no document {document_id!r}.")
            old = cast("DocumentRecord", orjson.loads(record))
            check_if_match(if_match, old["revision"], f"Document {document_id!r}")
            # RFC 7396: null for the member removes it, which leaves the empty object.
            metadata = {} if patch is None else merge_patch(old["metadata"], patch)
            raise_faults(self._metadata_faults(metadata, "/metadata"))
            now = format_time(now_us())
            fresh = document_record(
                document_id, metadata, revision=revision, created_at=old["created_at"], updated_at=now
            )
            operation = PutDocuments(revision=revision, time=now, ids=[document_id], records=[fresh])
            return Plan([operation], lambda: document_of(fresh))

        return self._engine.committer.submit(library_id, prepare)

    def delete_document(
        self, library_id: str, document_id: str, *, if_match: int | None = None
    ) -> Future[DeleteResult]:
        """Delete a document and its chunks."""
        _ = self._engine.entry(library_id)
        wanted = parse_filter({"$document_id": document_id})

        def prepare(overlay: Overlay) -> Plan[DeleteResult]:
            revision = overlay.info["revision"] + 1
            state = overlay.published
            old = state.documents.parsed(document_id)
            if old is None:
                raise DocumentNotFound(f"Library {library_id!r} has no document {document_id!r}.")
            check_if_match(if_match, old["revision"], f"Document {document_id!r}")
            chunks = chunk_ids_matching(state, wanted)
            now = format_time(now_us())
            operation = Remove(revision=revision, time=now, chunks=chunks, documents=[document_id])
            return Plan([operation], lambda: DeleteResult(deleted=len(chunks), revision=revision))

        return self._engine.committer.submit(library_id, prepare)
