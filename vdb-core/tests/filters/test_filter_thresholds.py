"""Ranges at numbers that no float represents: stored floats above int64 lie right beside them."""

from __future__ import annotations

import pytest

from vdb_core.filters import MetadataIndex, parse_filter, row_matches
from vdb_core.indexes import bitmap

STORED = [2.0**63, 2.0**64, -(2.0**63) * 1.5, 0.5, 2**53 + 1, 2**63 - 1]


@pytest.mark.parametrize("operand", [2**63 + 1, 2**64 - 1, 2**63, 2**53 + 1, 2.0**53, 10**400, -(10**400)])
@pytest.mark.parametrize("operator", ["$lt", "$lte", "$gt", "$gte"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_threshold_between_two_floats_is_exact(operand: float, operator: str, packed: bool) -> None:
    wanted = parse_filter({"x": {operator: operand}})
    compare = {
        "$lt": lambda value: value < operand,
        "$lte": lambda value: value <= operand,
        "$gt": lambda value: value > operand,
        "$gte": lambda value: value >= operand,
    }[operator]
    # Python compares int and float exactly.
    expected = [row for row, value in enumerate(STORED) if compare(value)]
    index = MetadataIndex()
    for row, value in enumerate(STORED):
        index.append(f"c{row}", None, {"x": value})
    if packed:
        index.pack()
    words = index.evaluate(wanted, ids=lambda _: None, documents=lambda _: (), all_ids=list)
    assert bitmap.to_slots(words).tolist() == expected
    for row, value in enumerate(STORED):
        found = row_matches(
            wanted, chunk_id="c", document_id=None, metadata={"x": value}, document_metadata=None
        )
        assert found == (row in expected)
