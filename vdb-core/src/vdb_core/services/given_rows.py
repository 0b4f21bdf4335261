"""The fields of rows as a caller gave them, column by column, with every fault.

Almost every row of an upload is plain: no field but the usual ones, ASCII, flat metadata. Those are looked at in one loop
without a call for each field, which is most of what Python does for a row. All others, and every row in which something is
wrong, are taken field by field: only that way tells faults.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, cast, final

from vdb_core.domain import check_id, check_metadata, embedding_from_b64, new_id
from vdb_core.domain.ids import MAX_ID_LENGTH, RESERVED_IDS
from vdb_core.domain.metadata import INT64_MAX, INT64_MIN
from vdb_core.engine.records import start
from vdb_core.errors import Fault
from vdb_core.services.checks import is_mapping, known_fields, text_fault

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vdb_core.services.settings import Limits

__all__ = ["CHUNK_FIELDS", "GivenRows"]

CHUNK_FIELDS: Final = ("id", "document_id", "text", "embedding", "embedding_b64", "metadata")
_KNOWN: Final = frozenset(CHUNK_FIELDS)
_NO_METADATA: Final[dict[str, object]] = {}
_MISSING: Final = object()


@final
class GivenRows:
    """The fields of rows, column by column, and what is wrong with them."""

    def __init__(self, *, limits: Limits, has_matrix: bool) -> None:
        """Take rows of which the embeddings are in a matrix beside them, or in the rows."""
        self._limits = limits
        self._has_matrix = has_matrix
        self._heads: list[bytes | None] = []
        self.ids: list[str] = []
        self.document_ids: list[str | None] = []
        self.texts: list[str | None] = []
        self.metadatas: list[Mapping[str, object]] = []
        self.embeddings: list[object] = []
        self.faults: list[Fault] = []

    def take_all(self, rows: Sequence[object], at: Callable[[int], str]) -> None:
        """Take rows in, each with the JSON Pointer that ``at`` gives to it."""
        known_keys: set[str] = set()
        known_documents: set[str] = set()
        max_text, has_matrix = self._limits.max_text_bytes, self._has_matrix
        max_metadata = self._limits.max_metadata_bytes
        for number, row in enumerate(rows):
            if type(row) is dict:
                fields = cast("dict[str, object]", row)
                chunk_id = fields.get("id")
                document_id = fields.get("document_id")
                text = fields.get("text")
                metadata = fields.get("metadata")
                embedding = None if has_matrix else fields.get("embedding")
                expected = (
                    (chunk_id is not None)
                    + (document_id is not None)
                    + (text is not None)
                    + (metadata is not None)
                    + (embedding is not None)
                )
                if (
                    len(fields) == expected
                    and (
                        chunk_id is None
                        or (
                            type(chunk_id) is str
                            and chunk_id.isascii()
                            and 0 < len(chunk_id) <= MAX_ID_LENGTH
                            and "\0" not in chunk_id
                            and chunk_id not in RESERVED_IDS
                        )
                    )
                    and (text is None or (type(text) is str and text.isascii() and len(text) <= max_text))
                    and (document_id is None or (type(document_id) is str and document_id in known_documents))
                    and (metadata is None or _is_plain(metadata, known_keys))
                ):
                    one = new_id() if chunk_id is None else chunk_id
                    values = _NO_METADATA if metadata is None else cast("dict[str, object]", metadata)
                    head = start(one, document_id, text, values)
                    # The whole is not longer than what is allowed to a part of it.
                    if len(head) <= max_metadata:
                        self.ids.append(one)
                        self.document_ids.append(document_id)
                        self.texts.append(text)
                        self.metadatas.append(values)
                        self.embeddings.append(embedding)
                        self._heads.append(head)
                        continue
            self._take(row, at(number))
            if not self.faults and self.document_ids[-1] is not None:
                known_documents.add(self.document_ids[-1])

    def heads(self) -> list[bytes]:
        """The part of each record that is known before the commit. Call where no fault was found."""
        return [
            start(self.ids[row], self.document_ids[row], self.texts[row], self.metadatas[row])
            if head is None
            else head
            for row, head in enumerate(self._heads)
        ]

    def _take(self, row: object, pointer: str) -> None:
        """Take one row in; a row that is no object is a fault and nothing else."""
        if not is_mapping(row):
            self.faults.append(Fault(pointer, f"expected an object; received {type(row).__name__}"))
            return
        if not row.keys() <= _KNOWN:
            self.faults.extend(known_fields(row, CHUNK_FIELDS, pointer))
        self._take_ids(row, pointer)
        text = row.get("text")
        if text is not None:
            self.faults.extend(text_fault(text, f"{pointer}/text", max_bytes=self._limits.max_text_bytes))
        self.texts.append(cast("str | None", text))
        metadata = row.get("metadata", _NO_METADATA)
        if metadata is not _NO_METADATA:
            self.faults.extend(
                check_metadata(
                    metadata,
                    f"{pointer}/metadata",
                    max_bytes=self._limits.max_metadata_bytes,
                    max_depth=self._limits.max_json_depth,
                )
            )
        self.metadatas.append(cast("Mapping[str, object]", metadata))
        self._take_embedding(row, pointer)
        self._heads.append(None)

    def _take_ids(self, row: Mapping[str, object], pointer: str) -> None:
        chunk_id = row.get("id", _MISSING)
        if chunk_id is _MISSING:
            chunk_id = new_id()
        else:
            self.faults.extend(check_id(chunk_id, f"{pointer}/id"))
        self.ids.append(cast("str", chunk_id))
        document_id = row.get("document_id")
        if document_id is not None:
            self.faults.extend(check_id(document_id, f"{pointer}/document_id"))
        self.document_ids.append(cast("str | None", document_id))

    def _take_embedding(self, row: Mapping[str, object], pointer: str) -> None:
        embedding, packed = row.get("embedding"), row.get("embedding_b64")
        if self._has_matrix:
            if embedding is not None or packed is not None:
                self.faults.append(
                    Fault(pointer, "the embedding comes from the matrix; leave it out of the row")
                )
        elif packed is not None:
            if embedding is not None:
                self.faults.append(Fault(pointer, "expected embedding or embedding_b64; received both"))
            embedding, problems = embedding_from_b64(packed, f"{pointer}/embedding_b64")
            self.faults.extend(problems)
        self.embeddings.append(embedding)


def _is_plain(metadata: object, known_keys: set[str]) -> bool:
    """Whether metadata is flat and plainly fine, its size left aside; adds its keys to those that are known to be."""
    if type(metadata) is not dict:
        return False
    for key, item in cast("dict[object, object]", metadata).items():
        if type(key) is not str:
            return False
        if key not in known_keys:
            if not key or key[0] == "$" or not key.isascii():
                return False
            known_keys.add(key)
        kind = type(item)
        if kind is str:
            if not cast("str", item).isascii():
                return False
        elif kind is int:
            if not INT64_MIN <= cast("int", item) <= INT64_MAX:
                return False
        elif kind is float:
            if not math.isfinite(cast("float", item)):
                return False
        elif kind is not bool and item is not None:
            return False
    return True
