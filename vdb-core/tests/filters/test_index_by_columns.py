"""Rows that are indexed by their columns are found as rows that come one by one are."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vdb_core.filters import MetadataIndex, metadata_index, parse_filter

SCALARS = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-3, 3),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, -0.0, 1.0, 2.0**60, True, False, None]),
    st.sampled_from(["en", "de", "2024-01-02T03:04:05Z", "2024-01-02T04:04:05+01:00", ""]),
)
PARTS = st.one_of(
    st.lists(SCALARS, max_size=3), st.dictionaries(st.sampled_from(["c", "d"]), SCALARS, max_size=2)
)
KEYS = ["a", "b", "a.c"]
ROW = st.dictionaries(st.sampled_from(KEYS), SCALARS | PARTS, max_size=3)
SAME_KEYS = st.fixed_dictionaries(dict.fromkeys(KEYS, SCALARS))
TEXTS = st.sampled_from(["x", "y", "2024-01-02T03:04:05Z", "2024-01-02T04:04:05+01:00"])
ONE_KIND = st.fixed_dictionaries({"a": st.integers(-3, 3), "b": TEXTS})


@given(
    batches=st.lists(
        st.one_of(
            st.lists(ONE_KIND, max_size=4),
            st.lists(st.fixed_dictionaries({"a": st.integers(-1, 2) | st.booleans()}), max_size=4),
            st.lists(SAME_KEYS, max_size=4),
            st.lists(SAME_KEYS | ROW, max_size=4),
            st.lists(st.fixed_dictionaries({"a": SCALARS | PARTS}), max_size=4),
            st.lists(st.just({"a": 1}) | st.just({"a": 1, "b": 2}), max_size=4),
        ),
        max_size=3,
    ),
    documents=st.lists(st.none() | st.sampled_from(["d", "e"]), min_size=12, max_size=12),
)
def test_columns_come_to_what_rows_do(
    batches: list[list[dict[str, Any]]], documents: list[str | None]
) -> None:
    together, apart = MetadataIndex(), MetadataIndex()
    for index, few in ((together, 1), (apart, 100)):
        with pytest.MonkeyPatch.context() as patches:
            patches.setattr(metadata_index, "_FEW", few)
            for metadatas in batches:
                begin = index.rows
                index.extend(documents[begin : begin + len(metadatas)], metadatas)
    for wanted in ({"b": {"$gte": "2024-01-02T03:04:05Z"}}, {"a": {"$lt": 1}}, {"b": "x"}):
        flt = parse_filter(wanted)
        found = [
            index.evaluate(flt, ids=lambda _: None, documents=lambda _: ()).tolist()
            for index in (together, apart)
        ]
        assert found[0] == found[1]
    together.pack()
    apart.pack()
    assert together.rows == sum(map(len, batches))
    assert sorted(together.to_rows()) == sorted(apart.to_rows())
