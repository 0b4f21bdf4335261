"""Directories as dictionaries: read whole, laid down again, compared."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["lay_down", "read_tree"]


def read_tree(root: Path) -> dict[str, bytes | None]:
    """Every file below a directory with its bytes, and every directory with none."""
    return {
        str(path.relative_to(root)): None if path.is_dir() else path.read_bytes() for path in root.rglob("*")
    }


def lay_down(tree: Mapping[str, bytes | None], root: Path) -> None:
    """Replace a directory by one that holds exactly this."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    for path, data in sorted(tree.items()):
        target = root / path
        if data is None:
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
