"""Bitmaps against Python sets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vdb_core.indexes import bitmap

SIZES = st.integers(0, 300) | st.just(100_000)


@st.composite
def sets(draw: st.DrawFn) -> tuple[int, set[int]]:
    n = draw(SIZES)
    return n, draw(st.sets(st.integers(0, n - 1), max_size=80)) if n else set()


@given(sets())
def test_a_set_comes_back(case: tuple[int, set[int]]) -> None:
    n, slots = case
    words = bitmap.from_slots(list(slots), n)
    assert words.dtype == np.uint64
    assert words.shape == (bitmap.words_for(n),)
    assert bitmap.to_slots(words).tolist() == sorted(slots)
    assert bitmap.to_slots(words).dtype == np.int64
    assert bitmap.count(words) == len(slots)
    # The definition of the layout, by Python integers.
    assert sum(int(word) << (64 * i) for i, word in enumerate(words)) == sum(1 << slot for slot in slots)
    mask = bitmap.to_bool(words, n)
    assert mask.dtype == np.bool_
    assert np.flatnonzero(mask).tolist() == sorted(slots)
    assert bitmap.from_bool(mask).tobytes() == words.tobytes()


@given(SIZES)
def test_empty_and_full(n: int) -> None:
    assert bitmap.to_slots(bitmap.empty(n)).tolist() == []
    assert bitmap.to_slots(bitmap.full(n)).tolist() == list(range(n))
    assert bitmap.from_slots(range(n), n).tobytes() == bitmap.full(n).tobytes()
    assert bitmap.words_for(n) == -(-n // 64)


@given(sets(), st.lists(st.tuples(st.booleans(), st.integers(0, 299)), max_size=20))
def test_bits_change_one_by_one(case: tuple[int, set[int]], changes: list[tuple[bool, int]]) -> None:
    n, slots = case
    words = bitmap.from_slots(list(slots), n)
    for add, slot in changes:
        if slot >= n:
            continue
        (bitmap.set_bit if add else bitmap.clear_bit)(words, slot)
        (slots.add if add else slots.discard)(slot)
        assert bitmap.test_bit(words, slot) is add
    assert bitmap.to_slots(words).tolist() == sorted(slots)
    assert bitmap.test_bits(words, np.arange(n)).tolist() == [slot in slots for slot in range(n)]


@pytest.mark.parametrize("slots", [[-1], [64], [0, 64], np.array([70], np.uint32)])
def test_a_slot_that_is_not_there_is_an_error(slots: list[int]) -> None:
    with pytest.raises(IndexError, match="slots are 0 to 63"):
        bitmap.from_slots(slots, 64)


def test_repeated_and_unordered_slots_of_any_integer_type() -> None:
    for dtype in (np.int32, np.uint32, np.int64, np.uint64):
        assert bitmap.to_slots(bitmap.from_slots(np.array([5, 3, 5], dtype), 1_000_000)).tolist() == [3, 5]
