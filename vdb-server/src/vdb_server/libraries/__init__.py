"""Libraries: create, read, change, delete."""

from __future__ import annotations

__all__: list[str] = []
