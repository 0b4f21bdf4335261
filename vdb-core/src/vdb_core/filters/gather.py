"""Collects what several look-ups found, as whole bitmaps and as lists of slots, and joins it once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from vdb_core.indexes import bitmap

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Gather"]

# Below one slot in so many rows, setting bits one by one beats packing a byte for every row.
_SPARSE: Final = 128
_ONE: Final = np.uint64(1)


class Gather:
    """The union of bitmaps and slots over ``rows`` rows, worked out when it is asked for."""

    __slots__ = ("_bitmaps", "_rows", "_slots")

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._bitmaps: list[NDArray[np.uint64]] = []
        self._slots: list[NDArray[np.uint32]] = []

    def add(self, words: NDArray[np.uint64]) -> None:
        """Add a bitmap; it is kept as it is and never written to."""
        self._bitmaps.append(words)

    def add_slots(self, slots: NDArray[np.uint32]) -> None:
        """Add slots, in any order, repeated or not; every one must be below ``rows``."""
        if len(slots):
            self._slots.append(slots)

    def words(self) -> NDArray[np.uint64]:
        """The union. Where a single bitmap was added this is that very array: do not write to it."""
        bitmaps, rows = self._bitmaps, self._rows
        total = sum(map(len, self._slots))
        if not total:
            if not bitmaps:
                return bitmap.empty(rows)
            if len(bitmaps) == 1:
                return bitmaps[0]
            union = bitmaps[0] | bitmaps[1]
            rest = bitmaps[2:]
        elif total * _SPARSE < rows:
            union = bitmaps[0].copy() if bitmaps else bitmap.empty(rows)
            for slots in self._slots:
                np.bitwise_or.at(union, slots >> 6, _ONE << (slots & 63).astype(np.uint64))
            rest = bitmaps[1:]
        else:
            mask = np.zeros(rows, dtype=np.bool_)
            for slots in self._slots:
                mask[slots] = True
            union = bitmap.from_bool(mask)
            rest = bitmaps
        for words in rest:
            np.bitwise_or(union, words, out=union)
        return union
