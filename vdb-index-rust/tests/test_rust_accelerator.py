"""What the native accelerator makes is what the engine makes, to the bit, and it refuses what it cannot take."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vdb_core.engine.accelerator import accelerator_of, wrong_with
from vdb_core.engine.hits_json import hits_json
from vdb_core.engine.records import finish, start
from vdb_core.engine.unaccelerated import Unaccelerated
from vdb_core.indexes import METRICS, NO_SLOT, bitmap
from vdb_index_rust import _native, plugin

OWN = Unaccelerated()


class Float(float):
    """A number of a kind that somebody else made."""


ODD = [0, -0.0, 1e39, 1e300, 1e-200, 10**18, 2**64, 10**400, math.nan, math.inf, True, None, "1", [1.0], Float(2.0), np.float64(1.5), np.float32(1.5)]  # fmt: skip
NUMBERS = st.lists(st.floats(-1e4, 1e4) | st.integers(-(10**20), 10**20) | st.sampled_from(ODD), max_size=5)


def bits(row: Any) -> object:
    return None if row is None else (row.dtype.str, row.shape, row.tobytes())


def test_the_engine_takes_it() -> None:
    assert wrong_with(_native) is None
    types = {each.name: each for each in plugin.vdb_register_index_types()}
    assert accelerator_of(types["brute"]) is _native


@given(NUMBERS)
@example([1.0, True, 2.0])
def test_a_list_becomes_the_row_that_numpy_makes(numbers: list[Any]) -> None:
    plain = all(type(number) in {int, float} for number in numbers)
    for metric in METRICS:
        for length in (len(numbers), 3):
            made = _native.query_row(numbers, length, metric)
            # What only says that it is a number deserves a closer look, and gets it.
            assert bits(made) == (bits(OWN.query_row(numbers, length, metric)) if plain else None)


@given(
    st.lists(st.floats() | st.integers(-(10**25), 10**25), min_size=1, max_size=5),
    st.sampled_from([None, 1, " "]),
)
def test_a_text_becomes_the_row_that_numpy_makes(numbers: list[float], indent: Any) -> None:
    text = json.dumps(numbers, indent=indent).encode()
    for metric in METRICS:
        made = _native.read_row(text, len(numbers), metric)
        assert bits(made) == bits(OWN.read_row(text, len(numbers), metric))


@given(st.text("0123456789-+.eE,[] \t\n", max_size=14))
def test_any_text_becomes_what_numpy_makes_of_it(inside: str) -> None:
    for text in (inside, f"[{inside}]"):
        for length in (1, 2):
            made = _native.read_row(text.encode(), length, "dot")
            assert bits(made) == bits(OWN.read_row(text.encode(), length, "dot"))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dimension", [1, 3, 8, 100, 384, 769])
def test_rows_are_ordered_as_numpy_orders_them(metric: Any, dimension: int) -> None:
    random = np.random.default_rng(dimension)
    rows = random.standard_normal((200, dimension)).astype(np.float32)
    rows[random.integers(0, 200, 60)] = rows[5]
    rows.flags.writeable = False
    for _ in range(20):
        slots = random.integers(0, 210, (1, 40)).astype(np.uint32)
        slots[0, 7] = NO_SLOT
        allowed = bitmap.from_slots(np.flatnonzero(random.random(200) < 0.7), 200)
        # A part of an array that is wider, as an index may hand it out.
        for given_slots in (slots, np.repeat(slots, 2, axis=1)[:, ::2], slots[:, :0]):
            for words in (None, allowed):
                query = rows[random.integers(0, 200)][np.newaxis]
                told = _native.nearest(query, rows, given_slots, words, metric, 12)
                assert repr(told) == repr(OWN.nearest(query, rows, given_slots, words, metric, 12))


def test_many_rows_are_ordered_without_the_interpreter() -> None:
    rows = np.random.default_rng(1).standard_normal((3000, 64)).astype(np.float32)
    slots = np.arange(3000, dtype=np.uint32)[np.newaxis]
    for metric in METRICS:
        told = _native.nearest(rows[:1], rows, slots, None, metric, 50)
        assert repr(told) == repr(OWN.nearest(rows[:1], rows, slots, None, metric, 50))


ROWS = np.ones((4, 3), dtype=np.float32)
SLOTS = np.array([[0, 1]], dtype=np.uint32)
FIELD = np.array([(0, 0.5), (1, 0.25)], dtype=[("slot", "<u4"), ("distance", "<f2")])
"""Fields six bytes apart, of which a view would make four."""


@pytest.mark.parametrize(
    ("given_values", "error", "reason"),
    [
        ((ROWS[:1].astype(np.float64), ROWS, SLOTS, None, "l2", 1), TypeError, "query: expected a float32 array"),
        ((ROWS[:1, :2].copy(), ROWS, SLOTS, None, "l2", 1), ValueError, "query"),
        ((ROWS[:1], ROWS[:, ::2], SLOTS, None, "l2", 1), ValueError, "C-contiguous"),
        ((ROWS[:1], ROWS, SLOTS.astype(np.int64), None, "l2", 1), TypeError, "slots: expected a uint32 array"),
        ((ROWS[:1], ROWS, SLOTS[0], None, "l2", 1), TypeError, "slots"),
        ((ROWS[:1], ROWS, SLOTS, np.ones(2, dtype=np.uint64), "l2", 1), ValueError, "allowed: expected 1 words"),
        ((ROWS[:1], ROWS, SLOTS, None, "hamming", 1), Exception, "metric"),
        ((ROWS[:1], ROWS, SLOTS, None, "l2", -1), OverflowError, "negative"),
        ((ROWS[:1], ROWS, FIELD["slot"][np.newaxis], None, "l2", 1), ValueError, "slots: expected an aligned array"),
        ((ROWS[:1], ROWS, np.broadcast_to(SLOTS, (2**40, 2)), None, "l2", 1), ValueError, "about as many as the 4 rows"),
    ],
)  # fmt: skip
def test_what_it_cannot_take_is_an_error(
    given_values: tuple[Any, ...], error: type[Exception], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        _native.nearest(*given_values)


def test_rows_of_other_kinds_deserve_a_closer_look() -> None:
    row = np.arange(1, 4, dtype=np.float32)
    assert _native.query_row(row, 3, "dot") is not None
    for other in (
        row.astype(np.float64),
        row[np.newaxis],
        row[::2],
        (1.0, 2.0, 3.0),
        "123",
        b"[1,2,3]",
        None,
        3,
        {1.0: 1},
    ):
        assert _native.query_row(other, 3, "dot") is None
    fields = np.array([(0, 1.0), (0, 2.0), (0, 3.0)], dtype=[("id", "u1"), ("x", "<f4")])
    assert _native.query_row(fields["x"], 3, "dot") is None
    strided = np.arange(1, 7, dtype=np.float32)[::2]
    assert bits(_native.query_row(strided, 3, "dot")) == bits(OWN.query_row(strided, 3, "dot"))
    with pytest.raises(TypeError):
        _native.read_row("[1,2,3]", 3, "dot")  # pyright: ignore[reportArgumentType]


PIECES = st.sampled_from(
    [
        '","text":"',
        ',"metadata":',
        ',"revision":7',
        "\\",
        '"',
        ",",
        '{"id":"',
        ',"text":null,"metadata":{}',
        "ü",
    ]
)
STRINGS = st.lists(PIECES | st.text(max_size=4), max_size=4).map("".join)
VALUES = st.recursive(
    st.none() | st.integers(-9, 9) | STRINGS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(STRINGS, inner, max_size=2),
    max_leaves=4,
)
METADATA = st.dictionaries(
    STRINGS | st.sampled_from(["text", "revision", "metadata", "id", "created_at"]), VALUES, max_size=3
)
ROWS_OF_TEXT = st.lists(
    st.tuples(STRINGS, st.none() | STRINGS, st.none() | STRINGS, METADATA), min_size=1, max_size=3
)


def record_of(row: tuple[str, str | None, str | None, dict[str, object]]) -> bytes:
    return finish(start(*row), 12, b"2026-11-22T07:49:58.123456Z", b"2027-01-01T00:00:00.000000Z")


@given(ROWS_OF_TEXT, st.booleans(), st.booleans())
def test_hits_are_written_as_the_engine_writes_them(rows: Any, text: bool, metadata: bool) -> None:
    records = [record_of(row) for row in rows]
    scores, distances = ([0.1 * at for at in range(len(rows))], [1e-9 * at for at in range(len(rows))])
    given_numbers = (
        json.dumps(scores).replace(" ", "").encode(),
        json.dumps(distances).replace(" ", "").encode(),
    )
    columns = {
        name: one[1:-1].split(b",") for name, one in zip(("score", "distance"), given_numbers, strict=True)
    }
    made = _native.hits(records, *given_numbers, text, metadata)
    assert made == hits_json(records, columns, text=text, metadata=metadata)
    # Whatever the order of members, the engine reads it, and the accelerator leaves it to the engine or agrees.
    for at, record in enumerate(records):
        row = json.loads(record)
        orders = [list(reversed(row)), *([*(other for other in row if other != name), name] for name in row)]
        orders += [["id", name, *row] for name in row]
        for names in orders:
            other = json.dumps({name: row[name] for name in names}, separators=(",", ":")).encode()
            chosen = [*records[:at], other, *records[at + 1 :]]
            made = _native.hits(chosen, *given_numbers, text, metadata)
            assert made in {None, hits_json(chosen, columns, text=text, metadata=metadata)}


@pytest.mark.parametrize(
    ("given_values", "error"),
    [((["a"], b"[1]", b"[1]", True, True), TypeError), ((b"a", b"[1]", b"[1]", True, True), TypeError), (([b"a"], "[1]", b"[1]", True, True), TypeError)],
)  # fmt: skip
def test_what_are_no_records_is_an_error(given_values: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        _native.hits(*given_values)
    assert _native.hits([b"", b"{}"], b"[1,2]", b"[1,2]", True, True) is None
