"""From JSON to a filter, with every fault and where it is.

::

    filter    {FIELD: condition, "$and": [filter, ...], "$or": [filter, ...], "$not": filter}     all of them hold
    FIELD     a dotted path into the metadata, "$document.PATH", "$id" or "$document_id"
    condition a scalar, a list or an object (short for "$eq"), or {OPERATOR: operand, ...}         all of them hold
    OPERATOR  $eq $ne      any JSON value; a scalar also matches a member of a stored list
              $in $nin     a list of scalars
              $gt $gte $lt $lte   a number, or an RFC 3339 datetime
              $exists      true or false
              $contains    a scalar: a member of a stored list, or a substring of a stored string
              $not         {OPERATOR: operand, ...}

An object whose keys begin with ``$`` holds operators; any other object is a value to compare with.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NoReturn, cast

from vdb_core.errors import Fault, ValidationFailed
from vdb_core.filters.tree import And, Filter, Not, Operator, Or, Predicate, Source
from vdb_core.filters.values import Scalar, is_scalar, parse_instant

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vdb_core.filters.tree import Node

__all__ = ["FIELD_OPERATORS", "parse_filter"]

FIELD_OPERATORS: Final = (
    "$eq",
    "$ne",
    "$in",
    "$nin",
    "$gt",
    "$gte",
    "$lt",
    "$lte",
    "$exists",
    "$contains",
    "$not",
)
"""What may stand in a condition."""

_FILTER_KEYS: Final = ("$and", "$or", "$not", "$id", "$document_id", "$document.KEY")
_RANGES: Final = frozenset({"$gt", "$gte", "$lt", "$lte"})
_NEGATIVE: Final[Mapping[str, Operator]] = {"$ne": "$eq", "$nin": "$in"}
_EVERYTHING: Final = And(())
_SHOWN: Final = 60


def parse_filter(
    value: object,
    *,
    pointer: str = "/filter",
    max_depth: int = 16,
    max_nodes: int = 1_000,
    max_values: int = 65_536,
) -> Filter:
    """Parse a filter.

    Args:
        value: parsed JSON.
        pointer: where the filter stands in the request.
        max_depth: how deep filters (in ``$and``, ``$or``, ``$not``) and objects to compare with may nest.
        max_nodes: how many operators the whole filter may have, shorthand included.
        max_values: how many values all its lists may have together.

    Raises:
        ValidationFailed: with every fault, each with its pointer.
    """
    parser = _Parser(max_depth=max_depth, max_nodes=max_nodes, max_values=max_values)
    try:
        tree = parser.filter(value, pointer, 1)
    except _TooMuchError:
        tree = _EVERYTHING
    if parser.faults:
        raise ValidationFailed.of(parser.faults)
    return Filter.of(tree)


class _TooMuchError(Exception):
    """Stops the parser where going on would be the very work that the limit is to prevent."""


class _Parser:
    """Collects faults while it builds the tree; where there is a fault the tree has a placeholder."""

    def __init__(self, *, max_depth: int, max_nodes: int, max_values: int) -> None:
        self.faults: list[Fault] = []
        self._max_depth = max_depth
        self._max_nodes = max_nodes
        self._max_values = max_values
        self._nodes = 0
        self._values = 0

    def filter(self, value: object, pointer: str, depth: int) -> Node:
        entries = self._object(value, pointer, depth, "a filter")
        if entries is None:
            return _EVERYTHING
        children: list[Node] = []
        for key, operand in entries.items():
            here = _join(pointer, key)
            if key in {"$and", "$or"}:
                children.append(self._group(key, operand, here, depth))
            elif key == "$not":
                self._count(here)
                children.append(Not(self.filter(operand, here, depth + 1)))
            else:
                target = self._target(key, here)
                if target is not None:
                    children.append(self._condition(target, operand, here, depth))
        return children[0] if len(children) == 1 else And(tuple(children))

    def _group(self, key: str, operand: object, pointer: str, depth: int) -> Node:
        self._count(pointer)
        if not isinstance(operand, list) or not operand:
            received = "an empty list" if isinstance(operand, list) else _describe(operand)
            self._fault(pointer, f"'{key}' takes a non-empty list of filters, received {received}.")
            return _EVERYTHING
        items = cast("list[object]", operand)
        children = tuple(
            self.filter(item, f"{pointer}/{number}", depth + 1) for number, item in enumerate(items)
        )
        return And(children) if key == "$and" else Or(children)

    def _target(self, key: str, pointer: str) -> tuple[Source, str] | None:
        if not key.startswith("$"):
            if key:
                return Source.METADATA, key
            self._fault(pointer, "A field's name must not be empty.")
            return None
        if key == "$id":
            return Source.ID, ""
        if key == "$document_id":
            return Source.DOCUMENT_ID, ""
        path = key.removeprefix("$document.")
        if path != key and path and not path.startswith("$"):
            return Source.DOCUMENT, path
        if key.startswith("$document.") or key == "$document":
            self._fault(
                pointer, f"'{_cut(key)}' names no key of the document's metadata; write '$document.KEY'."
            )
        else:
            hint = f" '{key}' belongs under a field." if key in FIELD_OPERATORS else ""
            known = ", ".join(_FILTER_KEYS)
            self._fault(
                pointer, f"Unknown operator '{_cut(key)}'.{hint} Known here: {known}, or a metadata field."
            )
        return None

    def _condition(self, target: tuple[Source, str], value: object, pointer: str, depth: int) -> Node:
        """What stands under a field: shorthand for ``$eq``, or operators."""
        if isinstance(value, dict) and any(isinstance(key, str) and key.startswith("$") for key in value):
            return self._operators(target, cast("dict[object, object]", value), pointer, depth)
        self._count(pointer)
        return _predicate(target, "$eq", self._comparable(value, pointer, depth))

    def _operators(
        self, target: tuple[Source, str], value: Mapping[object, object], pointer: str, depth: int
    ) -> Node:
        children: list[Node] = []
        for key, operand in value.items():
            here = _join(pointer, key)
            self._count(here)
            if key not in FIELD_OPERATORS:
                if isinstance(key, str) and key.startswith("$"):
                    known = ", ".join(FIELD_OPERATORS)
                    self._fault(here, f"Unknown operator '{_cut(key)}'. Known: {known}.")
                else:
                    self._fault(
                        here, "Operators and other keys do not mix in one object; write the path with dots."
                    )
                continue
            children.append(self._operator(target, str(key), operand, here, depth))
        return children[0] if len(children) == 1 else And(tuple(children))

    def _operator(
        self, target: tuple[Source, str], key: str, operand: object, pointer: str, depth: int
    ) -> Node:
        if key == "$not":
            return self._negation(target, operand, pointer, depth)
        if key == "$exists":
            if not isinstance(operand, bool):
                self._fault(pointer, f"'$exists' takes true or false, received {_describe(operand)}.")
            found = _predicate(target, "$exists", True)
            return found if operand else Not(found)
        if key in {"$in", "$nin"}:
            checked: object = self._list(key, operand, pointer)
        elif key in _RANGES:
            checked = self._bound(key, operand, pointer)
        elif key == "$contains":
            checked = self._scalar(operand, pointer, "'$contains' takes")
        else:
            checked = self._comparable(operand, pointer, depth)
        if key in _NEGATIVE:
            return Not(_predicate(target, _NEGATIVE[key], checked))
        return _predicate(target, cast("Operator", key), checked)

    def _negation(self, target: tuple[Source, str], operand: object, pointer: str, depth: int) -> Node:
        if not isinstance(operand, dict) or not operand:
            received = "an empty object" if isinstance(operand, dict) else _describe(operand)
            self._fault(pointer, f"'$not' under a field takes an object of operators, received {received}.")
            return _EVERYTHING
        if self._too_deep(pointer, depth + 1):
            return _EVERYTHING
        return Not(self._operators(target, cast("dict[object, object]", operand), pointer, depth + 1))

    def _list(self, key: str, operand: object, pointer: str) -> tuple[Scalar, ...]:
        if not isinstance(operand, list):
            self._fault(pointer, f"'{key}' takes a list of values, received {_describe(operand)}.")
            return ()
        items = cast("list[object]", operand)
        self._count_values(len(items), pointer)
        lead = f"'{key}' takes a list of scalars; each is"
        return tuple(self._scalar(item, f"{pointer}/{number}", lead) for number, item in enumerate(items))

    def _bound(self, key: str, operand: object, pointer: str) -> Scalar:
        is_number = isinstance(operand, (int, float)) and not isinstance(operand, bool)
        if is_number or (isinstance(operand, str) and parse_instant(operand) is not None):
            return self._scalar(operand, pointer, f"'{key}' takes")
        self._fault(
            pointer, f"'{key}' takes a number or an RFC 3339 datetime, received {_describe(operand)}."
        )
        return 0

    def _comparable(self, value: object, pointer: str, depth: int) -> object:
        """The operand of ``$eq``, copied: a scalar, a list of scalars, or an object of such."""
        if isinstance(value, list):
            items = cast("list[object]", value)
            self._count_values(len(items), pointer)
            lead = "A stored list holds"
            return [self._scalar(item, f"{pointer}/{number}", lead) for number, item in enumerate(items)]
        if isinstance(value, dict):
            entries = self._object(cast("object", value), pointer, depth + 1, "an object to compare with")
            if entries is None:
                return {}
            self._count_values(len(entries), pointer)
            copied: dict[str, object] = {}
            for key, item in entries.items():
                here = _join(pointer, key)
                if key.startswith("$"):
                    detail = f"'{_cut(key)}' stands inside a value to compare with; write the path with dots instead."
                    self._fault(here, detail)
                else:
                    copied[key] = self._comparable(item, here, depth + 1)
            return copied
        return self._scalar(value, pointer, "Expected")

    def _scalar(self, value: object, pointer: str, lead: str) -> Scalar:
        if isinstance(value, float) and not math.isfinite(value):
            self._fault(pointer, f"{lead} a finite number, received {value}.")
        elif isinstance(value, str) and not _is_unicode(value):
            self._fault(pointer, "The string holds a lone surrogate, which is no character; remove it.")
        elif is_scalar(value):
            return cast("Scalar", value)
        else:
            self._fault(
                pointer, f"{lead} a string, a number, a boolean or null, received {_describe(value)}."
            )
        return None

    def _object(self, value: object, pointer: str, depth: int, what: str) -> Mapping[str, object] | None:
        if not isinstance(value, dict):
            self._fault(pointer, f"Expected {what} (an object), received {_describe(value)}.")
            return None
        if self._too_deep(pointer, depth):
            return None
        entries: dict[str, object] = {}
        for key, item in cast("dict[object, object]", value).items():
            if isinstance(key, str) and _is_unicode(key):
                entries[key] = item
            else:
                self._fault(pointer, f"Keys are strings of Unicode characters, received {_cut(ascii(key))}.")
        return entries

    def _too_deep(self, pointer: str, depth: int) -> bool:
        if depth > self._max_depth:
            self._fault(
                pointer,
                f"The filter nests deeper than {self._max_depth} levels (max_filter_depth); make it flatter.",
            )
            return True
        return False

    def _count(self, pointer: str) -> None:
        self._nodes += 1
        if self._nodes > self._max_nodes:
            self._stop(
                pointer,
                f"The filter has more than {self._max_nodes} operators (max_filter_nodes); `$in` takes many values at once.",
            )

    def _count_values(self, count: int, pointer: str) -> None:
        self._values += count
        if self._values > self._max_values:
            self._stop(
                pointer, f"The filter lists more than {self._max_values} values; ask in several requests."
            )

    def _stop(self, pointer: str, detail: str) -> NoReturn:
        self._fault(pointer, detail)
        raise _TooMuchError

    def _fault(self, pointer: str, detail: str) -> None:
        self.faults.append(Fault(pointer, detail))


def _predicate(target: tuple[Source, str], operator: Operator, operand: object) -> Predicate:
    return Predicate(source=target[0], path=target[1], operator=operator, operand=operand)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _join(pointer: str, key: object) -> str:
    return f"{pointer}/{str(key).replace('~', '~0').replace('/', '~1')}"


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def _describe(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"the number {_cut(repr(value))}"
        case str():
            return f"the string {_cut(ascii(value))}"
        case list():
            return "a list"
        case dict():
            return "an object"
        case _:
            return f"a {type(value).__name__}"
