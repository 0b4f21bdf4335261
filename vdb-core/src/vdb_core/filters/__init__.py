"""Filters over metadata: the parser, the tree, the inverted index that answers them, and its slow twin."""

from __future__ import annotations

from vdb_core.filters.metadata_index import MetadataIndex
from vdb_core.filters.parser import FIELD_OPERATORS, parse_filter
from vdb_core.filters.rowwise import row_matches
from vdb_core.filters.tree import And, Filter, Node, Not, Operator, Or, Predicate, Source

__all__ = [
    "FIELD_OPERATORS",
    "And",
    "Filter",
    "MetadataIndex",
    "Node",
    "Not",
    "Operator",
    "Or",
    "Predicate",
    "Source",
    "parse_filter",
    "row_matches",
]
