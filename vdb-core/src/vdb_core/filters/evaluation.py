"""From a filter to a bitmap: walks the tree and asks the columns of one block of rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from vdb_core.filters.gather import Gather
from vdb_core.filters.tree import And, Filter, Not, Or, Predicate, Source
from vdb_core.filters.values import whole_key
from vdb_core.indexes import bitmap

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from numpy.typing import NDArray

    from vdb_core.filters.open_columns import OpenField, OpenTexts
    from vdb_core.filters.packed_columns import PackedField, PackedTexts
    from vdb_core.filters.tree import Node
    from vdb_core.filters.values import Scalar

__all__ = ["Evaluation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One evaluation over ``rows`` rows. Bitmaps it returns may be the index's own: they are not written to."""

    rows: int
    """How many rows there are."""

    fields: Mapping[str, OpenField] | Mapping[str, PackedField]
    """The columns by path."""

    document_ids: OpenTexts | PackedTexts | None
    """The document of each row; ``None`` where no row has one."""

    ids: Callable[[str], int | None]
    """The row of a chunk id."""

    documents: Callable[[Filter], Collection[str]]
    """The ids of the documents that satisfy a filter."""

    all_ids: Callable[[], Iterable[str]] | None
    """The chunk id of every row."""

    def evaluate(self, node: Node) -> NDArray[np.uint64]:
        """Find the rows at which a node holds: uint64 ``[words_for(rows)]``."""
        match node:
            case Predicate():
                into = Gather(self.rows)
                self._look_up(node, into)
                return into.words()
            case Not():
                return bitmap.full(self.rows) & ~self.evaluate(node.child)
            case And():
                return self._intersect(node.children)
            case Or():
                into = Gather(self.rows)
                for child in node.children:
                    if isinstance(child, Predicate):
                        self._look_up(child, into)
                    else:
                        into.add(self.evaluate(child))
                return into.words()

    def _intersect(self, children: tuple[Node, ...]) -> NDArray[np.uint64]:
        """Intersect; what is negated is taken off last, which spares clearing the bits beyond the rows."""
        positive = [child for child in children if not isinstance(child, Not)]
        words = self.evaluate(positive[0]) if positive else bitmap.full(self.rows)
        if len(children) == 1 and positive:
            return words
        words = words.copy()
        for child in positive[1:]:
            np.bitwise_and(words, self.evaluate(child), out=words)
        for child in children:
            if isinstance(child, Not):
                np.bitwise_and(words, ~self.evaluate(child.child), out=words)
        return words

    def _look_up(self, node: Predicate, into: Gather) -> None:
        match node.source:
            case Source.METADATA:
                self._find_values(node, into)
            case Source.DOCUMENT:
                if self.document_ids is not None:
                    inner = Predicate(
                        source=Source.METADATA, path=node.path, operator=node.operator, operand=node.operand
                    )
                    self.document_ids.among(self.documents(Filter.of(inner)), into)
            case Source.DOCUMENT_ID:
                if self.document_ids is not None:
                    _find_documents(node, self.document_ids, into)
            case Source.ID:
                into.add_slots(self._find_ids(node))

    def _find_values(self, node: Predicate, into: Gather) -> None:
        field = self.fields.get(node.path)
        if field is None:
            return
        operand = node.operand
        if node.operator == "$exists":
            field.everything(into)
            return
        if isinstance(operand, (list, dict)):
            if field.wholes is not None:
                field.wholes.equal(whole_key(cast("object", operand)), into)
            return
        if node.operator == "$contains":
            if isinstance(operand, str):
                field.scalars.containing(operand, into)
            if field.members is not None:
                field.members.equal(cast("Scalar", operand), into)
            return
        below, inclusive = node.operator.startswith("$lt"), node.operator.endswith("e")
        for columns in (field.scalars, field.members):
            if columns is None:
                continue
            if node.operator == "$eq":
                columns.equal(cast("Scalar", operand), into)
            elif isinstance(operand, tuple):
                for value in cast("tuple[Scalar, ...]", operand):
                    columns.equal(value, into)
            else:
                columns.compare(cast("Scalar", operand), below=below, inclusive=inclusive, into=into)

    def _find_ids(self, node: Predicate) -> NDArray[np.uint32]:
        operand = node.operand
        found: Iterable[int | None] = ()
        match node.operator:
            case "$exists":
                found = range(self.rows)
            case "$eq" if isinstance(operand, str):
                found = (self.ids(operand),)
            case "$in":
                wanted = cast("tuple[Scalar, ...]", operand)
                found = (self.ids(one) for one in wanted if isinstance(one, str))
            case "$contains" if isinstance(operand, str):
                if self.all_ids is None:
                    raise TypeError("'$contains' on '$id' needs all_ids, the chunk id of every row")
                found = (row for row, chunk_id in enumerate(self.all_ids()) if operand in chunk_id)
            case _:
                # Ids are plain text: nothing else equals them, and they have no order.
                pass
        return np.array([row for row in found if row is not None and row < self.rows], dtype=np.uint32)


def _find_documents(node: Predicate, column: OpenTexts | PackedTexts, into: Gather) -> None:
    operand = node.operand
    match node.operator:
        case "$exists":
            column.everything(into)
        case "$eq" if isinstance(operand, str):
            column.equal(operand, into)
        case "$in":
            wanted = cast("tuple[Scalar, ...]", operand)
            column.among(frozenset(one for one in wanted if isinstance(one, str)), into)
        case "$contains" if isinstance(operand, str):
            column.containing(operand, into)
        case _:
            # As for chunk ids.
            pass
