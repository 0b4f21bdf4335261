"""Rows as a JSON array with one element a line: written and read piece by piece, readable by any JSON parser."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from vdb_core.errors import SnapshotDamaged

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = ["json_chunks", "json_rows"]

_BUFFER: Final = 1 << 20
_JOINED: Final = 32
"""Rows that are put together at a time: a step for each is most of what writing short ones costs."""


def json_chunks(rows: Iterable[bytes]) -> Iterator[bytes]:
    """Give a JSON array, one element a line, in pieces of about a megabyte; the elements are never joined as a whole.

    Raises:
        ValueError: an element holds a line break, so that lines would no longer be elements.
    """
    buffer = bytearray(b"[\n")
    separator = b""
    rest = iter(rows)
    while some := list(islice(rest, _JOINED)):
        text = b",\n".join(some)
        if text.count(b"\n") >= len(some):
            wrong = next(row for row in some if b"\n" in row)
            raise ValueError(f"A row must be JSON text without line breaks, received {wrong[:80]!r}.")
        buffer += separator
        buffer += text
        separator = b",\n"
        if len(buffer) >= _BUFFER:
            yield bytes(buffer)
            buffer.clear()
    buffer += b"\n]\n" if separator else b"]\n"
    yield bytes(buffer)


def json_rows(path: Path) -> Iterator[bytes]:
    """Iterate over the elements of a file that :func:`json_chunks` made, each as JSON text.

    Raises:
        SnapshotDamaged: it is missing, does not begin as such a file does, or ends too early.
    """
    try:
        with path.open("rb", buffering=_BUFFER) as file:
            if file.readline(16) != b"[\n":
                raise SnapshotDamaged(f"{path} is damaged: expected its first line to be '['.")
            for line in file:
                if line.endswith(b",\n"):
                    yield line[:-2]
                elif line.rstrip() == b"]":
                    return
                else:
                    yield line.rstrip(b"\n")
    except FileNotFoundError:
        raise SnapshotDamaged(f"{path} is missing. Restore it or use an older generation.") from None
    raise SnapshotDamaged(f"{path} is damaged: it ends without ']'.")
