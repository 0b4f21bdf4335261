"""The engine's arithmetic on one query: in NumPy, or as a plugin has it compiled, which has to come to the same bits.

A query is one row and has some ten hits. NumPy takes microseconds for each call, whatever the size; in a server, between
searches that push its code out of the cache, it takes several times as long.
"""

from __future__ import annotations

import logging
import math
from functools import lru_cache
from typing import TYPE_CHECKING, Final, final

import numpy as np
import orjson

from vdb_core.domain import plain_query
from vdb_core.engine.distances import row_distances
from vdb_core.indexes import METRICS, NO_SLOT, bitmap

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from vdb_core.indexes import Arithmetic, Metric
    from vdb_core.plugins import IndexType

__all__ = ["NumpyArithmetic", "arithmetic_of", "wrong_with"]

_log = logging.getLogger(__name__)
_DIMENSIONS: Final = (1, 7, 8, 33, 128, 129, 384, 1541)
_ROWS: Final = 70
_FEW: Final = 9
"""Up to so many numbers a row, odd ones among them are tried as well."""
_ODD: Final = (True, None, "1", math.nan, -math.inf, 10**400)
_ODD_TEXTS: Final = (
    b"-2.5e-3",
    b" 1 ",
    b"-0",
    b"123456789012345678901",
    b"1e39",
    b"1e400",
    b"01",
    b"true",
    b"null",
    b"NaN",
    b"[1]",
)


@final
class NumpyArithmetic:
    """What any other has to be like, to the bit."""

    def query_row(self, row: object, dimension: int, metric: Metric) -> NDArray[np.float32] | None:
        """Make a row of an embedding; see :class:`vdb_core.indexes.Arithmetic`."""
        return plain_query(row, dimension, metric)

    def read_row(self, text: bytes, dimension: int, metric: Metric) -> NDArray[np.float32] | None:
        """Make a row of a JSON array; see :class:`vdb_core.indexes.Arithmetic`."""
        # Neither true nor false, which would pass for numbers.
        if b"t" in text or b"f" in text:
            return None
        try:
            row = orjson.loads(text)
        except orjson.JSONDecodeError:
            return None
        return plain_query(row, dimension, metric, no_booleans=True)

    def nearest(
        self,
        query: NDArray[np.float32],
        vectors: NDArray[np.float32],
        slots: NDArray[np.uint32],
        allowed: NDArray[np.uint64] | None,
        metric: Metric,
        want: int,
    ) -> tuple[list[int], list[float]]:
        """Order rows by their distance from a query; see :class:`vdb_core.indexes.Arithmetic`."""
        rows = len(vectors)
        usable: list[int] = slots.ravel().tolist()
        # Padding is a number beyond all rows. One look at the largest costs less than one at each.
        if usable and max(usable) >= rows:
            usable = [slot for slot in usable if slot < rows]
        if allowed is not None:
            usable = [slot for slot in usable if int(allowed[slot >> 6]) >> (slot & 63) & 1]
        known = sorted(set(usable))
        chosen = vectors.take(np.array(known, dtype=np.int64), axis=0)
        ranked = sorted(zip(row_distances(query, chosen, metric).tolist(), known, strict=True))[:want]
        return [slot for _, slot in ranked], [distance for distance, _ in ranked]


def arithmetic_of(kind: IndexType | None) -> Arithmetic:
    """What a type offers, if it comes to the same bits as NumPy; NumPy otherwise, and the log says why."""
    if kind is None or kind.arithmetic is None:
        return NumpyArithmetic()
    try:
        offered, wrong = _tried(kind.arithmetic)
    except Exception:  # noqa: BLE001 - whatever a plugin raises, NumPy serves
        _log.exception("the arithmetic of index type %r failed; NumPy serves in its place", kind.name)
        return NumpyArithmetic()
    if wrong is None:
        return offered
    _log.error(
        "the arithmetic of index type %r is not NumPy's: %s; NumPy serves in its place", kind.name, wrong
    )
    return NumpyArithmetic()


@lru_cache
def _tried(make: Callable[[], Arithmetic]) -> tuple[Arithmetic, str | None]:
    """Once a process: it takes some milliseconds."""
    offered = make()
    return offered, wrong_with(offered)


def wrong_with(offered: Arithmetic) -> str | None:
    """What it makes otherwise than NumPy does, on some rows of several lengths; none where nothing is found."""
    random = np.random.default_rng(0)
    for dimension in _DIMENSIONS:
        scales = 10.0 ** random.integers(-6, 7, (_ROWS, 1))
        rows = (random.standard_normal((_ROWS, dimension)) * scales).astype(np.float32)
        rows[[3, 64]] = rows[50]
        rows[7] = 0.0
        for metric in METRICS:
            if wrong := _wrong_row(offered, rows, metric) or _wrong_order(offered, rows, metric):
                return f"{wrong} under {metric}, with {dimension} numbers a row"
    return None


def _wrong_row(offered: Arithmetic, rows: NDArray[np.float32], metric: Metric) -> str | None:
    own = NumpyArithmetic()
    dimension = rows.shape[1]
    for row in (rows[0], rows[7]):
        numbers = row.tolist()
        text = orjson.dumps(numbers)
        values, texts = [row, numbers, row.astype(np.float64)], [text, text[:-1]]
        if dimension < _FEW:
            values += [[*numbers[1:], odd] for odd in _ODD]
            texts += [b"%b,%b]" % (orjson.dumps(numbers[1:])[:-1], odd) for odd in _ODD_TEXTS]
        for length in (dimension - 1, dimension, dimension + 1):
            for value in values:
                made = offered.query_row(value, length, metric)
                if _bits(made) != _bits(own.query_row(value, length, metric)):
                    return f"a {type(value).__name__} becomes another row"
            for value in texts:
                made = offered.read_row(value, length, metric)
                if _bits(made) != _bits(own.read_row(value, length, metric)):
                    return "a text becomes another row"
    return None


def _wrong_order(offered: Arithmetic, rows: NDArray[np.float32], metric: Metric) -> str | None:
    own = NumpyArithmetic()
    slots = np.array([[64, 3, 50, 7, 69, 3, _ROWS, 12, 0, NO_SLOT]], dtype=np.uint32)
    some = bitmap.from_slots(np.array([0, 3, 7, 64], dtype=np.int64), _ROWS)
    for query in (rows[12:13], rows[7:8]):
        for allowed in (None, some):
            told = offered.nearest(query, rows, slots, allowed, metric, 6)
            # As text, in which the two zeros differ, and kinds of numbers.
            if repr(told) != repr(own.nearest(query, rows, slots, allowed, metric, 6)):
                return "rows are ordered otherwise, or are as far as others"
    return None


def _bits(row: NDArray[np.float32] | None) -> object:
    return None if row is None else (row.dtype.str, row.shape, row.flags.c_contiguous, row.tobytes())
