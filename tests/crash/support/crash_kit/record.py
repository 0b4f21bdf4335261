"""Reads what the shim recorded: every call below a directory in the order in which it happened, with its bytes."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Call", "Operation", "read_record"]

_HEAD = struct.Struct("<BBHiqII")


class Operation(IntEnum):
    """What was called; the numbers are those of ``enum operation`` in shim_core.h."""

    OPEN = 1
    CLOSE = 2
    WRITE = 3
    TRUNCATE = 4
    SYNC = 5
    RENAME = 6
    UNLINK = 7
    MKDIR = 8
    RMDIR = 9
    LINK = 10
    MARK = 11
    DUPLICATE = 12


@dataclass(frozen=True, slots=True)
class Call:
    """One call, as it was carried out; only a failed sync is recorded beside those that succeeded."""

    operation: Operation
    failed: bool
    creates: bool
    """``OPEN``: it makes the file where there is none."""
    empties: bool
    """``OPEN``: it truncates the file."""
    descriptor: int
    offset: int
    """``WRITE``: where; ``TRUNCATE``: to what length; ``DUPLICATE``: the descriptor it is a copy of."""
    path: str
    """Relative to the directory that was watched; empty for that one itself. ``MARK``: its text."""
    target: str
    """``RENAME`` and ``LINK``: the new name."""
    data: bytes
    """``WRITE``: what was written."""


def read_record(file: Path, root: Path) -> list[Call]:
    """Read a whole record of what happened below ``root``."""
    data, at, calls, prefix = file.read_bytes(), 0, [], len(os.fsencode(root)) + 1
    while at < len(data):
        code, failed, flags, descriptor, offset, first, second = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        head, tail = data[at : at + first], data[at + first : at + first + second]
        at += first + second
        operation = Operation(code)
        if operation == Operation.MARK:
            text = head.decode()
        else:
            text = "" if operation == Operation.WRITE else os.fsdecode(head[prefix:])
        calls.append(
            Call(
                operation=operation,
                failed=bool(failed),
                creates=bool(flags & 1),
                empties=bool(flags & 2),
                descriptor=descriptor,
                offset=offset,
                path=text,
                target=os.fsdecode(tail[prefix:]),
                data=head if operation == Operation.WRITE else b"",
            )
        )
    return calls
