"""The fields of rows as a caller gave them, column by column, with every fault.

Almost every row of an upload is plain: no field but the usual ones, ids in ASCII, flat metadata. Some hundred such rows at
a time are looked at by their columns, a call for all of them and not one for each, which is most of what Python does for a
row. All others, and those among which something is wrong, are taken field by field: only that way tells faults.
"""

from __future__ import annotations

from itertools import chain
from math import isfinite
from typing import TYPE_CHECKING, Final, cast, final

import orjson

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
_PLAIN: Final = _KNOWN - {"embedding_b64"}
_PLAIN_BESIDE_MATRIX: Final = _PLAIN - {"embedding"}
_SCALARS: Final = frozenset({str, int, float, bool, type(None)})
_BLOCK: Final = 256
"""Rows that are looked at by their columns at a time: one that is not plain makes no more than these wait."""
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
        for begin in range(0, len(rows), _BLOCK):
            some = rows[begin : begin + _BLOCK]
            if not self._take_plain(some):
                for number, row in enumerate(some, start=begin):
                    self._take(row, at(number))

    def _take_plain(self, rows: Sequence[object]) -> bool:
        """Take rows in where all of them are plainly fine; otherwise take none and say so."""
        if set(map(type, rows)) != {dict}:
            return False
        plain = cast("Sequence[dict[str, object]]", rows)
        fields = set[object]().union(*plain)
        if not fields <= (_PLAIN_BESIDE_MATRIX if self._has_matrix else _PLAIN):
            return False
        ids = [row.get("id", _MISSING) for row in plain] if "id" in fields else [new_id() for _ in plain]
        documents = [row.get("document_id") for row in plain] if "document_id" in fields else []
        texts = [row.get("text") for row in plain]
        metadatas = [row.get("metadata", _NO_METADATA) for row in plain]
        if (
            _are_plain_ids(ids)
            and _are_plain_ids([one for one in documents if one is not None])
            and _are_plain_texts([one for one in texts if one is not None], self._limits.max_text_bytes)
            and _are_plain_metadatas(metadatas)
        ):
            return self._add(
                cast("list[str]", ids),
                cast("list[str | None]", documents or [None] * len(plain)),
                cast("list[str | None]", texts),
                cast("list[Mapping[str, object]]", metadatas),
                [row.get("embedding") for row in plain],
            )
        return False

    def _add(
        self,
        ids: list[str],
        document_ids: list[str | None],
        texts: list[str | None],
        metadatas: list[Mapping[str, object]],
        embeddings: list[object],
    ) -> bool:
        """Add rows that are fine but for the size of their metadata; says whether that is too."""
        heads = list(map(start, ids, document_ids, texts, metadatas))
        most = self._limits.max_metadata_bytes
        # The whole is not shorter than the metadata in it.
        for head, metadata in zip(heads, metadatas, strict=True):
            if len(head) > most and len(orjson.dumps(metadata)) > most:
                return False
        self.ids += ids
        self.document_ids += document_ids
        self.texts += texts
        self.metadatas += metadatas
        self.embeddings += embeddings
        self._heads += heads
        return True

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


def _are_plain_ids(ids: Sequence[object]) -> bool:
    """Whether ids are plainly fine."""
    if not ids:
        return True
    if set(map(type, ids)) != {str}:
        return False
    texts = cast("Sequence[str]", ids)
    letters = "".join(texts)
    lengths = set(map(len, texts))
    return (
        letters.isascii()
        and "\0" not in letters
        and 0 not in lengths
        and max(lengths) <= MAX_ID_LENGTH
        and RESERVED_IDS.isdisjoint(texts)
    )


def _are_plain_texts(texts: list[object], max_bytes: int) -> bool:
    """Whether texts are plainly fine."""
    if not set(map(type, texts)) <= {str}:
        return False
    written = cast("list[str]", texts)
    try:
        # A character takes four bytes at most.
        return all(
            len(text) <= max_bytes if text.isascii() else len(text.encode()) <= max_bytes for text in written
        )
    except UnicodeEncodeError:
        return False


def _are_plain_metadatas(metadatas: list[object]) -> bool:
    """Whether metadata are flat and plainly fine, their size left aside."""
    if set(map(type, metadatas)) != {dict}:
        return False
    plain = cast("list[dict[object, object]]", metadatas)
    for key in set[object]().union(*plain):
        if type(key) is not str or not key.isascii() or not key or key[0] == "$":
            return False
    values = list(chain.from_iterable(map(dict.values, plain)))
    kinds = set(map(type, values))
    if not kinds <= _SCALARS:
        return False
    texts = [one for one in values if type(one) is str] if str in kinds else []
    integers = [one for one in values if type(one) is int] if int in kinds else [0]
    numbers = [one for one in values if type(one) is float] if float in kinds else []
    return (
        all(map(str.isascii, texts))
        and min(integers) >= INT64_MIN
        and max(integers) <= INT64_MAX
        and all(map(isfinite, numbers))
    )
