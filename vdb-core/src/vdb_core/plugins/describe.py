"""Describes an index type as JSON: what REST lists and what forms are made from."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from vdb_core.indexes.contract import METRICS
from vdb_core.plugins.params import params_schema

if TYPE_CHECKING:
    from vdb_core.plugins.records import IndexType

__all__ = ["describe_index_type"]


def describe_index_type(record: IndexType, *, distribution: str) -> dict[str, object]:
    """Make the JSON of one index type; metrics come in the order in which they are documented."""
    return {
        "name": record.name,
        "summary": record.summary,
        "distribution": distribution,
        "metrics": [metric for metric in METRICS if metric in record.metrics],
        "capabilities": asdict(record.capabilities),
        "complexity": None if record.complexity is None else asdict(record.complexity),
        "params": params_schema(record.params),
        "search_params": params_schema(record.search_params),
    }
