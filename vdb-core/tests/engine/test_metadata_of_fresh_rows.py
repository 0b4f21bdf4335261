"""The metadata index of a segment: the same whether rows bring their fields or only their records."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from vdb_core.engine.blocks import Block
from vdb_core.engine.records import finish, start
from vdb_core.filters import parse_filter
from vdb_core.indexes import bitmap

TIME = b"2026-11-22T07:49:58.123456Z"


def stage(block: Block, values: list[int], *, fields: bool) -> None:
    metadatas = [{"n": value} for value in values]
    records = [
        finish(start(f"c{value}", f"d{value % 2}", None, {"n": value}), 1, TIME, TIME) for value in values
    ]
    vectors = np.ones((len(values), 2), dtype=np.float32)
    documents = [f"d{value % 2}" for value in values]
    names = [f"c{value}" for value in values]
    block.stage(
        100 + values[0], names, records, vectors, None, fields=(documents, metadatas) if fields else None
    )


def found(block: Block, **wanted: object) -> list[int]:
    words = block.matching(
        parse_filter(wanted), ids=lambda _: None, documents=lambda _: (), documents_version=0
    )
    return bitmap.to_slots(words).tolist()


@pytest.mark.parametrize(("first", "second", "third", "between"), list(product([False, True], repeat=4)))
def test_fields_and_records_may_follow_each_other(
    *, first: bool, second: bool, third: bool, between: bool
) -> None:
    block = Block.segment(2, with_norms=False)
    for values, fields in (([0, 1, 2], first), ([3, 4], second), ([5], third)):
        stage(block, values, fields=fields)
        if between:
            # What is staged counts for nobody yet, whoever looks.
            assert found(block, n={"$gte": 0}) == list(range(values[0]))
            assert block.metadata.rows == block.rows
        block.publish()
    assert [found(block, n=value) for value in range(6)] == [[value] for value in range(6)]
    assert found(block, **{"$document_id": "d1"}) == [1, 3, 5]
