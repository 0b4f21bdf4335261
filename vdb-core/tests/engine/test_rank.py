"""One query is ranked as many are: the same candidates, distances to the bit, ties by age, whatever an index names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vdb_core.engine.blocks import Block
from vdb_core.engine.exact import pair_distances, row_distances
from vdb_core.engine.rank import PAD, candidates_of_many, candidates_of_one, rank_many, rank_one
from vdb_core.indexes import NO_SLOT, bitmap

if TYPE_CHECKING:
    from vdb_core.indexes import Metric

METRICS: list[Metric] = ["cosine", "dot", "l2"]
ROWS, DIMENSION = 70, 33


def blocks_of(seed: int, count: int) -> list[Block]:
    random = np.random.default_rng(seed)
    blocks: list[Block] = []
    for _ in range(count):
        block = Block.segment(DIMENSION, with_norms=False)
        # Few different rows, so that many tie.
        rows = random.standard_normal((5, DIMENSION)).astype(np.float32)[random.integers(0, 5, ROWS)]
        block.stage(1, [""] * ROWS, [b"{}"] * ROWS, rows, None)
        block.publish()
        blocks.append(block)
    return blocks


@pytest.mark.parametrize("metric", METRICS)
@given(data=st.data())
def test_one_query_is_ranked_as_many_are(metric: Metric, data: st.DataObject) -> None:
    blocks = blocks_of(data.draw(st.integers(0, 5)), data.draw(st.integers(1, 3)))
    query = np.random.default_rng(7).standard_normal((1, DIMENSION)).astype(np.float32)
    columns, ones = [], []
    for number in range(len(blocks)):
        named = data.draw(
            st.lists(st.one_of(st.integers(0, ROWS + 3), st.just(NO_SLOT)), min_size=0, max_size=9)
        )
        slots = np.array([named], dtype=np.uint32).reshape(1, -1)
        allowed = data.draw(st.none() | st.sets(st.integers(0, ROWS - 1)))
        words = (
            None if allowed is None else bitmap.from_slots(np.array(sorted(allowed), dtype=np.int64), ROWS)
        )
        columns.append(candidates_of_many(slots, part=number, rows=ROWS, words=words))
        ones += candidates_of_one(slots, part=number, rows=ROWS, words=words)
        usable = {one for one in named if one < ROWS and (allowed is None or one in allowed)}
        assert {one & 0xFFFFFFFF for one in ones if one >> 32 == number} == usable
    want = data.draw(st.integers(1, 12))
    many, distances = rank_many(blocks, query, columns, metric=metric, want=want)
    found, lengths = rank_one(blocks, query, ones, metric=metric, want=want)
    real = many[0] != PAD
    assert many[0][real].tolist() == found
    assert distances[0][real].tolist() == lengths


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dimension", [1, 7, 8, 129, 384, 1000])
def test_a_row_is_as_far_from_one_query_as_from_many(metric: Metric, dimension: int) -> None:
    random = np.random.default_rng(dimension)
    query = random.standard_normal((1, dimension)).astype(np.float32)
    rows = random.standard_normal((37, dimension)).astype(np.float32)
    expected = pair_distances(np.repeat(query, 37, axis=0), rows, metric)
    assert row_distances(query, rows, metric).tolist() == expected.tolist()
    assert row_distances(query, rows[5:6], metric).tolist() == expected[5:6].tolist()
