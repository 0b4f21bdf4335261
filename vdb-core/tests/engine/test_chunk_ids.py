"""Packed ids find the row of an id, a dictionary's way; the ids of a library agree with a plain dictionary."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vdb_core.engine import chunk_ids as module
from vdb_core.engine.blocks import Block
from vdb_core.engine.chunk_ids import ChunkIds, PackedIds, PackedIdsMaker
from vdb_core.engine.records import RecordBuffer
from vdb_core.filters import MetadataIndex
from vdb_core.testing.memory import growth

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)


def packed(some: list[str]) -> PackedIds:
    maker = PackedIdsMaker()
    maker.add(some)
    return maker.make()


def found_by(ids: PackedIds, wanted: list[str]) -> dict[int, int]:
    places, slots = ids.find_all(wanted)
    return dict(zip(places, slots.tolist(), strict=True))


@settings(deadline=None)
@given(st.lists(names, unique=True, max_size=40), st.lists(names, max_size=10))
def test_every_id_finds_its_row(some: list[str], others: list[str]) -> None:
    ids = packed(some)
    assert list(ids) == some
    assert [ids[slot] for slot in range(len(ids))] == some
    rows = {one: slot for slot, one in enumerate(some)}
    wanted = [*some[::-1], *others]
    assert [ids.find(one) for one in wanted] == [rows.get(one) for one in wanted]
    assert found_by(ids, wanted) == {at: rows[one] for at, one in enumerate(wanted) if one in rows}


@settings(deadline=None)
@given(st.lists(names, unique=True, max_size=40), st.data())
def test_chosen_rows_of_several_blocks_are_packed_again(some: list[str], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(some)))
    left = [slot for slot in range(cut) if data.draw(st.booleans())]
    maker = PackedIdsMaker()
    maker.add_rows_of(packed(some[:cut]), np.array(left, dtype=np.int64))
    maker.add(some[cut:])
    ids = maker.make()
    expected = [some[slot] for slot in left] + some[cut:]
    assert list(ids) == expected
    assert found_by(ids, expected) == dict(enumerate(range(len(expected))))


@given(st.lists(names, unique=True, min_size=1, max_size=20))
def test_ids_of_the_same_hash_are_told_apart(some: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "hash", lambda one: len(one) % 2, raising=False)
        ids = packed(some)
        assert [ids.find(one) for one in some] == list(range(len(some)))
        assert found_by(ids, [*some, "not there"]) == dict(enumerate(range(len(some))))
        with pytest.raises(ValueError, match="is there twice"):
            packed([*some, some[0]])


def test_an_id_costs_16_bytes_and_its_length() -> None:
    def make() -> PackedIds:
        maker = PackedIdsMaker()
        maker.add(f"chunk-{number}" for number in range(100_000))
        return maker.make()

    ids = make()
    letters = sum(len(f"chunk-{number}") for number in range(100_000))
    assert ids.nbytes == letters + 16 * 100_000 + 4
    assert growth(make) < 1.05 * ids.nbytes + (1 << 20)


def base_of(some: dict[str, int]) -> Block | None:
    if not some:
        return None
    rows = sorted(some, key=lambda one: some[one])
    records, metadata = RecordBuffer(), MetadataIndex()
    records.extend([b"{}"] * len(rows))
    return Block(
        vectors=np.zeros((len(rows), 1), dtype=np.float32),
        norms=None,
        ids=np.array([some[one] for one in rows], dtype=np.int64),
        names=packed(rows),
        records=records,
        metadata=metadata,
        rows=len(rows),
    )


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["put", "remove", "fold", "cut"]),
            st.lists(st.sampled_from("abcdef"), unique=True),
        ),
        max_size=20,
    )
)
def test_they_agree_with_a_dictionary(steps: list[tuple[str, list[str]]]) -> None:
    base: Block | None = None
    ids, oracle, next_id = ChunkIds(), dict[str, int](), 1
    seen: tuple[dict[str, int], int] = ({}, 1)

    def kill(internal: list[int]) -> None:
        if base is not None:
            base.kill(base.find(np.array(sorted(internal), dtype=np.int64)))

    for step, some in steps:
        if step == "put":
            kill(list(ids.get_all(some).values()))
            ids.put(some, next_id)
            oracle.update(zip(some, range(next_id, next_id + len(some)), strict=True))
            next_id += len(some)
        elif step == "remove":
            kill(list(ids.get_all(some).values()))
            ids.discard(some)
            for one in some:
                oracle.pop(one, None)
        elif step == "cut":
            seen = (dict(oracle), next_id)
        else:
            # A base of what there was at the cut; what died since dies in it too.
            there, since = seen
            base = base_of(there)
            ids = ids.over(base, since)
            kill([internal for one, internal in there.items() if oracle.get(one) != internal])
            seen = (dict(oracle), next_id)
        assert len(ids) == len(oracle)
        assert ids.get_all(list("abcdefg")) == {one: oracle[one] for one in "abcdef" if one in oracle}
        assert [ids.get(one) for one in "abcdefg"] == [oracle.get(one) for one in "abcdefg"]
        assert [one in ids for one in "abcdefg"] == [one in oracle for one in "abcdefg"]
