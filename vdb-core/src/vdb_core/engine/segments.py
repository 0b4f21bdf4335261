"""How the rows of a write are shared out among segments, and what can be made ready for that before it is committed.

A small write joins others in the open segment. A large one gets segments of its own, which are full from the beginning:
they are made beside the traffic, their metadata indexes by whoever brings the rows, so that to commit it takes next to
nothing and the write lock is held for appending to a list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from vdb_core.filters import MetadataIndex

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Fields", "index_rows", "is_small", "segment_capacity", "shares"]

Fields: TypeAlias = "tuple[Sequence[str | None], Sequence[Mapping[str, object]]]"
"""The document ids and the metadata of rows."""

SMALL_ROWS = 256
"""Rows up to which a write, or what is left of one, shares its segment with others."""

_SEGMENT_ROWS: Final = 4096
_SEGMENT_BYTES: Final = 8 << 20


def segment_capacity(dimension: int) -> int:
    """Rows of a delta segment: 4,096, fewer where they would take more than 8 MiB, and at least 64."""
    return max(64, min(_SEGMENT_ROWS, _SEGMENT_BYTES // (4 * dimension)) // 64 * 64)


def is_small(rows: int) -> bool:
    """Whether so many rows share their segment with those of other writes."""
    return rows <= SMALL_ROWS


def shares(rows: int, dimension: int) -> list[tuple[int, int]]:
    """From which row up to which each segment of a write goes."""
    capacity = segment_capacity(dimension)
    return [(begin, min(rows, begin + capacity)) for begin in range(0, rows, capacity)]


def index_rows(
    dimension: int, document_ids: Sequence[str | None], metadatas: Sequence[Mapping[str, object]]
) -> tuple[list[MetadataIndex], Fields]:
    """Make the metadata indexes of the segments that a write gets for itself.

    Best done where the rows were read just now: a moment later, and by another thread, it takes several times as long.

    Returns:
        The packed indexes of the first segments, and the fields of the rows that lie behind them.
    """
    indexes: list[MetadataIndex] = []
    done = 0
    for begin, end in shares(len(metadatas), dimension):
        if is_small(end - begin):
            break
        index = MetadataIndex()
        index.extend(document_ids[begin:end], metadatas[begin:end])
        index.pack()
        indexes.append(index)
        done = end
    return indexes, (document_ids[done:], metadatas[done:])
