"""Orders candidates by their exact distance, in float64, ties by age.

A candidate is ``block << 32 | slot``; ascending candidates are ascending age. One query and many are ordered by the
same arithmetic: a row has the same distance, to the bit, whichever of the two found it. They differ in what they are
made of, for few numbers cost less in Python's own lists than in arrays.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final

import numpy as np

from vdb_core.engine.exact import pair_distances, row_distances
from vdb_core.indexes import NO_SLOT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from vdb_core.engine.blocks import Block
    from vdb_core.indexes import Metric

__all__ = ["PAD", "candidates_of_many", "candidates_of_one", "rank_many", "rank_one"]

PAD: Final = np.iinfo(np.int64).max
"""Stands where there is no candidate."""

_SHIFT: Final = 32
_SLOT: Final = 0xFFFFFFFF
_STEP: Final = 4096


def candidates_of_many(
    slots: NDArray[np.uint32], *, part: int, rows: int, words: NDArray[np.uint64] | None
) -> NDArray[np.int64]:
    """Turn slots ``[q, k]`` into candidates; whatever is padding, out of range or not allowed becomes padding."""
    wide = slots.astype(np.int64)
    usable = wide < rows
    if words is not None:
        inside = np.where(usable, wide, 0)
        usable &= ((words[inside >> 6] >> (inside & 63).astype(np.uint64)) & np.uint64(1)).astype(bool)
    elif bool((slots == NO_SLOT).any()):
        usable &= slots != NO_SLOT
    return np.where(usable, wide | (np.int64(part) << np.int64(_SHIFT)), PAD)


def candidates_of_one(
    slots: NDArray[np.uint32], *, part: int, rows: int, words: NDArray[np.uint64] | None
) -> list[int]:
    """The same for the slots of one query; whatever is no candidate is left out."""
    usable: list[int] = slots.ravel().tolist()
    # Padding is a number beyond all rows. One look at the largest costs less than one at each.
    if usable and max(usable) >= rows:
        usable = [slot for slot in usable if slot < rows]
    if words is not None:
        usable = [slot for slot in usable if int(words[slot >> 6]) >> (slot & 63) & 1]
    high = part << _SHIFT
    return [high | slot for slot in usable] if high else usable


def rank_many(
    blocks: list[Block],
    queries: NDArray[np.float32],
    columns: list[NDArray[np.int64]],
    *,
    metric: Metric,
    want: int,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Order candidates ``[q, k]`` of each column; keeps ``want`` a query, padded where there are fewer."""
    merged = columns[0] if len(columns) == 1 else np.concatenate(columns, axis=1)
    merged = np.sort(merged, axis=1)
    if merged.shape[1] < want:
        merged = np.pad(merged, ((0, 0), (0, want - merged.shape[1])), constant_values=PAD)
    # An index that names a row twice counts once.
    merged[:, 1:][merged[:, 1:] == merged[:, :-1]] = PAD
    flat = merged.ravel()
    distances = np.full(len(flat), np.inf)
    number = flat >> np.int64(_SHIFT)
    slot = flat & np.int64(_SLOT)
    width = merged.shape[1]
    for at, block in enumerate(blocks):
        mine = np.flatnonzero(number == at) if len(blocks) > 1 else np.flatnonzero(flat != PAD)
        for begin in range(0, len(mine), _STEP):
            some = mine[begin : begin + _STEP]
            distances[some] = pair_distances(queries[some // width], block.vectors[slot[some]], metric)
    table = distances.reshape(merged.shape)
    order = np.argsort(table, axis=1, kind="stable")[:, :want]
    return np.take_along_axis(merged, order, axis=1), np.take_along_axis(table, order, axis=1)


def rank_one(
    blocks: list[Block], query: NDArray[np.float32], candidates: Iterable[int], *, metric: Metric, want: int
) -> tuple[list[int], list[float]]:
    """Order the candidates of one query, float32 ``[1, dim]``; keeps ``want``, fewer where there are fewer."""
    known = sorted(set(candidates))  # an index that names a row twice counts once
    distances: list[float] = []
    begin = 0
    while begin < len(known):
        part = known[begin] >> _SHIFT
        end = len(known) if known[-1] >> _SHIFT == part else bisect_left(known, (part + 1) << _SHIFT)
        slots = np.array(known[begin:end], dtype=np.int64)
        if part:
            slots &= _SLOT
        distances += row_distances(query, blocks[part].vectors.take(slots, axis=0), metric).tolist()
        begin = end
    ranked = sorted(zip(distances, known, strict=True))[:want]
    return [candidate for _, candidate in ranked], [distance for distance, _ in ranked]
