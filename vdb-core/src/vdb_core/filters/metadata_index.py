"""The inverted index over one block of rows: which rows satisfy a filter, as a bitmap.

::

    MetadataIndex ── fields: path -> OpenField | PackedField
                  └─ documents: OpenTexts | PackedTexts        the document of each row

Nested objects are flattened: ``{"a": {"b": 1}}`` is found under ``a`` (a whole object) and under ``a.b``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import numpy as np

from vdb_core.filters.gather import Gather
from vdb_core.filters.open_columns import OpenField, OpenTexts
from vdb_core.filters.packing import pack_field, pack_texts
from vdb_core.filters.rows import read_rows, write_rows
from vdb_core.filters.tree import And, Filter, Not, Or, Predicate, Source
from vdb_core.filters.values import whole_key
from vdb_core.indexes import bitmap

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from numpy.typing import NDArray

    from vdb_core.filters.packed_columns import PackedField, PackedTexts
    from vdb_core.filters.tree import Node
    from vdb_core.filters.values import Scalar

__all__ = ["MetadataIndex"]


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

    def append(self, chunk_id: str, document_id: str | None, metadata: Mapping[str, object]) -> None:
        """Add a row.

        Args:
            chunk_id: not kept: an evaluation asks its caller for the row of an id.
            document_id: the id of the row's document, if it has one.
            metadata: checked metadata (integers within int64, finite floats, no lone surrogates).

        Raises:
            RuntimeError: the index is packed.
        """
        if self._packed_fields is not None:
            raise RuntimeError("a packed metadata index takes no more rows; append to a new one")
        row = self._rows
        if document_id is not None:
            self._documents.append(document_id, row)
        fields = self._fields
        for key, value in metadata.items():
            field = fields.get(key)
            if field is None:
                field = fields[key] = OpenField()
            kind = type(value)
            # The two common kinds are written out: this loop is most of what a write costs.
            if kind is str:
                field.scalars.texts.append_value(cast("str", value), row)
            elif kind is int:
                field.scalars.integers.append(cast("int", value))
                field.scalars.integer_slots.append(row)
            else:
                self._append_value(key, value, row)
        self._rows = row + 1

    def _append_value(self, path: str, value: object, row: int) -> None:
        field = self._fields.get(path)
        if field is None:
            field = self._fields[path] = OpenField()
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
        rows = self._rows

        def evaluate(node: Node) -> NDArray[np.uint64]:
            match node:
                case Predicate():
                    into = Gather(rows)
                    look_up(node, into)
                    return into.words()
                case Not():
                    return bitmap.full(rows) & ~evaluate(node.child)
                case And():
                    return both(node.children)
                case Or():
                    into = Gather(rows)
                    for child in node.children:
                        if isinstance(child, Predicate):
                            look_up(child, into)
                        else:
                            into.add(evaluate(child))
                    return into.words()

        def both(children: tuple[Node, ...]) -> NDArray[np.uint64]:
            """Intersect; a negated child is subtracted, which spares its complement."""
            words: NDArray[np.uint64] | None = None
            own = False
            for child in sorted(children, key=lambda child: isinstance(child, Not)):
                if isinstance(child, Not):
                    other = ~evaluate(child.child)
                    if words is None:
                        words, own = bitmap.full(rows), True
                else:
                    other = evaluate(child)
                if words is None:
                    words = other
                elif own:
                    np.bitwise_and(words, other, out=words)
                else:
                    words, own = words & other, True
            return bitmap.full(rows) if words is None else words

        def look_up(node: Predicate, into: Gather) -> None:
            match node.source:
                case Source.METADATA:
                    self._find_values(node, into)
                case Source.DOCUMENT:
                    inner = Predicate(
                        source=Source.METADATA, path=node.path, operator=node.operator, operand=node.operand
                    )
                    self._document_column.among(documents(Filter.of(inner)), into)
                case Source.DOCUMENT_ID:
                    self._find_documents(node, into)
                case Source.ID:
                    into.add_slots(_find_ids(node, rows, ids, all_ids))

        return evaluate(flt.tree)

    def _find_values(self, node: Predicate, into: Gather) -> None:
        fields = self._fields if self._packed_fields is None else self._packed_fields
        field = fields.get(node.path)
        if field is None:
            return
        operand = node.operand
        columns = (field.scalars,) if field.members is None else (field.scalars, field.members)
        match node.operator:
            case "$exists":
                field.everything(into)
            case "$eq" if isinstance(operand, (list, dict)):
                if field.wholes is not None:
                    field.wholes.equal(whole_key(cast("object", operand)), into)
            case "$eq":
                for column in columns:
                    column.equal(cast("Scalar", operand), into)
            case "$in":
                for value in cast("tuple[Scalar, ...]", operand):
                    for column in columns:
                        column.equal(value, into)
            case "$contains":
                if isinstance(operand, str):
                    field.scalars.containing(operand, into)
                if field.members is not None:
                    field.members.equal(cast("Scalar", operand), into)
            case "$gt" | "$gte" | "$lt" | "$lte":
                below, inclusive = node.operator.startswith("$lt"), node.operator.endswith("e")
                for column in columns:
                    column.compare(cast("Scalar", operand), below=below, inclusive=inclusive, into=into)

    @property
    def _document_column(self) -> OpenTexts | PackedTexts:
        return self._documents if self._packed_documents is None else self._packed_documents

    def _find_documents(self, node: Predicate, into: Gather) -> None:
        column, operand = self._document_column, node.operand
        match node.operator:
            case "$exists":
                column.everything(into)
            case "$eq" if isinstance(operand, str):
                column.equal(operand, into)
            case "$in":
                wanted = frozenset(one for one in cast("tuple[Scalar, ...]", operand) if isinstance(one, str))
                column.among(wanted, into)
            case "$contains" if isinstance(operand, str):
                column.containing(operand, into)
            case _:
                # Ids are plain text: nothing else equals them, and they have no order.
                pass


def _find_ids(
    node: Predicate,
    rows: int,
    ids: Callable[[str], int | None],
    all_ids: Callable[[], Iterable[str]] | None,
) -> NDArray[np.uint32]:
    operand = node.operand
    found: Iterable[int | None] = ()
    match node.operator:
        case "$exists":
            return np.arange(rows, dtype=np.uint32)
        case "$eq" if isinstance(operand, str):
            found = (ids(operand),)
        case "$in":
            found = (ids(one) for one in cast("tuple[Scalar, ...]", operand) if isinstance(one, str))
        case "$contains" if isinstance(operand, str):
            if all_ids is None:
                raise TypeError("'$contains' on '$id' needs all_ids, the chunk id of every row")
            found = (row for row, chunk_id in enumerate(all_ids()) if operand in chunk_id)
        case _:
            pass
    return np.array([row for row in found if row is not None and row < rows], dtype=np.uint32)
