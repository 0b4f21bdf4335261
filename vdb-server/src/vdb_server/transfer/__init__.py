"""Export and import of whole libraries."""

from __future__ import annotations

__all__: list[str] = []
