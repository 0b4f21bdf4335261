"""Where API keys come from beside the environment: files that are given, and one that the server makes for itself."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["KEPT_KEY", "keep_key", "read_key"]

KEPT_KEY: Final = "_api_key"
"""Name of the made key's file in the data directory. No library can have it: their ids begin with a letter or digit."""

_MOST_BYTES: Final = 4096


def read_key(file: Path) -> str:
    """Read a key from a file; a line's end after it does not belong to it.

    Raises:
        ValueError: the file cannot be read, or holds no key; says which file.
    """
    try:
        with file.open("rb") as stream:
            content = stream.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ValueError(f"the key file {file} cannot be read: {error.strerror or error}") from error
    key = content.decode("latin-1").strip()
    if not key or len(content) > _MOST_BYTES:
        raise ValueError(
            f"the key file {file} holds no key (1 to {_MOST_BYTES} bytes were expected, {len(content)} are there); "
            "write one to it, or delete it"
        )
    return key


def keep_key(data_dir: Path) -> tuple[str, bool]:
    """The key that is kept in a data directory, made where there is none.

    It stays the same for as long as the directory does, so that a restart locks nobody out. Only the owner of the
    process may read the file.

    Returns:
        The key, and whether it is new.

    Raises:
        ValueError: the file is there and holds no key.
        OSError: it cannot be written.
    """
    from vdb_core.persistence.durable import Disk

    file = data_dir / KEPT_KEY
    if file.exists():
        return read_key(file), False
    key = secrets.token_urlsafe(32)
    work = file.with_suffix(".new")
    work.unlink(missing_ok=True)
    # Whole or not at all, also where the power goes: a key that was printed must be the one that is kept.
    with os.fdopen(
        os.open(work, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii"
    ) as stream:
        stream.write(key + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    work.replace(file)
    Disk().sync_directory(data_dir)
    return key, True
