"""Pieces that several pages draw."""

from __future__ import annotations

__all__: list[str] = []
