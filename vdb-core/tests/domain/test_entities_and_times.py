"""Entities show themselves as JSON; times survive the way there and back."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vdb_core.domain import (
    Chunk,
    Document,
    IndexChoice,
    Library,
    format_time,
    now_us,
    parse_time,
    to_datetime,
)

MOMENT = datetime(2026, 11, 22, 7, 49, 58, 123456, tzinfo=UTC)


@given(st.integers(0, 253_402_300_799_999_999))
def test_a_time_comes_back_to_the_microsecond(microseconds: int) -> None:
    text = format_time(microseconds)
    assert len(text) == 27
    assert parse_time(text) == microseconds
    assert to_datetime(microseconds).tzinfo is UTC


@given(st.integers(0, 2**50), st.integers(0, 2**50))
def test_text_order_is_time_order(one: int, other: int) -> None:
    assert (format_time(one) < format_time(other)) == (one < other)


def test_times_of_other_zones_are_read_and_zoneless_ones_refused() -> None:
    assert parse_time("2026-11-22T08:49:58.123456+01:00") == parse_time("2026-11-22T07:49:58.123456Z")
    with pytest.raises(ValueError, match="has a zone"):
        parse_time("2026-11-22T07:49:58")
    assert format_time(parse_time("2026-11-22T07:49:58Z")) == "2026-11-22T07:49:58.000000Z"
    assert abs(now_us() - datetime.now(UTC).timestamp() * 1e6) < 60e6


def test_entities_show_themselves_as_json() -> None:
    library = Library(
        id="books",
        name="Books",
        metric="cosine",
        dimension=None,
        index=IndexChoice(type="brute"),
        metadata={"a": 1},
        revision=3,
        created_at=MOMENT,
        updated_at=MOMENT,
        documents=0,
        chunks=0,
    )
    document = Document(id="d", metadata={}, revision=1, created_at=MOMENT, updated_at=MOMENT)
    chunk = Chunk(
        id="c",
        document_id=None,
        text=None,
        embedding=np.array([0.5, 2], np.float32),
        metadata={},
        revision=2,
        created_at=MOMENT,
        updated_at=MOMENT,
    )
    shown = orjson.loads(orjson.dumps([library.to_json(), document.to_json(), chunk.to_json()]))
    assert shown[0]["index"] == {"type": "brute", "params": {}}
    assert shown[0]["created_at"] == "2026-11-22T07:49:58.123456Z"
    assert list(shown[1]) == ["id", "metadata", "revision", "created_at", "updated_at"]
    assert shown[2]["embedding"] == [0.5, 2.0]
    assert "embedding" not in chunk.to_json(embedding=False)
    with pytest.raises(dataclasses.FrozenInstanceError):
        library.name = "other"  # type: ignore[misc]
