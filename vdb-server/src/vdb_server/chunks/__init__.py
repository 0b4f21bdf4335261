"""Chunks of a library: one by one, by upsert, in bulk."""

from __future__ import annotations

__all__: list[str] = []
