"""Records as one text are the records they are made of, however they are cut, joined and kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vdb_core.engine.record_run import RecordRun
from vdb_core.engine.records import RecordBuffer, ending, finish, start

TIME = b"2026-11-22T07:49:58.123456Z"
heads_of = st.lists(
    st.text(max_size=20).map(lambda text: start("id", None, text, {"line": f"\n{text}"})), max_size=9
)


@given(heads=heads_of, data=st.data())
def test_a_run_is_the_list_of_its_records(heads: list[bytes], data: st.DataObject) -> None:
    run = RecordRun.of(heads).ending(ending(7, TIME, TIME))
    records = [finish(head, 7, TIME, TIME) for head in heads]
    begin = data.draw(st.integers(-10, 10) | st.none())
    stop = data.draw(st.integers(-10, 10) | st.none())
    for some, expected in ((run, records), (run[begin:stop], records[begin:stop])):
        assert list(some) == expected
        assert [some[at] for at in range(-len(expected), len(expected))] == expected + expected
        assert some.joined(b",") == b",".join(expected)
        assert some.nbytes == sum(map(len, expected))
        kept, plain = RecordBuffer(), RecordBuffer()
        for buffer, more in ((kept, some), (plain, expected)):
            buffer.extend([b"before"])
            buffer.extend(more)
            buffer.extend([b"after"])
        assert [kept[at] for at in range(len(kept))] == [plain[at] for at in range(len(plain))]
    with pytest.raises(IndexError):
        _ = run[len(heads)]
    assert list(RecordRun.of(heads)) == heads


def test_a_head_with_a_line_break_is_refused() -> None:
    with pytest.raises(ValueError, match="line break"):
        _ = RecordRun.of([b'{"id":"a"', b'{"id":\n"b"'])


def test_a_run_is_not_cut_by_steps() -> None:
    with pytest.raises(ValueError, match="follow each other"):
        _ = RecordRun.of([b"a", b"b"])[::-1]
