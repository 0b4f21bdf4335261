"""JSON Lines parsed many at a time are what they are one by one, faults and their places included."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vdb_core.errors import ValidationFailed
from vdb_server.chunks import ingest
from vdb_server.chunks.ingest import json_lines
from vdb_server.errors import HttpProblem
from vdb_server.wire.json_body import parse_object

if TYPE_CHECKING:
    from collections.abc import Callable

DEPTH = 3
# Lines that are objects, lines that are not, and lines that together with others could be taken for some.
LINES = [
    *(b'{"id":"a"}', b'{"id":"b","metadata":{"n":1}}', b'{"id":"\xc3\xa9"}\r', b"{}", b' {"id":"c"}'),
    *(b"", b"  ", b"1", b"null", b'"text"', b"[]", b'[{"id":"a"}]', b"{", b"}", b'{"a":', b'"b"}'),
    *(b'{"id":"a"},{"id":"b"}', b'{"id":"a"},', b'{"a":{"b":{"c":1}}}', b'{"a":{"b":{"c":{}}}}'),
    *(b'{"a":[{}', b'{}]},{"b":1}', b'{"tags":["x"]}', b'{"a":"[{}"}', b'{"a":"}', b'{"b":"}'),
    *(b'{"a":1,"a":2}', b'{"a":NaN}', b'{"a":"\xff"}', b'{"a":"\\ud800"}', b'{"a":"x\ty"}'),
]


def one_by_one(data: bytes) -> list[dict[str, object]]:
    lines = data.split(b"\n")
    return [parse_object(line, max_depth=DEPTH) for line in lines if line and not line.isspace()]


def number_of_first_fault(data: bytes) -> int | None:
    number = 0
    for line in data.split(b"\n"):
        if not line or line.isspace():
            continue
        try:
            _ = parse_object(line, max_depth=DEPTH)
        except (ValidationFailed, HttpProblem):
            return number
        number += 1
    return None


CUNNING = [
    [b'{"a":[{}', b'{}]},{"b":1}'],
    [b'{"id":"a"},{"id":"b"}', b""],
    [b'{"id":"a"},{"id":"b"}'],
    [b'{"a":1', b'"b":2},{"c":3}'],
    [b'{"a":1}', b'1,{"b":2}', b'{"c":3}'],
    [b'{"a":1}', b"1", b'{"c":3}'],
    [b'1,{"a":1}'],
    [b'"a"', b'{"b":2}'],
    [b'{"a":"x', b'{"}'],
    [b'{"a":{"b":{"c":{}}}}', b"{}"],
]


def with_examples(check: Callable[..., None]) -> Callable[..., None]:
    """Also try each of the cunning ones, in one go and by pairs."""
    for lines in CUNNING:
        for at_once in (2, 5):
            check = example(lines=lines, at_once=at_once)(check)
    return check


@with_examples
@given(
    lines=st.lists(st.sampled_from(LINES[:5]) | st.sampled_from(LINES), max_size=12),
    at_once=st.integers(1, 5),
)
def test_many_lines_are_what_each_of_them_is(lines: list[bytes], at_once: int) -> None:
    data = b"\n".join(lines)
    wrong = number_of_first_fault(data)
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(ingest, "_LINES", at_once)
        if wrong is None:
            assert json_lines(data, "/chunks", max_depth=DEPTH) == one_by_one(data)
            return
        with pytest.raises((ValidationFailed, HttpProblem)) as caught:
            _ = json_lines(data, "/chunks", max_depth=DEPTH)
    problem = caught.value
    place = f"/chunks/{wrong}"
    if isinstance(problem, ValidationFailed):
        assert [*problem.faults[0].pointer.split("/")][:3] == ["", "chunks", str(wrong)]
    else:
        assert str(problem).startswith(f"{place}: ")


def test_plain_lines_take_the_quick_way(monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[bytes] = []

    def counted(text: bytes) -> object:
        texts.append(text)
        return orjson.loads(text)

    monkeypatch.setattr(ingest, "loads", counted)
    data = b"\n".join(b'{"id":"%d","metadata":{"n":%d}}' % (n, n) for n in range(1_000)) + b"\n"
    assert [row["id"] for row in json_lines(data, "/chunks", max_depth=DEPTH)] == [
        str(n) for n in range(1_000)
    ]
    assert len(texts) == 4
