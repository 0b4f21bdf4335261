"""Sorted runs: a column as plain arrays, the form in which columns are packed, read and merged.

::

    values   v0   v1        v2 ...      distinct, ascending: numbers, or letters with offsets
    counts   2    3         1           how many slots each has
    slots    s s  s s s     s           grouped by value, ascending within one

Merging works on whole arrays: no Python object is made for a row or a value, for memory that many small objects
took stays with the process long after them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = [
    "GONE",
    "NumberRun",
    "TextRun",
    "group",
    "merge_numbers",
    "merge_texts",
    "rank_texts",
    "take_texts",
]

GONE: Final = -1
"""The new slot of a row that is left out."""

_LETTERS_A_KEY: Final = 7
_MORE: Final = np.uint64(8)
_LOW_BYTE: Final = np.uint64(0xFF)
_GATHERED: Final = 1 << 18
# The first letters of a key, by how many of them belong to the text.
_MASKS: Final = np.array(
    [
        (0xFFFF_FFFF_FFFF_FFFF << (64 - 8 * held)) & 0xFFFF_FFFF_FFFF_FF00
        for held in range(_LETTERS_A_KEY + 1)
    ],
    dtype=np.uint64,
)


def group(
    codes: NDArray[np.integer], slots: NDArray[np.uint32], count: int
) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    """Sort entries by code, rows ascending within one, each row once a code: ``counts[count]`` and ``slots``."""
    order = np.argsort(codes, kind="stable")
    codes, slots = codes[order], slots[order]
    if len(codes):
        # A list may hold a value twice; its row then follows itself.
        first = np.ones(len(codes), dtype=np.bool_)
        first[1:] = (codes[1:] != codes[:-1]) | (slots[1:] != slots[:-1])
        if not first.all():
            codes, slots = codes[first], slots[first]
    return np.bincount(codes, minlength=count).astype(np.int64), slots


@final
@dataclass(frozen=True, slots=True)
class NumberRun:
    """Distinct numbers, ascending, with their rows."""

    values: NDArray[np.int64 | np.float64]
    counts: NDArray[np.int64]
    slots: NDArray[np.uint32]

    @classmethod
    def of(cls, entries: NDArray[np.int64 | np.float64], slots: NDArray[np.uint32]) -> NumberRun | None:
        """Sort entries given in the order of their rows; ``None`` where there are none."""
        if not len(entries):
            return None
        values, codes = np.unique(entries, return_inverse=True)
        return cls(values, *group(codes, slots, len(values)))

    def moved(self, places: NDArray[np.int64]) -> NumberRun | None:
        """The same values on other rows: slot ``s`` becomes ``places[s]``, which ascend but where they are GONE."""
        moved = _move(self.counts, self.slots, places)
        if moved is None:
            return None
        held, counts, slots = moved
        return NumberRun(self.values[held], counts, slots)


@final
@dataclass(frozen=True, slots=True)
class TextRun:
    """Distinct texts, ascending, with their rows. Text ``c`` is ``letters[offsets[c]:offsets[c + 1]]``, UTF-8."""

    letters: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    counts: NDArray[np.int64]
    slots: NDArray[np.uint32]

    @classmethod
    def of(cls, texts: Sequence[str], counts: NDArray[np.int64], slots: NDArray[np.uint32]) -> TextRun:
        """Take texts that are distinct and ascend; UTF-8 sorts as code points do."""
        joined = "".join(texts).encode()
        lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
        if len(joined) != int(lengths.sum()):
            lengths = np.fromiter((len(text.encode()) for text in texts), dtype=np.int64, count=len(texts))
        return cls(np.frombuffer(joined, dtype=np.uint8), _offsets(lengths), counts, slots)

    def moved(self, places: NDArray[np.int64]) -> TextRun | None:
        """The same texts on other rows: slot ``s`` becomes ``places[s]``, which ascend but where they are GONE."""
        moved = _move(self.counts, self.slots, places)
        if moved is None:
            return None
        held, counts, slots = moved
        if held.all():
            return TextRun(self.letters, self.offsets, counts, slots)
        letters, offsets = take_texts(self.letters, self.offsets, np.flatnonzero(held))
        return TextRun(letters, offsets, counts, slots)


def _move(
    counts: NDArray[np.int64], slots: NDArray[np.uint32], places: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.uint32]] | None:
    """Which codes are left, their counts and slots; ``None`` where none is left."""
    moved = places[slots]
    stays = moved != GONE
    codes = np.repeat(np.arange(len(counts)), counts)[stays]
    if not len(codes):
        return None
    left = np.bincount(codes, minlength=len(counts)).astype(np.int64)
    held = left > 0
    return held, left[held], moved[stays].astype(np.uint32)


def _offsets(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def take_texts(
    letters: NDArray[np.uint8], offsets: NDArray[np.integer], chosen: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Concatenate chosen texts, in the order given: their ``letters`` and ``offsets``."""
    begins = offsets[chosen].astype(np.int64)
    ends = _offsets(offsets[chosen + 1].astype(np.int64) - begins)
    taken = np.empty(int(ends[-1]), dtype=np.uint8)
    first = 0
    while first < len(chosen):
        # Some hundred thousand letters at a time: each needs the eight bytes of its place.
        last = max(first + 1, int(np.searchsorted(ends, ends[first] + _GATHERED, side="right")) - 1)
        start, stop = int(ends[first]), int(ends[last])
        away = np.repeat(begins[first:last] - ends[first:last], np.diff(ends[first : last + 1]))
        taken[start:stop] = letters[away + np.arange(start, stop)]
        first = last
    return taken, ends


