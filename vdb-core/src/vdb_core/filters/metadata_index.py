"""The inverted index over one block of rows: which rows satisfy a filter, as a bitmap.

::

    MetadataIndex ── fields: path -> OpenField | PackedField
                  └─ documents: OpenTexts | PackedTexts        the document of each row

Nested objects are flattened: ``{"a": {"b": 1}}`` is found under ``a`` (a whole object) and under ``a.b``.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter
from typing import TYPE_CHECKING, Final, cast

import numpy as np

from vdb_core.filters.evaluation import Evaluation
from vdb_core.filters.open_columns import OpenField, OpenTexts
from vdb_core.filters.packing import merge_fields, merge_text_columns, pack_field, pack_texts
from vdb_core.filters.rows import read_rows, write_rows
from vdb_core.filters.runs import GONE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from vdb_core.filters.packed_columns import PackedField, PackedTexts
    from vdb_core.filters.tree import Filter

__all__ = ["MetadataIndex"]

_FEW: Final = 8
"""Rows below which looking at them by columns does not pay."""
_SCALARS: Final = frozenset({str, int, float, bool, type(None)})


class MetadataIndex:
    """Rows ``0 .. rows - 1`` with their metadata, found by filters.

    Rows are appended until ``pack()``. The caller sees to it that nobody evaluates while a row is appended;
    evaluations run beside each other.
    """

    __slots__ = ("_documents", "_fields", "_packed_documents", "_packed_fields", "_rows")

    def __init__(self) -> None:
        self._rows = 0
        self._fields: dict[str, OpenField] = {}
        self._documents = OpenTexts()
        self._packed_fields: dict[str, PackedField] | None = None
        self._packed_documents: PackedTexts | None = None

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return self._rows

    @property
    def nbytes(self) -> int:
        """Bytes of memory; exact to a few percent once packed, an estimate before."""
        if self._packed_fields is None:
            return self._documents.nbytes + sum(field.nbytes for field in self._fields.values())
        documents = 0 if self._packed_documents is None else self._packed_documents.nbytes
        names = sum(50 + len(path) for path in self._packed_fields)
        return documents + names + sum(field.nbytes for field in self._packed_fields.values())

    # ARG002: rows are added with all that names them; what is kept of that is this class's own affair.
    def append(self, chunk_id: str, document_id: str | None, metadata: Mapping[str, object]) -> None:  # noqa: ARG002  # pyright: ignore[reportUnusedParameter]
        """Add a row.

        Args:
            chunk_id: not kept: an evaluation asks its caller for the row of an id.
            document_id: the id of the row's document, if it has one.
            metadata: checked metadata (integers within int64, finite floats, no lone surrogates).

        Raises:
            RuntimeError: the index is packed.
        """
        self.extend((document_id,), (metadata,))

    def extend(self, document_ids: Sequence[str | None], metadatas: Sequence[Mapping[str, object]]) -> None:
        """Add rows; see ``append``."""
        if self._packed_fields is not None:
            raise RuntimeError("a packed metadata index takes no more rows; append to a new one")
        rows = range(self._rows, self._rows + len(metadatas))
        if len(document_ids) != len(rows) or document_ids.count(None) < len(rows):
            for row, document_id in zip(rows, document_ids, strict=True):
                if document_id is not None:
                    self._documents.append(document_id, row)
        columns = _columns(metadatas)
        if columns is None:
            self._extend_by_rows(metadatas, rows)
        else:
            for key, values in columns.items():
                self._field(key).scalars.extend(values, rows)
        self._rows = rows.stop

    def _extend_by_rows(self, metadatas: Sequence[Mapping[str, object]], rows: range) -> None:
        fields = self._fields
        for row, metadata in zip(rows, metadatas, strict=True):
            for key, value in metadata.items():
                field = fields.get(key)
                if field is None:
                    field = fields[key] = OpenField()
                kind = type(value)
                # The two common kinds are written out: where rows differ, this loop is much of what a write costs.
                if kind is str:
                    field.scalars.texts.append_value(value, row)  # pyright: ignore[reportArgumentType]
                elif kind is int:
                    field.scalars.integers.append(value)  # pyright: ignore[reportArgumentType]
                    field.scalars.integer_slots.append(row)
                else:
                    self._append_value(key, value, row)

    def _field(self, path: str) -> OpenField:
        field = self._fields.get(path)
        if field is None:
            field = self._fields[path] = OpenField()
        return field

    def _append_value(self, path: str, value: object, row: int) -> None:
        field = self._field(path)
        if isinstance(value, Mapping):
            field.append_whole(value, row)
            for key, item in cast("Mapping[str, object]", value).items():
                self._append_value(f"{path}.{key}", item, row)
        elif isinstance(value, (list, tuple)):
            field.append_whole(value, row)
        else:
            field.scalars.append(value, row)

    def pack(self) -> None:
        """Compact everything for reading; rows are not appended afterwards. Packing twice is no error."""
        if self._packed_fields is not None:
            return
        packed: dict[str, PackedField] = {}
        for path in list(self._fields):
            # One field at a time, so that both forms of all of them are never there together.
            packed[path] = pack_field(self._fields.pop(path), self._rows)
        self._packed_documents = pack_texts(self._documents, self._rows, datetimes=False)
        self._documents = OpenTexts()
        self._packed_fields = packed

    @classmethod
    def merged(cls, parts: Sequence[tuple[MetadataIndex, NDArray[np.int64]]]) -> MetadataIndex:
        """Make a packed index of chosen rows of several, without looking at the rows' metadata again.

        Args:
            parts: each index with the slots that are taken over, ascending. The rows of the new index are those of
                the first part, then those of the second, ... Nobody may append to a part meanwhile.
        """
        index = cls()
        places: list[NDArray[np.int64]] = []
        for part, slots in parts:
            place = np.full(part.rows, GONE, dtype=np.int64)
            place[slots] = np.arange(index._rows, index._rows + len(slots))
            places.append(place)
            index._rows += len(slots)
        paths = dict.fromkeys(path for part, _ in parts for path in part.columns)
        packed: dict[str, PackedField] = {}
        for path in paths:
            # One field at a time: what merging takes besides the two indexes is that of a single column.
            pieces = [
                (part.columns[path], place)
                for (part, _), place in zip(parts, places, strict=True)
                if path in part.columns
            ]
            field = merge_fields(pieces, index._rows)
            if field is not None:
                packed[path] = field
        documents = [(part.document_ids, place) for (part, _), place in zip(parts, places, strict=True)]
        index._packed_documents = merge_text_columns(documents, rows=index._rows, datetimes=False)
        index._packed_fields = packed
        return index

    @property
    def columns(self) -> Mapping[str, OpenField] | Mapping[str, PackedField]:
        """What is known of each path; only to be read."""
        return self._fields if self._packed_fields is None else self._packed_fields

    @property
    def document_ids(self) -> OpenTexts | PackedTexts | None:
        """The document of each row; only to be read."""
        return self._documents if self._packed_fields is None else self._packed_documents

    def to_rows(self) -> Iterator[bytes]:
        """Write the index as JSON elements, one a line (see ``vdb_core.filters.rows``); streamed.

        An index that is not packed stays so; each field is packed for the time that it is written.
        """
        if self._packed_fields is None:
            fields = ((path, pack_field(field, self._rows)) for path, field in self._fields.items())
            documents = pack_texts(self._documents, self._rows, datetimes=False)
            return write_rows(self._rows, fields, documents)
        return write_rows(self._rows, self._packed_fields.items(), self._packed_documents)

    @classmethod
    def from_rows(cls, rows: Iterable[bytes]) -> MetadataIndex:
        """Read what ``to_rows`` wrote; the index is packed.

        Raises:
            FormatUnsupported: a newer version wrote it.
            SnapshotDamaged: it is not what was written.
        """
        index = cls()
        index._rows, index._packed_fields, index._packed_documents = read_rows(rows)
        return index

    def evaluate(
        self,
        flt: Filter,
        *,
        ids: Callable[[str], int | None],
        documents: Callable[[Filter], Collection[str]],
        all_ids: Callable[[], Iterable[str]] | None = None,
    ) -> NDArray[np.uint64]:
        """Find the rows that satisfy a filter.

        Args:
            flt: the filter.
            ids: the row of a chunk id within this block, or ``None`` where it is not here.
            documents: the ids of all documents whose own metadata satisfy a filter; it is asked with a single
                positive predicate, the ``$document.`` taken off. What holds where it does not (``$ne``, ``$not``,
                ...) is worked out here, so chunks without a document are counted in.
            all_ids: the chunk id of every row, in their order; needed for ``$contains`` on ``$id``.

        Returns:
            uint64 ``[words_for(rows)]``, a bitmap. It may be shared with the index: do not write to it.
        """
        return Evaluation(
            rows=self._rows,
            fields=self.columns,
            document_ids=self.document_ids,
            ids=ids,
            documents=documents,
            all_ids=all_ids,
        ).evaluate(flt.tree)


def _columns(metadatas: Sequence[Mapping[str, object]]) -> dict[str, list[object]] | None:
    """The values of each key, row by row, where all rows have the same keys and no value has parts; none elsewhere.

    So it is with most uploads, and a column costs a fraction of what its values cost one by one.
    """
    if len(metadatas) < _FEW or set(map(len, metadatas)) != {len(metadatas[0])}:
        return None
    columns: dict[str, list[object]] = {}
    for key in metadatas[0]:
        try:
            values = list(map(itemgetter(key), metadatas))
        except KeyError:
            return None
        if not set(map(type, values)) <= _SCALARS:
            return None
        columns[key] = values
    return columns
