"""The JSON reader against the standard library's: same values, and every refusal has its reason."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vdb_core.errors import ValidationFailed
from vdb_server.errors import HttpProblem
from vdb_server.wire.json_body import parse_json, parse_object

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


def depth_of(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


@given(VALUES)
def test_what_is_fine_is_read_as_everybody_reads_it(value: Any) -> None:
    assert parse_json(json.dumps(value).encode(), max_depth=99) == value
    assert parse_json(json.dumps(value, ensure_ascii=False, indent=1).encode(), max_depth=99) == value


@settings(max_examples=300)
@given(st.binary(max_size=60) | VALUES.map(lambda value: json.dumps(value).encode()[:-1]))
def test_what_is_not_json_is_always_a_problem_and_never_a_crash(raw: bytes) -> None:
    try:
        expected = json.loads(raw.decode())
    except (ValueError, RecursionError):
        with pytest.raises((HttpProblem, ValidationFailed)):
            parse_json(raw, max_depth=32)
        return
    try:
        got = parse_json(raw, max_depth=32)
    except HttpProblem:
        # The standard library takes NaN and infinity; nothing else that it takes is refused.
        assert any(word in raw for word in (b"NaN", b"Infinity", b"e", b"E"))
    else:
        assert got == expected


@given(VALUES, st.integers(1, 5))
def test_depth_is_what_it_says(value: Any, max_depth: int) -> None:
    deep_enough = depth_of(value) > max_depth
    try:
        parse_json(json.dumps(value).encode(), max_depth=max_depth)
        assert not deep_enough or _hidden(value, max_depth)
    except ValidationFailed as error:
        assert deep_enough
        (fault,) = error.faults
        assert fault.pointer.count("/") == max_depth


def _hidden(value: Any, max_depth: int) -> bool:
    """Whether all that is too deep is behind a list that begins with a number, which nothing in the API accepts."""
    if isinstance(value, list):
        if value and isinstance(value[0], (int, float)):
            return True
        return max_depth > 0 and all(_hidden(item, max_depth - 1) for item in value)
    if isinstance(value, dict):
        return max_depth > 0 and all(_hidden(item, max_depth - 1) for item in value.values())
    return True


@pytest.mark.parametrize(
    ("raw", "where"),
    [
        (b"{", "line 1, column 2 (character 1)"),
        (b'{"a": 1,\n "b": }', "line 2, column 7 (character 15)"),
        (b'{"a": "\xff"}', "line 1, column 8 (character 7)"),
        ('{"é": tru}'.encode(), "line 1, column 7 (character 6)"),
    ],
)
def test_the_position_is_told(raw: bytes, where: str) -> None:
    with pytest.raises(HttpProblem) as caught:
        parse_json(raw, max_depth=32)
    assert where in caught.value.problem.detail
    assert caught.value.problem.code == "malformed_json"


def test_a_name_that_occurs_twice_has_its_last_value() -> None:
    assert parse_object(b'{"a": 1, "a": 2}', max_depth=3) == {"a": 2}


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b"[]", "an array"),
        (b"null", "null"),
        (b'"x"', "a string"),
        (b"3", "a number"),
        (b"true", "a boolean"),
    ],
)
def test_another_value_than_an_object_is_named(raw: bytes, kind: str) -> None:
    with pytest.raises(ValidationFailed, match=kind):
        parse_object(raw, max_depth=3)


def test_surrogates_far_down_are_found() -> None:
    raw = b'{"a":' * 900 + b'"\\ud800"' + b"}" * 900
    with pytest.raises(ValidationFailed) as caught:
        parse_json(raw, max_depth=32)
    assert caught.value.faults[0].pointer == "/a" * 900
