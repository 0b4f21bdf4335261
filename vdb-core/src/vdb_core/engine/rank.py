"""Orders candidates by their exact distance, in float64, ties by age.

A candidate is ``block << 32 | slot``; ascending candidates are ascending age. Many queries are ordered here, one by
:class:`vdb_core.indexes.Accelerator`, part by part: a row has the same distance, to the bit, whichever of the two found it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from vdb_core.engine.distances import pair_distances
from vdb_core.indexes import NO_SLOT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vdb_core.engine.blocks import Block
    from vdb_core.indexes import Metric

__all__ = ["PAD", "candidates_of_many", "candidates_of_one", "merged", "rank_many"]

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


def merged(
    one: tuple[list[int], list[float]], other: tuple[list[int], list[float]], *, want: int
) -> tuple[list[int], list[float]]:
    """Candidates of one query and their distances from two parts, in order; what both name counts once."""
    pairs = {*zip(one[1], one[0], strict=True), *zip(other[1], other[0], strict=True)}
    ranked = sorted(pairs)[:want]
    return [candidate for _, candidate in ranked], [distance for distance, _ in ranked]


def candidates_of_one(part: int, slots: list[int]) -> list[int]:
    """Turn the slots of one query into candidates."""
    high = part << _SHIFT
    return [high | slot for slot in slots] if high else slots
