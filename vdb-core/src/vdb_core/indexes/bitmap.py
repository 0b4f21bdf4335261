"""Sets of slots as bitmaps: uint64 words, least significant bit first.

::

    slot        63 ... 2 1 0 | 127 ... 66 65 64 | ...
    word            0        |        1         | ...

# Invariants
- A bitmap over n slots has ``words_for(n)`` words; bits at and beyond n are 0.
- Words are a plain contiguous array: ``a & b``, ``a | b`` and ``a & ~b`` keep the invariant (``~a`` alone does not).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "clear_bit",
    "count",
    "empty",
    "from_bool",
    "from_slots",
    "full",
    "set_bit",
    "test_bit",
    "test_bits",
    "to_bool",
    "to_slots",
    "words_for",
]

_ALL: Final = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
_ONE: Final = np.uint64(1)
# Below one slot in so many, setting bits one by one beats packing a byte for every slot.
_SPARSE: Final = 256


def words_for(n: int) -> int:
    """How many words a bitmap over n slots has."""
    return (n + 63) >> 6


def empty(n: int) -> NDArray[np.uint64]:
    """The set of none of n slots."""
    return np.zeros(words_for(n), dtype=np.uint64)


def full(n: int) -> NDArray[np.uint64]:
    """The set of all of n slots."""
    words = np.full(words_for(n), _ALL, dtype=np.uint64)
    if n & 63:
        words[-1] = np.uint64((1 << (n & 63)) - 1)
    return words


def from_slots(slots: ArrayLike, n: int) -> NDArray[np.uint64]:
    """The set of the given slots among n, in any order, repeated or not.

    Raises:
        IndexError: a slot is negative, or n or more.
    """
    wanted = np.asarray(slots)
    if wanted.size == 0:
        return empty(n)
    wanted = wanted.astype(np.int64, copy=False)
    smallest, largest = int(wanted.min()), int(wanted.max())
    if smallest < 0 or largest >= n:
        raise IndexError(f"slots are 0 to {n - 1}; received {smallest if smallest < 0 else largest}")
    if wanted.size * _SPARSE < n:
        words = empty(n)
        np.bitwise_or.at(words, wanted >> 6, _ONE << (wanted & 63).astype(np.uint64))
        return words
    mask = np.zeros(n, dtype=np.bool_)
    mask[wanted] = True
    return from_bool(mask)


def to_slots(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The slots of a set, int64, ascending."""
    occupied = np.flatnonzero(words)
    if occupied.size * 4 > words.size:
        return np.flatnonzero(to_bool(words, words.size * 64)).astype(np.int64, copy=False)
    bits = to_bool(words[occupied], occupied.size * 64).reshape(occupied.size, 64)
    word, bit = np.nonzero(bits)
    return (occupied[word].astype(np.int64) << 6) + bit


def count(words: NDArray[np.uint64]) -> int:
    """How many slots a set holds."""
    return int(np.bitwise_count(words).sum(dtype=np.int64))


def set_bit(words: NDArray[np.uint64], slot: int) -> None:
    """Add a slot, in place."""
    words[slot >> 6] |= np.uint64(1 << (slot & 63))


def clear_bit(words: NDArray[np.uint64], slot: int) -> None:
    """Remove a slot, in place."""
    words[slot >> 6] &= np.uint64(~(1 << (slot & 63)) & 0xFFFF_FFFF_FFFF_FFFF)


def test_bit(words: NDArray[np.uint64], slot: int) -> bool:
    """Tell whether a slot is in the set."""
    return bool((int(words[slot >> 6]) >> (slot & 63)) & 1)


def test_bits(words: NDArray[np.uint64], slots: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tell of each slot whether it is in the set."""
    return ((words[slots >> 6] >> (slots & 63).astype(np.uint64)) & _ONE).astype(np.bool_)


def from_bool(mask: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """The set of the slots at which a boolean array is true."""
    packed = np.packbits(mask, bitorder="little")
    raw = np.zeros(words_for(len(mask)) * 8, dtype=np.uint8)
    raw[: packed.size] = packed
    words = raw.view("<u8")
    return words if sys.byteorder == "little" else words.astype(np.uint64)


def to_bool(words: NDArray[np.uint64], n: int) -> NDArray[np.bool_]:
    """A boolean array over n slots, true where the slot is in the set."""
    raw = np.ascontiguousarray(words, dtype="<u8").view(np.uint8)
    return np.unpackbits(raw, count=n, bitorder="little").view(np.bool_)
