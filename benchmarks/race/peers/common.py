"""What adapters share: finding a library, and the list counts that all of them sweep."""

from __future__ import annotations

import importlib
import math
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from race.peers.contract import Absent

__all__ = ["import_peer", "list_counts", "version_of"]

# Below so many rows a list, lists are noise, and FAISS warns.
_ROWS_A_LIST = 24


def import_peer(module: str) -> Any:
    """Import a library that may not be there.

    Raises:
        Absent: with what the import said.
    """
    try:
        return importlib.import_module(module)
    except Exception as error:
        raise Absent(f"{type(error).__name__}: {error}") from error


def version_of(distribution: str) -> str:
    """The version that is installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "unknown"


def list_counts(rows: int, *, full: bool) -> list[int]:
    """How many lists to try: the power of two above the square root of the rows, then finer."""
    base = 1 << math.ceil(math.log2(math.sqrt(rows)))
    counts = [base << finer for finer in range(4 if full else 2)]
    return [count for count in counts if count * _ROWS_A_LIST <= rows] or [max(1, rows // _ROWS_A_LIST)]