def merge_numbers(runs: Sequence[NumberRun]) -> NumberRun | None:
    """Join runs; the rows of each follow those of the one before. ``None`` where there are no runs."""
    if len(runs) < 2:
        return runs[0] if runs else None
    values, codes = np.unique(np.concatenate([run.values for run in runs]), return_inverse=True)
    counts = np.concatenate([run.counts for run in runs])
    slots = np.concatenate([run.slots for run in runs])
    return NumberRun(values, *group(np.repeat(codes, counts), slots, len(values)))


def merge_texts(runs: Sequence[TextRun]) -> TextRun | None:
    """Join runs; the rows of each follow those of the one before. ``None`` where there are no runs."""
    if len(runs) < 2:
        return runs[0] if runs else None
    letters = np.concatenate([run.letters for run in runs])
    offsets = _offsets(np.concatenate([np.diff(run.offsets) for run in runs]))
    order, first = rank_texts(letters, offsets)
    codes = np.empty(len(order), dtype=np.int64)
    codes[order] = np.cumsum(first) - 1
    chosen = order[first]
    counts, slots = group(
        np.repeat(codes, np.concatenate([run.counts for run in runs])),
        np.concatenate([run.slots for run in runs]),
        len(chosen),
    )
    return TextRun(*take_texts(letters, offsets, chosen), counts, slots)


def rank_texts(
    letters: NDArray[np.uint8], offsets: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    r"""Sort texts by their bytes: ``order``, and where in it a text differs from the one before.

    Texts are compared seven letters at a time, and only those that are alike so far go on to the next seven. A key is
    these letters, zeros after the last, and how many there are (8 for "more follow"), so that ``"a"`` comes before
    ``"a\0"``.
    """
    begins, lengths = offsets[:-1], np.diff(offsets)
    order = np.arange(len(begins))
    first = np.zeros(len(begins), dtype=np.bool_)
    first[:1] = True
    padded = np.zeros(len(letters) + 8, dtype=np.uint8)
    padded[: len(letters)] = letters
    words = np.ndarray((len(letters) + 1,), dtype=">u8", buffer=padded, strides=(1,))
    undecided = order.copy()
    groups = np.zeros(len(begins), dtype=np.int64)
    depth = 0
    while len(undecided):
        texts = order[undecided]
        left = lengths[texts] - depth
        keys = words[begins[texts] + depth].astype(np.uint64)
        keys &= _MASKS[np.minimum(left, _LETTERS_A_KEY)]
        keys |= np.minimum(left, int(_MORE)).astype(np.uint64)
        turn = np.lexsort((keys, groups)) if depth else np.argsort(keys, kind="stable")
        order[undecided] = texts[turn]
        keys = keys[turn]
        begin = np.ones(len(keys), dtype=np.bool_)
        begin[1:] = (keys[1:] != keys[:-1]) | (groups[1:] != groups[:-1])
        first[undecided] = begin
        alone = begin.copy()
        alone[:-1] &= begin[1:]
        goes_on = ~alone & ((keys & _LOW_BYTE) == _MORE)
        groups = np.cumsum(begin)[goes_on]
        undecided = undecided[goes_on]
        depth += _LETTERS_A_KEY
    return order, first
