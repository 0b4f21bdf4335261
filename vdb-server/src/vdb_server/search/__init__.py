"""Search: one query, many queries, a matrix of queries."""

from __future__ import annotations

__all__: list[str] = []
