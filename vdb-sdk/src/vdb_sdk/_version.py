"""The version of this distribution, readable without importing package metadata (which costs start-up time)."""

from __future__ import annotations

from typing import Final

__all__ = ["__version__"]

__version__: Final = "0.1.0"
