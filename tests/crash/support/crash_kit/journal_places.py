"""Where in the journal's files to strike: what SQLite's write-ahead log is made of."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

__all__ = ["JOURNAL", "LOG", "commits_of", "places"]

JOURNAL: Final = "_journal.sqlite3"
LOG: Final = "_journal.sqlite3-wal"


def commits_of(log: bytes) -> list[int]:
    """Where in a write-ahead log each commit ends; frames of an older use of the file are left out."""
    if len(log) < 32:
        return []
    page, salt = struct.unpack_from(">I", log, 8)[0], log[16:24]
    ends: list[int] = []
    for at in range(32, len(log) - page - 23, page + 24):
        if log[at + 8 : at + 16] != salt:
            break
        if struct.unpack_from(">I", log, at + 4)[0]:
            ends.append(at + 24 + page)
    return ends


def places(data: bytes, step: int, chance: random.Random) -> Iterator[int]:
    """Each ``step``-th byte, beginning anywhere; all bytes of the headers."""
    heads = (*range(100), *(at + byte for at in commits_of(data) for byte in range(24)))
    yield from sorted(
        {at for at in heads if at < len(data)} | set(range(chance.randrange(step), len(data), step))
    )
