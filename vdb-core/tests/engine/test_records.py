"""Records as lines of a JSON array: in memory, in a file, chosen."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vdb_core.engine.hits_json import shown
from vdb_core.engine.records import (
    RecordBuffer,
    RecordFile,
    RecordSelection,
    created_at_of,
    finish,
    parse,
    start,
)
from vdb_core.errors import SnapshotDamaged
from vdb_core.testing.memory import growth

if TYPE_CHECKING:
    from pathlib import Path

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def record_of(chunk_id: str, text: str | None) -> bytes:
    head = start(chunk_id, None, text, {"a": [1, "x,\n]"]})
    return finish(head, 7, b"2026-11-22T07:49:58.123456Z", b"2027-01-01T00:00:00.000000Z")


@given(st.lists(st.tuples(texts, st.none() | texts), max_size=20))
def test_records_come_back_as_they_were(rows: list[tuple[str, str | None]]) -> None:
    records = [record_of(*row) for row in rows]
    held = RecordFile.of(records)
    assert list(held) == records
    assert [held[at] for at in range(len(held))] == records
    buffer = RecordBuffer()
    for begin in range(0, len(records), 3):
        buffer.extend(records[begin : begin + 3])
        assert [buffer[at] for at in range(len(buffer))] == records[: begin + 3]
    selection = RecordSelection([(held, np.arange(0, len(records), 2)), (buffer, np.arange(len(records)))])
    assert list(selection) == records[::2] + records
    assert [selection[at] for at in range(len(selection))] == records[::2] + records
    twice = RecordSelection([(selection, np.arange(len(selection)))])
    assert list(twice) == records[::2] + records


@given(st.data())
def test_chosen_records_come_as_they_are_whatever_is_left_out(data: st.DataObject) -> None:
    """Also where one is larger than what is read at a time, or all of them together are."""
    sizes = data.draw(st.lists(st.sampled_from([0, 5, 400_000, 1_100_000]), max_size=8))
    records = [record_of(f"id {at}", "x" * size) for at, size in enumerate(sizes)]
    slots = [at for at in range(len(records)) if data.draw(st.booleans(), label=f"keep {at}")]
    buffer = RecordBuffer()
    buffer.extend(records)
    for held in (RecordFile.of(records), buffer):
        chosen = RecordSelection([(held, np.array(slots, dtype=np.int64))])
        assert list(chosen) == [records[at] for at in slots]
        buffer.extend([b"{}"])  # looking at a buffer does not keep it from growing


@pytest.mark.parametrize("count", [0, 1, 3, 10_000])
@pytest.mark.parametrize("ending", [b"", b"\n"])
def test_a_file_reads_as_memory_does(tmp_path: Path, count: int, ending: bytes) -> None:
    records = [record_of(f"id {n}", "ü" * (n % 200)) for n in range(count)]
    path = tmp_path / "rows.json"
    path.write_bytes(b"[\n" + b",\n".join(records) + (b"\n]" if records else b"]") + ending)
    assert len(json.loads(path.read_bytes())) == count
    file = RecordFile.open(path)
    assert len(file) == count
    assert list(file) == records
    assert [file[at] for at in range(0, count, 7)] == records[::7]
    backwards = list(range(count))[::-1]
    assert file.many(backwards) == records[::-1]
    assert file.many(backwards[:5]) == records[::-1][:5]


def test_a_buffered_record_costs_its_length() -> None:
    def make() -> RecordBuffer:
        buffer = RecordBuffer()
        for begin in range(0, 20_000, 500):
            buffer.extend([record_of(f"id {n}", "a few words") for n in range(begin, begin + 500)])
        return buffer

    said = make().nbytes
    assert said == sum(len(record_of(f"id {n}", "a few words")) + 8 for n in range(20_000)) + 8
    # A bytearray that grows keeps an eighth in hand.
    assert growth(make) < 1.2 * said + (1 << 20)


@pytest.mark.parametrize("text", [b"", b"[", b"{}", b"[\n{}\n", b"[\n{}]", b"\n[]\n\n\n", b"[\n1,\n2\n}"])
def test_what_is_no_such_array_is_damage(text: bytes) -> None:
    with pytest.raises(SnapshotDamaged):
        RecordFile(text)


def test_the_time_of_creation_is_read_in_place() -> None:
    record = record_of("x", 'a"}')
    assert created_at_of(record) == b"2026-11-22T07:49:58.123456Z"
    assert parse(record)["updated_at"] == "2027-01-01T00:00:00.000000Z"


HOSTILE = st.sampled_from(
    [
        '","text":"',
        ',"metadata":',
        ',"revision":7',
        "\\",
        '"',
        ",",
        '{"id":"',
        ',"text":null,"metadata":{}',
        "\\u0022",
    ]
)
strings = st.lists(st.one_of(texts, HOSTILE), max_size=4).map("".join)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | strings,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(strings, inner, max_size=3),
    max_leaves=6,
)


@given(
    strings,
    st.none() | strings,
    st.none() | strings,
    st.dictionaries(strings | st.sampled_from(["text", "revision", "metadata", "id"]), values, max_size=4),
    st.booleans(),
    st.booleans(),
)
def test_what_an_answer_shows_is_cut_exactly(
    chunk_id: str,
    document_id: str | None,
    text: str | None,
    metadata: dict[str, object],
    with_text: bool,
    with_metadata: bool,
) -> None:
    head = start(chunk_id, document_id, text, metadata)
    record = finish(head, 12, b"2026-11-22T07:49:58.123456Z", b"2027-01-01T00:00:00.000000Z")
    expected: dict[str, object] = {"id": chunk_id, "document_id": document_id}
    if with_text:
        expected["text"] = text
    if with_metadata:
        expected["metadata"] = metadata
    # JSON says nothing of order and blanks: whoever wrote it, it is read.
    row = json.loads(record)
    orders = [list(row), list(reversed(row))]
    # Each of them last, and each behind the id.
    orders += [[*(other for other in row if other != name), name] for name in row]
    orders += [["id", name, *row] for name in row]
    others = [json.dumps({name: row[name] for name in names}, separators=(",", ":")) for names in orders]
    others.append(json.dumps(row))
    records = [record, *(other.encode() for other in others), record]
    for cut in shown(records, text=with_text, metadata=with_metadata):
        assert json.loads(cut + b"}") == expected
