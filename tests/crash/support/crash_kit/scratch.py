"""Where the runs happen: in memory where the system offers that, since an fsync there costs nothing."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["scratch"]

_MEMORY = Path("/dev/shm")


@contextmanager
def scratch() -> Iterator[Path]:
    """Make a directory and remove it again."""
    path = Path(tempfile.mkdtemp(prefix="vdb-crash-", dir=_MEMORY if _MEMORY.is_dir() else None)).resolve()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
