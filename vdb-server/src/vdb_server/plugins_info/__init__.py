"""What is installed: index types and plugins."""

from __future__ import annotations

__all__: list[str] = []
