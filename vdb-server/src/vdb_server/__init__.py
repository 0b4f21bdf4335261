"""The REST server of vdb. Importing it loads nothing: ``vdb --help`` and embedded callers pay for what they use."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
