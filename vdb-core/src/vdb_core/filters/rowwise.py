"""Whether one row satisfies a filter, straight from its JSON: the slow twin that says what an index must answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar, cast

from vdb_core.filters.tree import And, Not, Or, Predicate, Source
from vdb_core.filters.values import parse_instant

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vdb_core.filters.tree import Filter, Node

__all__ = ["row_matches"]

_Ordered = TypeVar("_Ordered", float, tuple[int, int])


def row_matches(
    flt: Filter,
    *,
    chunk_id: str | None,
    document_id: str | None,
    metadata: Mapping[str, object],
    document_metadata: Mapping[str, object] | None,
) -> bool:
    """Tell whether a chunk satisfies a filter.

    Args:
        flt: the filter.
        chunk_id: the chunk's id; ``None`` where the row is not a chunk, which then has no ``$id``.
        document_id: the id of its document, if it has one.
        metadata: its metadata.
        document_metadata: the metadata of its document, if it has one.
    """

    def holds(node: Node) -> bool:
        match node:
            case And():
                return all(map(holds, node.children))
            case Or():
                return any(map(holds, node.children))
            case Not():
                return not holds(node.child)
            case Predicate():
                return predicate_holds(node)

    def predicate_holds(node: Predicate) -> bool:
        match node.source:
            case Source.METADATA:
                return any(_value_holds(node, value) for value in _reach(metadata, node.path))
            case Source.DOCUMENT:
                found = _reach(document_metadata or {}, node.path)
                return any(_value_holds(node, value) for value in found)
            case Source.ID:
                return chunk_id is not None and _id_holds(node, chunk_id)
            case Source.DOCUMENT_ID:
                return document_id is not None and _id_holds(node, document_id)

    return holds(flt.tree)


def _reach(metadata: Mapping[str, object], path: str) -> Iterator[object]:
    """Every value that a dotted path leads to: a dot may be part of a key or lead into an object."""
    for key, value in metadata.items():
        if key == path:
            yield value
        elif isinstance(value, Mapping) and path.startswith(f"{key}."):
            yield from _reach(cast("Mapping[str, object]", value), path[len(key) + 1 :])


def _value_holds(node: Predicate, value: object) -> bool:
    operand = node.operand
    match node.operator:
        case "$exists":
            return True
        case "$eq":
            return _equal(value, operand) or _has_member(value, operand)
        case "$in":
            wanted = cast("tuple[object, ...]", operand)
            return any(_equal(value, one) or _has_member(value, one) for one in wanted)
        case "$contains":
            if isinstance(value, str):
                return isinstance(operand, str) and operand in value
            return _has_member(value, operand)
        case "$gt" | "$gte" | "$lt" | "$lte":
            if isinstance(value, list):
                members = cast("list[object]", value)
                return any(_in_range(node.operator, member, operand) for member in members)
            return _in_range(node.operator, value, operand)


def _id_holds(node: Predicate, value: str) -> bool:
    """Ids are plain text: they never read as a datetime, and ranges never hold."""
    operand = node.operand
    match node.operator:
        case "$exists":
            return True
        case "$eq":
            return value == operand
        case "$in":
            return value in cast("tuple[object, ...]", operand)
        case "$contains":
            return isinstance(operand, str) and operand in value
        case "$gt" | "$gte" | "$lt" | "$lte":
            return False


def _has_member(value: object, operand: object) -> bool:
    if not isinstance(value, list) or isinstance(operand, (list, dict)):
        return False
    return any(_equal(member, operand) for member in cast("list[object]", value))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _equal(left: object, right: object) -> bool:
    match left, right:
        case str(), str():
            if left == right:
                return True
            instant = parse_instant(left)
            return instant is not None and instant == parse_instant(right)
        case list(), list():
            return len(left) == len(right) and all(map(_equal, left, right))
        case Mapping(), Mapping():
            return left.keys() == right.keys() and all(_equal(left[key], right[key]) for key in left)
        case _ if _is_number(left) and _is_number(right):
            # Python compares an int with a float exactly.
            return left == right
        case _:
            return type(left) is type(right) and isinstance(left, (bool, type(None))) and left == right


def _in_range(operator: str, value: object, operand: object) -> bool:
    if _is_number(value) and _is_number(operand):
        return _ordered(operator, cast("float", value), cast("float", operand))
    if isinstance(value, str) and isinstance(operand, str):
        left, right = parse_instant(value), parse_instant(operand)
        return left is not None and right is not None and _ordered(operator, left, right)
    return False


def _ordered(operator: str, left: _Ordered, right: _Ordered) -> bool:
    match operator:
        case "$gt":
            return left > right
        case "$gte":
            return left >= right
        case "$lt":
            return left < right
        case _:
            return left <= right
