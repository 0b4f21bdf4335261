"""Columns that grow: what is known of one field of a block that still takes rows.

::

    OpenField ── scalars, members: OpenColumns ── constants · integers · floats · texts (with their instants)
              └─ wholes: OpenTexts             whole lists and objects, by their canonical text

Values lie in typed arrays in the order of their rows, and a look-up compares all of them: over the few thousand rows
of a segment that takes microseconds, and appending costs no more than two pushes. ``members`` are the members of
lists, kept apart because ``$contains`` tells a member of a list from a string.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from vdb_core.filters.values import (
    INT64_MAX,
    INT64_MIN,
    below_float,
    below_instant,
    below_integer,
    fold_number,
    parse_instant,
    whole_key,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from vdb_core.filters.gather import Gather
    from vdb_core.filters.values import Scalar

__all__ = ["OpenColumns", "OpenField", "OpenTexts", "constant_code"]


def constant_code(value: bool | None) -> int:
    """The code of ``null``, ``false`` and ``true``: 0, 1 and 2."""
    return 0 if value is None else 1 + value


def _view(values: array[int] | array[float]) -> NDArray[Any]:
    """See an array as NumPy does; while the view lives the array cannot grow."""
    return np.frombuffer(values, dtype=np.dtype(values.typecode))


class OpenTexts:
    """Texts, each distinct one kept once."""

    __slots__ = ("codes", "instant_codes", "instant_micros", "instant_nanos", "known", "slots")

    def __init__(self) -> None:
        self.known: dict[str, int] = {}
        self.codes = array("I")
        self.slots = array("I")
        self.instant_codes = array("I")
        self.instant_micros = array("q")
        self.instant_nanos = array("H")

    def append(self, text: str, row: int) -> None:
        """Add a text that is looked up by its letters alone."""
        self.codes.append(self.known.setdefault(text, len(self.known)))
        self.slots.append(row)

    def append_value(self, text: str, row: int) -> None:
        """Add a text that may be a datetime."""
        code = self.known.get(text)
        self.codes.append(self._know(text) if code is None else code)
        self.slots.append(row)

    def extend_values(self, texts: Sequence[str], rows: range) -> None:
        """Add a text to each of some rows that follow each other."""
        known = self.known
        for text in dict.fromkeys(texts):
            if text not in known:
                self._know(text)
        self.codes.extend(map(known.__getitem__, texts))
        self.slots.extend(rows)

    def _know(self, text: str) -> int:
        code = self.known[text] = len(self.known)
        instant = parse_instant(text)
        if instant is not None:
            self.instant_codes.append(code)
            self.instant_micros.append(instant[0])
            self.instant_nanos.append(instant[1])
        return code

    def equal(self, text: str, into: Gather) -> None:
        """Gather the rows that have a text."""
        code = self.known.get(text)
        if code is not None:
            into.add_slots(_view(self.slots)[_view(self.codes) == code])

    def among(self, texts: Collection[str], into: Gather) -> None:
        """Gather the rows that have one of several texts."""
        known = self.known
        if len(texts) > len(known):
            codes = [code for text, code in known.items() if text in texts]
        else:
            codes = [known[text] for text in texts if text in known]
        self._collect(codes, into)

    def containing(self, part: str, into: Gather) -> None:
        """Gather the rows whose text contains another."""
        self._collect([code for text, code in self.known.items() if part in text], into)

    def equal_instant(self, text: str, into: Gather) -> bool:
        """Gather the rows whose text names the same instant; tells whether ``text`` names one at all."""
        instant = parse_instant(text)
        if instant is None:
            return False
        if self.instant_codes:
            micros, nanos = _view(self.instant_micros), _view(self.instant_nanos)
            self._collect(_view(self.instant_codes)[(micros == instant[0]) & (nanos == instant[1])], into)
        return True

    def below(self, instant: tuple[int, int], *, wanted: bool, into: Gather) -> None:
        """Gather the rows whose instant is below a threshold, or those at and above it where not ``wanted``."""
        if self.instant_codes:
            micros, nanos = _view(self.instant_micros), _view(self.instant_nanos)
            below = (micros < instant[0]) | ((micros == instant[0]) & (nanos < instant[1]))
            self._collect(_view(self.instant_codes)[below == wanted], into)

    def everything(self, into: Gather) -> None:
        """Gather every row that has a text."""
        into.add_slots(_view(self.slots))

    def _collect(self, codes: list[int] | NDArray[np.uint32], into: Gather) -> None:
        chosen = np.zeros(len(self.known), dtype=np.bool_)
        chosen[np.asarray(codes, dtype=np.int64)] = True
        into.add_slots(_view(self.slots)[chosen[_view(self.codes)]])

    @property
    def nbytes(self) -> int:
        """About how many bytes this takes; a distinct text is reckoned at 150 with its place in the table."""
        arrays = (self.codes, self.slots, self.instant_codes, self.instant_micros, self.instant_nanos)
        return 150 * len(self.known) + sum(len(held) * held.itemsize for held in arrays)


class OpenColumns:
    """Scalars of one field."""

    __slots__ = (
        "constant_slots",
        "constants",
        "float_slots",
        "floats",
        "integer_slots",
        "integers",
        "texts",
    )

    def __init__(self) -> None:
        self.constants = array("B")
        self.constant_slots = array("I")
        self.integers = array("q")
        self.integer_slots = array("I")
        self.floats = array("d")
        self.float_slots = array("I")
        self.texts = OpenTexts()

    def append(self, value: object, row: int) -> None:
        """Add a scalar; anything else is left out.

        Raises:
            OverflowError: an integer is outside int64, which metadata may not hold.
        """
        if isinstance(value, str):
            self.texts.append_value(value, row)
        elif value is None or isinstance(value, bool):
            self.constants.append(constant_code(value))
            self.constant_slots.append(row)
        elif isinstance(value, (int, float)):
            number = fold_number(value)
            if isinstance(number, int):
                self.integers.append(number)
                self.integer_slots.append(row)
            else:
                self.floats.append(number)
                self.float_slots.append(row)

    def extend(self, values: Sequence[object], rows: range) -> None:
        """Add a scalar to each of some rows that follow each other; as ``append`` of each, and quicker."""
        kinds = set(map(type, values))
        if kinds == {str}:
            self.texts.extend_values(cast("Sequence[str]", values), rows)
        elif kinds == {int}:
            self.integers.extend(cast("Sequence[int]", values))
            self.integer_slots.extend(rows)
        else:
            for row, value in zip(rows, values, strict=True):
                self.append(value, row)

    def equal(self, value: Scalar, into: Gather) -> None:
        """Gather the rows that have a value equal to this one."""
        if isinstance(value, str):
            if not self.texts.equal_instant(value, into):
                self.texts.equal(value, into)
        elif value is None or isinstance(value, bool):
            into.add_slots(_view(self.constant_slots)[_view(self.constants) == constant_code(value)])
        else:
            number = fold_number(value)
            if isinstance(number, float):
                into.add_slots(_view(self.float_slots)[_view(self.floats) == number])
            elif INT64_MIN <= number <= INT64_MAX:
                into.add_slots(_view(self.integer_slots)[_view(self.integers) == number])

    def compare(self, operand: Scalar, *, below: bool, inclusive: bool, into: Gather) -> None:
        """Gather the rows with a value below (or above) a number or a datetime."""
        # `stored > x` is `not stored < t` for the threshold t of `stored <= x`.
        closed = inclusive == below
        if isinstance(operand, str):
            instant = parse_instant(operand)
            if instant is not None:
                self.texts.below(below_instant(instant, inclusive=closed), wanted=below, into=into)
        elif operand is not None:
            edge = below_integer(operand, inclusive=closed)
            integers = _view(self.integers)
            if edge > INT64_MAX:
                is_below = np.ones(len(integers), dtype=np.bool_)
            else:
                is_below = integers < max(edge, INT64_MIN)
            into.add_slots(_view(self.integer_slots)[is_below == below])
            smaller = _view(self.floats) < below_float(operand, inclusive=closed)
            into.add_slots(_view(self.float_slots)[smaller == below])

    def containing(self, part: str, into: Gather) -> None:
        """Gather the rows that have a string with this substring."""
        self.texts.containing(part, into)

    def everything(self, into: Gather) -> None:
        """Gather every row that has a value."""
        self.texts.everything(into)
        for slots in (self.constant_slots, self.integer_slots, self.float_slots):
            into.add_slots(_view(slots))

    @property
    def nbytes(self) -> int:
        """About how many bytes this takes."""
        return self.texts.nbytes + 13 * len(self.constants) + 12 * (len(self.integers) + len(self.floats))


class OpenField:
    """One path of the metadata."""

    __slots__ = ("members", "scalars", "wholes")

    def __init__(self) -> None:
        self.scalars = OpenColumns()
        self.members: OpenColumns | None = None
        self.wholes: OpenTexts | None = None

    def append_whole(self, value: object, row: int) -> None:
        """Add a list with its members, or an object."""
        if self.wholes is None:
            self.wholes = OpenTexts()
        self.wholes.append(whole_key(value), row)
        if isinstance(value, (list, tuple)) and value:
            if self.members is None:
                self.members = OpenColumns()
            for member in value:
                self.members.append(member, row)

    def everything(self, into: Gather) -> None:
        """Gather every row that has the path."""
        self.scalars.everything(into)
        if self.wholes is not None:
            self.wholes.everything(into)

    @property
    def nbytes(self) -> int:
        """About how many bytes this takes."""
        return 500 + sum(
            part.nbytes for part in (self.scalars, self.members, self.wholes) if part is not None
        )
