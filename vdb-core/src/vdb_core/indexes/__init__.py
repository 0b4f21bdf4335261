"""The index contract, the bitmaps in which it speaks of rows, the exact index in NumPy, and what makes queries quicker."""

from __future__ import annotations

from vdb_core.indexes import bitmap
from vdb_core.indexes.accelerator import Accelerator
from vdb_core.indexes.contract import (
    METRICS,
    NO_SLOT,
    BuildIndex,
    Cancelled,
    Index,
    IndexStats,
    LoadIndex,
    Metric,
    Progress,
)
from vdb_core.indexes.numpy_exact import NumpyExactIndex, exact_distances

__all__ = [
    "METRICS",
    "NO_SLOT",
    "Accelerator",
    "BuildIndex",
    "Cancelled",
    "Index",
    "IndexStats",
    "LoadIndex",
    "Metric",
    "NumpyExactIndex",
    "Progress",
    "bitmap",
    "exact_distances",
]
