"""Texts sorted as arrays come out as Python sorts them, whatever they hold; merged columns keep every row."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vdb_core.filters import MetadataIndex, parse_filter
from vdb_core.filters.runs import TextRun, merge_texts, rank_texts, take_texts
from vdb_core.indexes import bitmap
from vdb_core.testing.memory import growth

# Long common beginnings, letters of several bytes, zeros, and lengths around the seven letters of a key.
pieces = st.sampled_from(
    ["", "\0", "a", "ab", "é", "😀", "https://example.org/", "\0\0\0\0\0\0\0", "1234567", "\x7f"]
)
texts = st.lists(pieces, max_size=5).map("".join) | st.text(max_size=9)


def arrays_of(some: list[str]) -> tuple[np.ndarray, np.ndarray]:
    encoded = [text.encode() for text in some]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    return np.frombuffer(b"".join(encoded), dtype=np.uint8), offsets


def texts_of(letters: np.ndarray, offsets: np.ndarray) -> list[str]:
    return [letters[begin:end].tobytes().decode() for begin, end in pairwise(offsets.tolist())]


@settings(max_examples=400, deadline=None)
@given(st.lists(texts, max_size=30))
@example(["a", "a\0", "a", "", "\0", ""])
@example(["1234567", "12345678", "1234567\0", "1234567", "12345671234567", "12345671234567\0"])
def test_texts_are_ranked_as_python_sorts_them(some: list[str]) -> None:
    letters, offsets = arrays_of(some)
    order, first = rank_texts(letters, offsets)
    assert [some[place] for place in order.tolist()] == sorted(some)
    assert [some[place] for place in order[first].tolist()] == sorted(set(some))
    assert texts_of(*take_texts(letters, offsets, order)) == sorted(some)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(st.lists(texts, max_size=3), max_size=6), min_size=1, max_size=4))
def test_merged_texts_have_the_rows_of_each(blocks: list[list[list[str]]]) -> None:
    expected: dict[str, list[int]] = {}
    runs: list[TextRun] = []
    row = 0
    for block in blocks:
        own: dict[str, list[int]] = {}
        for held in block:
            for text in set(held):
                own.setdefault(text, []).append(row)
                expected.setdefault(text, []).append(row)
            row += 1
        if own:
            names = sorted(own)
            counts = np.array([len(own[name]) for name in names], dtype=np.int64)
            slots = np.array([slot for name in names for slot in own[name]], dtype=np.uint32)
            runs.append(TextRun.of(names, counts, slots))
    merged = merge_texts(runs)
    if merged is None:
        assert not expected
        return
    assert texts_of(merged.letters, merged.offsets) == sorted(expected)
    assert merged.counts.tolist() == [len(expected[name]) for name in sorted(expected)]
    assert merged.slots.tolist() == [slot for name in sorted(expected) for slot in expected[name]]


def test_a_taken_text_may_be_longer_than_what_is_taken_at_once() -> None:
    some = ["x" * 700_000, "", "y" * 300_000, "z"] * 2
    letters, offsets = arrays_of(some)
    chosen = np.array([2, 3, 0, 1, 6, 7, 4])
    assert texts_of(*take_texts(letters, offsets, chosen)) == [some[place] for place in chosen]


def test_merging_holds_no_object_a_row() -> None:
    def index_of(rows: range) -> MetadataIndex:
        index = MetadataIndex()
        for row in rows:
            index.append(
                "", f"d{row % 10}", {"page": f"https://example.org/{row}", "year": row % 25, "n": row * 7}
            )
        index.pack()
        return index

    parts = [(index_of(range(40_000)), np.arange(0, 40_000, 2)), (index_of(range(30_000)), np.arange(30_000))]
    merged = MetadataIndex.merged(parts)
    assert merged.rows == 50_000
    assert merged.nbytes < 100 * merged.rows
    held = growth(lambda: MetadataIndex.merged(parts))
    # What it says is what it takes: nothing besides hangs on to it.
    assert held < 1.1 * merged.nbytes + (1 << 20)
    words = merged.evaluate(parse_filter({"year": {"$lt": 5}}), ids=lambda _: None, documents=lambda _: ())
    expected = [place for place, row in enumerate([*range(0, 40_000, 2), *range(30_000)]) if row % 25 < 5]
    assert bitmap.to_slots(words).tolist() == expected
