"""Reads SQLite's write-ahead log as SQLite does, to see what it passes over in silence.

::

    header   32 bytes: magic, version, page size, number, two salts, two checksums
    frame    24 bytes: page, size of the file after a commit (0: none), the salts, two checksums; then the page

Checksums run on from frame to frame, so SQLite takes the log to end where the first one does not match: to it, damage there
looks like a crash before the commit. See "The WAL File Format" in SQLite's documentation of its file format.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["passed_over"]

_HEADER: Final = 32
_FRAME: Final = 24
_MAGIC_LITTLE: Final = 0x377F0682
_MAGICS: Final = (_MAGIC_LITTLE, _MAGIC_LITTLE + 1)
_MASK: Final = 0xFFFFFFFF


def passed_over(log: Path) -> str | None:
    """What of a log SQLite passes over although it may have been committed; none where there is nothing of the kind."""
    with log.open("rb") as file:
        header = file.read(_HEADER)
        if not header:
            return None
        if len(header) < _HEADER:
            return f"it has {len(header)} bytes; SQLite passes over all of it"
        magic, _, page, _, *rest = struct.unpack(">8I", header)
        salts, checks = tuple(rest[:2]), tuple(rest[2:])
        little = magic == _MAGIC_LITTLE
        if (
            magic not in _MAGICS
            or _sum(header[:24], (0, 0), little=little) != checks
            or not 512 <= page <= 65_536
        ):
            return "its header is damaged, and SQLite passes over all of it"
        sound, commits = 0, 0
        broken = False
        while len(frame := file.read(_FRAME + page)) == _FRAME + page:
            _, size, *rest = struct.unpack(">6I", frame[:_FRAME])
            if not broken:
                running = _sum(frame[_FRAME:], _sum(frame[:8], checks, little=little), little=little)
                if tuple(rest[:2]) == salts and tuple(rest[2:]) == running:
                    checks = running
                    sound += 1
                    continue
                broken = True
            # Frames of an earlier round of the log have other salts.
            commits += tuple(rest[:2]) == salts and size > 0
    if not commits:
        return None
    return (
        f"SQLite reads {sound} of its frames and passes over {commits} commits behind them: they were cut off by a power "
        "failure before they were acknowledged, or they are damaged"
    )


def _sum(data: bytes, start: tuple[int, ...], *, little: bool) -> tuple[int, int]:
    first, second = start
    for one, other in np.frombuffer(data, dtype="<u4" if little else ">u4").reshape(-1, 2).tolist():
        first = (first + one + second) & _MASK
        second = (second + other + first) & _MASK
    return first, second
