"""Many records that end alike: one text, not an object for each.

The records of a write differ in their heads, which are known before it is committed, and end in the same revision and
times. Kept as one text they are finished, stored and journalled by a few calls, however many there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, final, overload

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from numpy.typing import NDArray

__all__ = ["RecordRun"]


@final
class RecordRun(Sequence[bytes]):
    r"""Records as one text, and what follows each of them. Immutable.

    ::

        text   head 0 \n head 1 \n … \n head n-1          tail   ,"revision":7,…}
                     ^ends[0]  ^ends[1]         ^ends[n-1]
    """

    __slots__ = ("_ends", "_tail", "_text")

    def __init__(self, text: bytes, ends: NDArray[np.int64], tail: bytes) -> None:
        self._text = text
        self._ends = ends
        self._tail = tail

    @classmethod
    def of(cls, heads: Sequence[bytes]) -> Self:
        """Join heads, to which nothing is added yet.

        Raises:
            ValueError: one of them holds a line break, which compact JSON never does.
        """
        text = b"\n".join(heads)
        if text.count(b"\n") != max(0, len(heads) - 1):
            raise ValueError("a record holds a line break")
        # Each end lies behind the line breaks of all records before.
        ends = accumulate((len(head) + 1 for head in heads), initial=-1)
        return cls(text, np.fromiter(ends, dtype=np.int64, count=len(heads) + 1)[1:], b"")

    def ending(self, tail: bytes) -> RecordRun:
        """The same heads, each of which ends so."""
        return RecordRun(self._text, self._ends, tail)

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, at: int) -> bytes: ...
    @overload
    def __getitem__(self, at: slice) -> RecordRun: ...
    def __getitem__(self, at: int | slice) -> bytes | RecordRun:
        if isinstance(at, slice):
            begin, stop, step = at.indices(len(self))
            if step != 1:
                raise ValueError("records are cut out of a run only as they follow each other")
            if begin >= stop:
                return RecordRun(b"", self._ends[:0], self._tail)
            first = self._begin(begin)
            text = self._text[first : int(self._ends[stop - 1])]
            return RecordRun(text, self._ends[begin:stop] - first, self._tail)
        row = range(len(self))[at]
        return self._text[self._begin(row) : int(self._ends[row])] + self._tail

    def __iter__(self) -> Iterator[bytes]:
        if len(self):
            for head in self._text.split(b"\n"):
                yield head + self._tail

    def _begin(self, row: int) -> int:
        return int(self._ends[row - 1]) + 1 if row else 0

    def joined(self, separator: bytes = b"") -> bytes:
        """All records with something between them."""
        if not len(self):
            return b""
        return self._text.replace(b"\n", self._tail + separator) + self._tail

    @property
    def ends(self) -> NDArray[np.int64]:
        """Where each record ends when they are joined by nothing; int64 ``[n]``."""
        rows = np.arange(1, len(self) + 1)
        return self._ends + (rows * len(self._tail) - rows + 1)

    @property
    def nbytes(self) -> int:
        """Bytes of all records."""
        return len(self._text) - max(0, len(self) - 1) + len(self) * len(self._tail)
