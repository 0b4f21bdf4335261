"""What a plugin offers to make queries quicker is used where it changes no bit of an answer; here it is tried.

A query is one row and has some ten hits. NumPy takes microseconds for each call, whatever the size; in a server, between
searches that push its code out of the cache, it takes several times as long, and so does Python.
"""

from __future__ import annotations

import logging
import math
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
import orjson

from vdb_core.engine.hits_json import hits_json
from vdb_core.engine.records import finish, start
from vdb_core.engine.unaccelerated import Unaccelerated
from vdb_core.indexes import METRICS, NO_SLOT, bitmap

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from vdb_core.indexes import Accelerator, Metric
    from vdb_core.plugins import IndexType

__all__ = ["accelerator_of", "wrong_with"]

_log = logging.getLogger(__name__)
_DIMENSIONS: Final = (1, 7, 8, 33, 128, 129, 517)
_ROWS: Final = 70
_TRIED: Final = 7
"""Rows of so many numbers are tried with odd ones among them, and with another length than is asked for."""
_ODD: Final = (True, None, "1", math.nan, -math.inf, 10**400)
_RECORDS: Final = (
    ("a book", "A text.", {"page": 1}),
    (None, None, {}),
    ('"', ',"metadata":{},"revision":1', {"text": ',"text":', "revision": {"revision": 2}}),
    ("\u00fc\n", '\\",\\', {"a": [1, {"b": None}], "created_at": "now"}),
)
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


def accelerator_of(kind: IndexType | None) -> Accelerator:
    """What a type offers, if no answer differs by it; else what the engine does itself, and the log says why."""
    if kind is None or kind.accelerator is None:
        return Unaccelerated()
    try:
        offered, wrong = _tried(kind.accelerator)
    except Exception:  # noqa: BLE001 - whatever a plugin raises, the engine does it itself
        _log.exception("the accelerator of index type %r failed, and is not used", kind.name)
        return Unaccelerated()
    if wrong is None:
        return offered
    _log.error("the accelerator of index type %r changes answers, and is not used: %s", kind.name, wrong)
    return Unaccelerated()


@lru_cache
def _tried(make: Callable[[], Accelerator]) -> tuple[Accelerator, str | None]:
    """Once a process: it takes some milliseconds."""
    offered = make()
    return offered, wrong_with(offered)


def wrong_with(offered: Accelerator) -> str | None:
    """What it makes otherwise than the engine does of some rows and records; none where nothing is found."""
    random = np.random.default_rng(0)
    for dimension in _DIMENSIONS:
        scales = 10.0 ** random.integers(-6, 7, (_ROWS, 1))
        rows = (random.standard_normal((_ROWS, dimension)) * scales).astype(np.float32)
        rows[[3, 64]] = rows[50]
        rows[7] = 0.0
        for metric in METRICS:
            if wrong := _wrong_row(offered, rows, metric) or _wrong_order(offered, rows, metric):
                return f"{wrong} under {metric}, with {dimension} numbers a row"
    return _wrong_hits(offered)


def _wrong_row(offered: Accelerator, rows: NDArray[np.float32], metric: Metric) -> str | None:
    own = Unaccelerated()
    dimension = rows.shape[1]
    for row in (rows[0], rows[7]):
        numbers = row.tolist()
        text = orjson.dumps(numbers)
        values, texts = [row, numbers, row.astype(np.float64)], [text, text[:-1]]
        lengths = [dimension]
        if dimension == _TRIED:
            lengths += [dimension - 1, dimension + 1]
            values += [[*numbers[1:], odd] for odd in _ODD]
            texts += [b"%b,%b]" % (orjson.dumps(numbers[1:])[:-1], odd) for odd in _ODD_TEXTS]
        for length in lengths:
            for value in values:
                made = offered.query_row(value, length, metric)
                if _bits(made) != _bits(own.query_row(value, length, metric)):
                    return f"a {type(value).__name__} becomes another row"
            for value in texts:
                made = offered.read_row(value, length, metric)
                if _bits(made) != _bits(own.read_row(value, length, metric)):
                    return "a text becomes another row"
    return None


def _wrong_order(offered: Accelerator, rows: NDArray[np.float32], metric: Metric) -> str | None:
    own = Unaccelerated()
    slots = np.array([[64, 3, 50, 7, 69, 3, _ROWS, 12, 0, NO_SLOT]], dtype=np.uint32)
    some = bitmap.from_slots(np.array([0, 3, 7, 64], dtype=np.int64), _ROWS)
    for query in (rows[12:13], rows[7:8]):
        for allowed in (None, some):
            told = offered.nearest(query, rows, slots, allowed, metric, 6)
            # As text, in which the two zeros differ, and kinds of numbers.
            if repr(told) != repr(own.nearest(query, rows, slots, allowed, metric, 6)):
                return "rows are ordered otherwise, or are as far as others"
    return None


def _wrong_hits(offered: Accelerator) -> str | None:
    records = [
        finish(
            start(f"row {at}", document, text, metadata),
            at,
            b"2026-11-30T00:00:00.000000Z",
            b"2026-12-01T00:00:00.000000Z",
        )
        for at, (document, text, metadata) in enumerate(_RECORDS)
    ]
    # As somebody else may have written them: with blanks, and with members in another order.
    foreign = [record.replace(b'","', b'", "') for record in records]
    turned = [orjson.dumps(dict(reversed(orjson.loads(record).items()))) for record in records]
    scores = orjson.dumps([1.0 - at / 7 for at in range(len(records))])
    distances = orjson.dumps([at * 1e-9 for at in range(len(records))])
    columns = {"score": scores[1:-1].split(b","), "distance": distances[1:-1].split(b",")}
    for chosen in (records, foreign, turned):
        for text in (True, False):
            for metadata in (True, False):
                expected = hits_json(chosen, columns, text=text, metadata=metadata)
                if offered.hits(chosen, scores, distances, text, metadata) not in {None, expected}:
                    return "hits are written otherwise"
    return None


def _bits(row: NDArray[np.float32] | None) -> object:
    return None if row is None else (row.dtype.str, row.shape, row.flags.c_contiguous, row.tobytes())
