"""Index algorithms in Rust for vdb: ``brute``, ``ivf_flat`` and ``ivf_pq``, found through the entry point ``rust``.

Importing the package loads neither NumPy nor the native module; building or opening an index does.
"""

from __future__ import annotations

from typing import Final

__all__ = ["__version__"]

__version__: Final = "0.1.0"
