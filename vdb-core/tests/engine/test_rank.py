"""One query is ranked as many are: the same candidates, distances to the bit, ties by age, whatever an index names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vdb_core.engine.blocks import Block
from vdb_core.engine.rank import PAD, candidates_of_many, candidates_of_one, merged, rank_many
from vdb_core.engine.unaccelerated import Unaccelerated
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
    want = data.draw(st.integers(1, 12))
    columns = []
    best: tuple[list[int], list[float]] = [], []
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
        vectors = blocks[number].vectors[:ROWS]
        near, far = Unaccelerated().nearest(query, vectors, slots, words, metric, want)
        usable = {one for one in named if one < ROWS and (allowed is None or one in allowed)}
        assert set(near) <= usable
        assert len(near) == min(want, len(usable))
        best = merged(best, (candidates_of_one(number, near), far), want=want)
        # What comes again counts once.
        best = merged(best, best, want=want)
    many, distances = rank_many(blocks, query, columns, metric=metric, want=want)
    real = many[0] != PAD
    assert many[0][real].tolist() == best[0]
    assert distances[0][real].tolist() == best[1]
