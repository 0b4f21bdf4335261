"""The core of vdb: domain, plugin system, engine and default persistence. It knows no HTTP.

Importing this package loads no plugin, reads no environment and does no I/O; import what you need from its
subpackages: ``vdb_core.services`` to use the engine, ``vdb_core.plugins`` and ``vdb_core.indexes`` to extend it.
"""

from __future__ import annotations

from typing import Final

__all__ = ["__version__"]

__version__: Final = "0.1.0"
"""The version of this distribution."""
