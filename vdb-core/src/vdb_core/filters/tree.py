"""A parsed filter: a tree of ``And``, ``Or``, ``Not`` and positive predicates.

::

    Filter ── tree ──▶ And(children) · Or(children) · Not(child) · Predicate(source, path, operator, operand)

There are no negative predicates: ``$ne``, ``$nin`` and ``$exists: false`` are a ``Not`` around ``$eq``, ``$in`` and
``$exists``, so a missing key satisfies them by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from json.encoder import encode_basestring
from typing import Literal

from vdb_core.filters.values import fold_number

__all__ = ["And", "Filter", "Node", "Not", "Operator", "Or", "Predicate", "Source"]

Operator = Literal["$eq", "$in", "$gt", "$gte", "$lt", "$lte", "$exists", "$contains"]
"""The operators that are left in a tree."""


class Source(Enum):
    """Where a predicate looks."""

    METADATA = ""
    """The chunk's metadata."""

    DOCUMENT = "$document."
    """The metadata of the chunk's document."""

    ID = "$id"
    """The chunk's id."""

    DOCUMENT_ID = "$document_id"
    """The id of the chunk's document; a chunk without one has no such key."""


@dataclass(frozen=True, slots=True)
class And:
    """True where every child is; with no children, everywhere."""

    children: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """True where a child is."""

    children: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """True where its child is not."""

    child: Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicate:
    """True where a value that the path reaches satisfies the operator."""

    source: Source
    """Where to look."""

    path: str
    """Dotted path within the metadata; empty for ids."""

    operator: Operator
    """What to test."""

    operand: object
    """``$eq``: a scalar, a list or a ``dict``. ``$in``: a tuple of scalars. Ranges: a number, or a string that is an
    RFC 3339 datetime. ``$contains``: a scalar. ``$exists``: always true."""

    @property
    def field(self) -> str:
        """The field as it is written in a filter."""
        return self.source.value + self.path


Node = And | Or | Not | Predicate
"""Any node of the tree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """A filter that was found to be well formed. Filters are equal where their keys are.

    # Invariants
    - ``key`` is itself a filter in JSON that parses to the same key.
    - ``tree`` is no deeper than the parser's limit, so recursion over it is safe.
    """

    key: str
    """Canonical text: the same for filters that differ only in the order of keys and list items or in shorthand."""

    tree: Node = field(compare=False, repr=False)
    """The filter as a tree."""

    uses_documents: bool = field(compare=False)
    """Whether the metadata of documents decides, so that a change to a document may change the answer."""

    uses_ids: bool = field(compare=False)
    """Whether ``$id`` decides."""

    @property
    def matches_everything(self) -> bool:
        """Whether this is ``{}``."""
        return isinstance(self.tree, And) and not self.tree.children

    @classmethod
    def of(cls, tree: Node) -> Filter:
        """Make a filter from its tree."""
        sources = _sources(tree)
        return cls(
            key=_text(tree),
            tree=tree,
            uses_documents=Source.DOCUMENT in sources,
            uses_ids=Source.ID in sources,
        )


def _sources(node: Node) -> set[Source]:
    match node:
        case Predicate():
            return {node.source}
        case Not():
            return _sources(node.child)
        case And() | Or():
            return set[Source]().union(*map(_sources, node.children))


def _text(node: Node) -> str:
    match node:
        case Predicate():
            operand = node.operand
            if isinstance(operand, tuple):
                text = "[" + ",".join(sorted(set(map(_json, operand)))) + "]"
            else:
                text = _json(operand)
            return f'{{{encode_basestring(node.field)}:{{"{node.operator}":{text}}}}}'
        case Not():
            return f'{{"$not":{_text(node.child)}}}'
        case And(children=()):
            return "{}"
        case And():
            return f'{{"$and":[{",".join(sorted(set(map(_text, node.children))))}]}}'
        case Or():
            return f'{{"$or":[{",".join(sorted(set(map(_text, node.children))))}]}}'


def _json(value: object) -> str:
    """Write an operand as JSON, the keys of objects sorted and equal numbers alike."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(fold_number(value))
        case str():
            return encode_basestring(value)
        case dict():
            return (
                "{" + ",".join(f"{encode_basestring(key)}:{_json(value[key])}" for key in sorted(value)) + "}"
            )
        case list():
            return "[" + ",".join(map(_json, value)) + "]"
        case _:
            raise TypeError(f"expected an operand, received {type(value).__name__}")
