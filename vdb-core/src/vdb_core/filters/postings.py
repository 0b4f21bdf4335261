"""Which rows have which of the sorted values of a column, packed so that runs of values become bitmaps quickly.

::

    values (kept by the column)   v0   v1        v2  v3 ...           ascending; a code is a value's number
    slots   uint32                s s  s s s     s   s ...            grouped by value, ascending within one
    starts  uint32                ^    ^         ^   ^                where each code's slots begin
    heavy   {code: words}         values on more than 1 row in 32 have a bitmap and no slots
    marks   codes                 0         m1           m2 ...       where prefixes end
    prefix  words a mark          all rows whose value has a code below the mark

A run of codes is the difference of two prefixes plus the few slots at its ends, so a range over a million rows
scatters some ten thousand slots instead of half a million. Heavy values and prefixes each take at most 4 bytes a
row, as much as the slots they stand for.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Final

import numpy as np

from vdb_core.indexes import bitmap

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vdb_core.filters.gather import Gather

__all__ = ["PostingTable"]

_HEAVY: Final = 32
_MARKS: Final = 32
_ROWS_A_MARK: Final = 1 << 13


class PostingTable:
    """Rows by code, immutable. See the module's drawing.

    # Invariants
    - ``starts`` is ``None`` where every code has exactly one slot: code ``c`` has ``slots[c]``.
    - ``prefixes[i]`` holds the rows of the codes below ``marks[i]``; ``marks`` ascends, ``marks[0] == 0`` and
      ``prefixes`` has no row for it.
    - There are prefixes only where no row has two values, else a difference would lose rows.
    """

    __slots__ = ("_heavy", "_marks", "_prefixes", "_slots", "_starts", "codes", "rows")

    def __init__(
        self, counts: NDArray[np.int64], slots: NDArray[np.uint32], *, rows: int, ordered: bool
    ) -> None:
        """Pack.

        Args:
            counts: int64 ``[codes]``, how many slots each code has, at least 1.
            slots: uint32 ``[sum(counts)]``, grouped by code, ascending within one.
            rows: how many rows there are.
            ordered: whether runs of codes will be asked for.
        """
        self.rows = rows
        self.codes = len(counts)
        self._marks: list[int] = [0]
        self._prefixes: list[NDArray[np.uint64]] = []
        if ordered:
            self._make_prefixes(counts, slots)
        heavy = np.flatnonzero(counts * _HEAVY > rows)
        self._heavy: dict[int, NDArray[np.uint64]] = {}
        if len(heavy):
            ends = np.cumsum(counts)
            for code in heavy.tolist():
                end = int(ends[code])
                words = bitmap.from_slots(slots[end - int(counts[code]) : end], rows)
                words.flags.writeable = False
                self._heavy[code] = words
            light = np.ones(self.codes, dtype=np.bool_)
            light[heavy] = False
            slots = slots[np.repeat(light, counts)]
            counts = np.where(light, counts, 0)
        self._slots = np.ascontiguousarray(slots)
        self._starts: NDArray[np.uint32] | None = None
        if len(heavy) or len(slots) != self.codes:
            starts = np.zeros(self.codes + 1, dtype=np.uint32)
            np.cumsum(counts, out=starts[1:])
            self._starts = starts

    def _make_prefixes(self, counts: NDArray[np.int64], slots: NDArray[np.uint32]) -> None:
        total = len(slots)
        wanted = min(_MARKS, total // _ROWS_A_MARK, _MARKS * total // max(self.rows, 1))
        mask = np.zeros(self.rows, dtype=np.bool_)
        mask[slots] = True
        if wanted < 2 or np.count_nonzero(mask) != total:
            return
        mask[:] = False
        ends = np.cumsum(counts)
        targets = np.arange(1, wanted + 1) * total // wanted
        done = 0
        for mark in np.unique(np.searchsorted(ends, targets) + 1).tolist():
            end = int(ends[mark - 1])
            mask[slots[done:end]] = True
            done = end
            words = bitmap.from_bool(mask)
            words.flags.writeable = False
            self._marks.append(mark)
            self._prefixes.append(words)

    def collect(self, code: int, into: Gather) -> None:
        """Gather the rows of one code."""
        words = self._heavy.get(code)
        if words is not None:
            into.add(words)
        elif self._starts is None:
            into.add_slots(self._slots[code : code + 1])
        else:
            into.add_slots(self._slots[self._starts[code] : self._starts[code + 1]])

    def collect_run(self, first: int, end: int, into: Gather) -> None:
        """Gather the rows of the codes ``first`` to ``end - 1``."""
        if first >= end:
            return
        begin = bisect_left(self._marks, first)
        last = bisect_right(self._marks, end) - 1
        if begin >= last:
            self._collect_few(first, end, into)
            return
        upper = self._prefixes[last - 1]
        into.add(upper if begin == 0 else upper ^ self._prefixes[begin - 1])
        self._collect_few(first, self._marks[begin], into)
        self._collect_few(self._marks[last], end, into)

    def collect_many(self, codes: NDArray[np.int64], into: Gather) -> None:
        """Gather the rows of several codes."""
        if self._starts is None:
            into.add_slots(self._slots[codes])
            return
        if len(codes) < 64:
            for code in codes.tolist():
                self.collect(code, into)
            return
        chosen = np.zeros(self.codes, dtype=np.bool_)
        chosen[codes] = True
        for code, words in self._heavy.items():
            if chosen[code]:
                into.add(words)
        into.add_slots(self._slots[np.repeat(chosen, np.diff(self._starts))])

    def _collect_few(self, first: int, end: int, into: Gather) -> None:
        if first >= end:
            return
        starts = self._starts
        into.add_slots(self._slots[first:end] if starts is None else self._slots[starts[first] : starts[end]])
        for code, words in self._heavy.items():
            if first <= code < end:
                into.add(words)

    def lists(self) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
        """Unpack: ``counts`` and ``slots`` as they were given."""
        if self._starts is None:
            return np.ones(self.codes, dtype=np.int64), self._slots
        counts = np.diff(self._starts).astype(np.int64)
        parts: list[NDArray[np.uint32]] = []
        done = 0
        for code, words in sorted(self._heavy.items()):
            begin = int(self._starts[code])
            parts.append(self._slots[done:begin])
            heavy_slots = bitmap.to_slots(words).astype(np.uint32)
            parts.append(heavy_slots)
            counts[code] = len(heavy_slots)
            done = begin
        parts.append(self._slots[done:])
        return counts, np.concatenate(parts)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        held = self._slots.nbytes + (0 if self._starts is None else self._starts.nbytes)
        return held + sum(words.nbytes for words in (*self._heavy.values(), *self._prefixes))
