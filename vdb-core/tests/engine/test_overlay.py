"""Overlays: a write of a group sees what those before it make of each chunk, in their order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vdb_core.engine.operations import Remove, Upsert
from vdb_core.engine.overlay import NeedsPublishError, Overlay
from vdb_core.engine.state import LibraryInfo, LibraryState

INFO: LibraryInfo = {
    "id": "lib",
    "name": "lib",
    "metric": "cosine",
    "dimension": None,
    "index_type": "brute",
    "index_params": {},
    "metadata": {},
    "embedder": None,
    "revision": 1,
    "created_at": "t",
    "updated_at": "t",
}
ids = st.lists(st.sampled_from("abcde"), min_size=1, max_size=4, unique=True)


@given(st.lists(st.tuples(st.sampled_from(["upsert", "remove", "ask"]), ids), max_size=8))
def test_later_writes_win(steps: list[tuple[str, list[str]]]) -> None:
    overlay = Overlay("lib", LibraryState(info=INFO))
    expected: dict[str, int] = {}
    number = 0
    for step, chosen in steps:
        if step == "upsert":
            first = overlay.next_id
            overlay.add(
                Upsert(
                    revision=2,
                    time="t",
                    first_id=first,
                    ids=chosen,
                    records=[b"%d" % (number + at) for at in range(len(chosen))],
                    vectors=np.full((len(chosen), 2), number, dtype=np.float32),
                    norms=np.arange(number, number + len(chosen), dtype=np.float64),
                )
            )
            expected.update({one: number + at for at, one in enumerate(chosen)})
            number += len(chosen)
            assert overlay.next_id == first + len(chosen)
            with pytest.raises(NeedsPublishError):
                _ = overlay.published
        elif step == "remove":
            overlay.add(Remove(revision=2, time="t", chunks=chosen))
            for one in chosen:
                expected.pop(one, None)
        else:
            assert [overlay.has_chunk(one) for one in chosen] == [one in expected for one in chosen]
    for one in "abcde":
        known = expected.get(one)
        assert overlay.has_chunk(one) == (known is not None)
        assert overlay.records([one]) == ({} if known is None else {one: b"%d" % known})
        row = overlay.chunk(one)
        assert (None if row is None else row.norm) == known
