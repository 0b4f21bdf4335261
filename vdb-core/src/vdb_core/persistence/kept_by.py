"""Which snapshot store and journal keep a data directory, where these are not the built-in ones: ``_storage.json`` names them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypedDict

import orjson

from vdb_core.errors import StorageFailed
from vdb_core.persistence.durable import Disk, told

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["JOURNAL", "KeptBy", "forget_kept_by", "kept_by", "write_kept_by"]

_FILE: Final = "_storage.json"
JOURNAL: Final = "_journal.sqlite3"
"""What the built-in journal keeps, by which its directories are known."""


class KeptBy(TypedDict):
    """Names, as they are registered."""

    snapshot_store: str
    journal: str


def kept_by(data_dir: Path) -> KeptBy | None:
    """Read the names; ``None`` where nobody put any down.

    Raises:
        StorageFailed: the file cannot be read, or is not what it should be.
    """
    path = data_dir / _FILE
    with told(f"read {path}"):
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return None
    try:
        found: dict[str, str] = orjson.loads(text)
        return KeptBy(snapshot_store=str(found["snapshot_store"]), journal=str(found["journal"]))
    except (ValueError, KeyError, TypeError) as error:
        raise StorageFailed(
            f"{path}: expected the names of a snapshot store and a journal, received what cannot be read as that ({error!r}). "
            'Write {"snapshot_store": "...", "journal": "..."} into it.'
        ) from error


def write_kept_by(data_dir: Path, names: KeptBy) -> None:
    """Put the names down; they survive power loss when this returns."""
    path = data_dir / _FILE
    with told(f"write {path}"):
        Disk().put(path, orjson.dumps(names, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def forget_kept_by(data_dir: Path) -> None:
    """Take the names back: what they name could not be opened."""
    with told(f"remove {data_dir / _FILE}"):
        Disk().remove_file(data_dir / _FILE)
