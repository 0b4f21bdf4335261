"""Columns that no longer grow: sorted distinct values beside their rows, for binary search.

::

    PackedField ── present: PostingTable          of one code: the rows that have the path
                ├─ scalars, members: PackedColumns ── constants · integers · floats · texts (with their instants)
                └─ wholes: PackedTexts

A distinct text costs its UTF-8 bytes and an offset, no Python object; UTF-8 sorts as code points do.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

from vdb_core.filters.gather import Gather
from vdb_core.filters.open_columns import constant_code
from vdb_core.filters.postings import PostingTable
from vdb_core.filters.runs import NumberRun, TextRun, group
from vdb_core.filters.values import (
    INT64_MAX,
    INT64_MIN,
    below_float,
    below_instant,
    below_integer,
    fold_number,
    parse_instant,
)
from vdb_core.indexes import bitmap

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from numpy.typing import NDArray

    from vdb_core.filters.values import Instant, Scalar

__all__ = ["PackedColumns", "PackedField", "PackedTexts", "SortedValues"]

_DASH: Final = ord("-")


class SortedValues:
    """Distinct numbers, ascending, with their rows."""

    __slots__ = ("table", "values")

    def __init__(self, run: NumberRun, *, rows: int) -> None:
        self.values = run.values
        self.table = PostingTable(run.counts, run.slots, rows=rows, ordered=True)

    def unpack(self) -> NumberRun:
        """Unpack."""
        return NumberRun(self.values, *self.table.lists())

    def equal(self, value: float, into: Gather) -> None:
        """Gather the rows that have a value."""
        code = int(np.searchsorted(self.values, value))
        if code < len(self.values) and self.values[code] == value:
            self.table.collect(code, into)

    def below(self, edge: float, *, wanted: bool, into: Gather) -> None:
        """Gather the rows whose value is below a threshold, or those at and above it where not ``wanted``."""
        code = int(np.searchsorted(self.values, edge))
        self.run(code, wanted=wanted, into=into)

    def run(self, code: int, *, wanted: bool, into: Gather) -> None:
        """Gather the codes below one, or the others."""
        if wanted:
            self.table.collect_run(0, code, into)
        else:
            self.table.collect_run(code, self.table.codes, into)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return self.values.nbytes + self.table.nbytes


class _Instants:
    """Distinct instants, ascending, with their rows."""

    __slots__ = ("_micros", "_nanos", "_table")

    def __init__(
        self,
        micros: NDArray[np.int64],
        nanos: NDArray[np.uint16],
        counts: NDArray[np.int64],
        slots: NDArray[np.uint32],
        *,
        rows: int,
    ) -> None:
        """Pack.

        Args:
            micros: int64 ``[codes]``, microseconds, in any order, repeated or not.
            nanos: uint16 ``[codes]``, nanoseconds beyond them.
            counts: int64 ``[codes]``.
            slots: uint32 ``[sum(counts)]``, grouped by code.
            rows: how many rows there are.
        """
        order = np.lexsort((nanos, micros))
        micros, nanos = micros[order], nanos[order]
        first = np.ones(len(order), dtype=np.bool_)
        first[1:] = (micros[1:] != micros[:-1]) | (nanos[1:] != nanos[:-1])
        ranks = np.empty(len(order), dtype=np.uint32)
        ranks[order] = np.cumsum(first) - 1
        entries = np.repeat(ranks, counts)
        by_row = np.argsort(slots, kind="stable")
        self._micros = micros[first]
        self._nanos: NDArray[np.uint16] | None = nanos[first] if nanos.any() else None
        grouped = group(entries[by_row], slots[by_row], len(self._micros))
        self._table = PostingTable(*grouped, rows=rows, ordered=True)

    def _code(self, instant: Instant) -> int:
        """How many instants are below one."""
        begin = int(np.searchsorted(self._micros, instant[0]))
        if not instant[1]:
            return begin
        end = int(np.searchsorted(self._micros, instant[0], side="right"))
        if self._nanos is None:
            return end
        return begin + int(np.searchsorted(self._nanos[begin:end], np.uint16(instant[1])))

    def equal(self, instant: Instant, into: Gather) -> None:
        self._table.collect_run(self._code(instant), self._code((instant[0], instant[1] + 1)), into)

    def below(self, instant: Instant, *, wanted: bool, into: Gather) -> None:
        code = self._code(instant)
        if wanted:
            self._table.collect_run(0, code, into)
        else:
            self._table.collect_run(code, self._table.codes, into)

    @property
    def nbytes(self) -> int:
        return self._micros.nbytes + self._table.nbytes + (0 if self._nanos is None else self._nanos.nbytes)


class PackedTexts:
    """Distinct texts in ascending order, concatenated, with their rows and, where they are datetimes, their instants.

    # Invariants
    - Text ``c`` is ``buffer[offsets[c]:offsets[c + 1]]``, UTF-8.
    """

    __slots__ = ("_buffer", "_instants", "_offsets", "_places", "table")

    def __init__(self, run: TextRun, *, rows: int, datetimes: bool) -> None:
        """Pack.

        Args:
            run: the texts and their rows.
            rows: how many rows there are.
            datetimes: whether texts may be datetimes; ids and canonical texts may not.
        """
        self._buffer = run.letters.tobytes()
        small = len(self._buffer) < 2**32
        self._offsets: NDArray[np.uint32 | np.uint64] = run.offsets.astype(np.uint32 if small else np.uint64)
        # Reading single items of a view is several times faster than of an array.
        self._places: memoryview[int] = self._offsets.data
        self.table = PostingTable(run.counts, run.slots, rows=rows, ordered=False)
        self._instants = self._find_instants(run, rows) if datetimes else None

    def unpack(self) -> TextRun:
        """Unpack."""
        letters = np.frombuffer(self._buffer, dtype=np.uint8)
        return TextRun(letters, self._offsets.astype(np.int64), *self.table.lists())

    def _find_instants(self, run: TextRun, rows: int) -> _Instants | None:
        # A datetime has a dash at 4 and 7: looking at these bytes first spares parsing all other texts.
        begins = run.offsets[:-1]
        long = np.flatnonzero(np.diff(run.offsets) >= 10)
        likely = long[(run.letters[begins[long] + 4] == _DASH) & (run.letters[begins[long] + 7] == _DASH)]
        codes, micros, nanos = array("q"), array("q"), array("H")
        for code in likely.tolist():
            instant = parse_instant(self._buffer[self._places[code] : self._places[code + 1]].decode())
            if instant is not None:
                codes.append(code)
                micros.append(instant[0])
                nanos.append(instant[1])
        if not codes:
            return None
        chosen = np.frombuffer(codes, dtype=np.int64)
        is_instant = np.zeros(len(begins), dtype=np.bool_)
        is_instant[chosen] = True
        return _Instants(
            np.frombuffer(micros, dtype=np.int64),
            np.frombuffer(nanos, dtype=np.uint16),
            run.counts[chosen],
            run.slots[np.repeat(is_instant, run.counts)],
            rows=rows,
        )

    def find(self, text: str) -> int | None:
        """The code of a text."""
        wanted = text.encode()
        buffer, places = self._buffer, self._places
        low, high = 0, self.table.codes
        while low < high:
            middle = (low + high) >> 1
            if buffer[places[middle] : places[middle + 1]] < wanted:
                low = middle + 1
            else:
                high = middle
        found = low < self.table.codes and buffer[places[low] : places[low + 1]] == wanted
        return low if found else None

    def texts(self, first: int = 0, end: int | None = None) -> Iterator[str]:
        """The texts of the codes ``first`` to ``end - 1``, ascending."""
        offsets = self._offsets[first : None if end is None else end + 1].tolist()
        for begin, stop in pairwise(offsets):
            yield self._buffer[begin:stop].decode()

    def equal(self, text: str, into: Gather) -> None:
        """Gather the rows that have a text."""
        code = self.find(text)
        if code is not None:
            self.table.collect(code, into)

    def among(self, texts: Collection[str], into: Gather) -> None:
        """Gather the rows that have one of several texts."""
        # A search takes some twenty steps, so for many texts one pass over all of ours is less.
        if len(texts) * 16 > self.table.codes:
            codes = [code for code, text in enumerate(self.texts()) if text in texts]
        else:
            codes = [code for text in texts if (code := self.find(text)) is not None]
        self.table.collect_many(np.array(codes, dtype=np.int64), into)

    def containing(self, part: str, into: Gather) -> None:
        """Gather the rows whose text contains another."""
        wanted = part.encode()
        if not wanted:
            self.everything(into)
            return
        buffer, places = self._buffer, self._places
        last = self.table.codes - 1
        codes: list[int] = []
        code = 0
        place = buffer.find(wanted)
        while place >= 0:
            # Where most texts match, the next match is in the next text.
            if places[code + 1] <= place:
                code += 1
                if code < last and places[code + 1] <= place:
                    code = bisect_right(places, place, code) - 1
            end = places[code + 1]
            if place + len(wanted) <= end:
                codes.append(code)
                place = buffer.find(wanted, end)
            else:
                # It reaches into the next text, or further.
                place = buffer.find(wanted, place + 1)
        self.table.collect_many(np.array(codes, dtype=np.int64), into)

    def equal_instant(self, text: str, into: Gather) -> bool:
        """Gather the rows whose text names the same instant; tells whether ``text`` names one at all."""
        instant = parse_instant(text)
        if instant is None:
            return False
        if self._instants is not None:
            self._instants.equal(instant, into)
        return True

    def below(self, instant: Instant, *, wanted: bool, into: Gather) -> None:
        """Gather the rows whose instant is below a threshold, or those at and above it where not ``wanted``."""
        if self._instants is not None:
            self._instants.below(instant, wanted=wanted, into=into)

    def everything(self, into: Gather) -> None:
        """Gather every row that has a text."""
        self.table.collect_run(0, self.table.codes, into)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        instants = 0 if self._instants is None else self._instants.nbytes
        return len(self._buffer) + self._offsets.nbytes + self.table.nbytes + instants


class PackedColumns:
    """Scalars of one field."""

    __slots__ = ("constants", "floats", "integers", "texts")

    def __init__(
        self,
        *,
        constants: SortedValues | None = None,
        integers: SortedValues | None = None,
        floats: SortedValues | None = None,
        texts: PackedTexts | None = None,
    ) -> None:
        self.constants = constants
        self.integers = integers
        self.floats = floats
        self.texts = texts

    def equal(self, value: Scalar, into: Gather) -> None:
        """Gather the rows that have a value equal to this one."""
        if isinstance(value, str):
            if self.texts is not None and not self.texts.equal_instant(value, into):
                self.texts.equal(value, into)
        elif value is None or isinstance(value, bool):
            if self.constants is not None:
                self.constants.equal(constant_code(value), into)
        else:
            number = fold_number(value)
            if isinstance(number, float):
                if self.floats is not None:
                    self.floats.equal(number, into)
            elif self.integers is not None and INT64_MIN <= number <= INT64_MAX:
                self.integers.equal(number, into)

    def compare(self, operand: Scalar, *, below: bool, inclusive: bool, into: Gather) -> None:
        """Gather the rows with a value below (or above) a number or a datetime."""
        # `stored > x` is `not stored < t` for the threshold t of `stored <= x`.
        closed = inclusive == below
        if isinstance(operand, str):
            instant = parse_instant(operand)
            if instant is not None and self.texts is not None:
                self.texts.below(below_instant(instant, inclusive=closed), wanted=below, into=into)
        elif operand is not None:
            if self.integers is not None:
                edge = below_integer(operand, inclusive=closed)
                if edge > INT64_MAX:
                    self.integers.run(len(self.integers.values), wanted=below, into=into)
                else:
                    self.integers.below(max(edge, INT64_MIN), wanted=below, into=into)
            if self.floats is not None:
                self.floats.below(below_float(operand, inclusive=closed), wanted=below, into=into)

    def containing(self, part: str, into: Gather) -> None:
        """Gather the rows that have a string with this substring."""
        if self.texts is not None:
            self.texts.containing(part, into)

    def everything(self, into: Gather) -> None:
        """Gather every row that has a value."""
        for part in (self.constants, self.integers, self.floats, self.texts):
            if part is not None:
                part.table.collect_run(0, part.table.codes, into)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        parts = (self.constants, self.integers, self.floats, self.texts)
        return sum(part.nbytes for part in parts if part is not None)


class PackedField:
    """One path of the metadata."""

    __slots__ = ("_present", "members", "scalars", "wholes")

    def __init__(
        self,
        *,
        scalars: PackedColumns,
        members: PackedColumns | None,
        wholes: PackedTexts | None,
        rows: int,
    ) -> None:
        self.scalars = scalars
        self.members = members
        self.wholes = wholes
        found = Gather(rows)
        scalars.everything(found)
        if wholes is not None:
            wholes.everything(found)
        slots = bitmap.to_slots(found.words()).astype(np.uint32)
        self._present = PostingTable(np.array([len(slots)], dtype=np.int64), slots, rows=rows, ordered=False)

    def everything(self, into: Gather) -> None:
        """Gather every row that has the path."""
        self._present.collect(0, into)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays, and about what the objects around them take."""
        parts = (self.scalars, self.members, self.wholes, self._present)
        return 1_000 + sum(part.nbytes for part in parts if part is not None)
