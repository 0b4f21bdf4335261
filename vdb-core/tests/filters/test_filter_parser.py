"""Faults of filters: each is found, each says where it is and what is valid there."""

from __future__ import annotations

from typing import Any

import pytest

from vdb_core.errors import ValidationFailed
from vdb_core.filters import parse_filter
from vdb_core.filters.values import parse_instant


def faults_of(value: object, **limits: int) -> dict[str, str]:
    with pytest.raises(ValidationFailed) as caught:
        parse_filter(value, **limits)
    return {fault.pointer: fault.detail for fault in caught.value.faults}


@pytest.mark.parametrize(
    ("wanted", "pointer", "detail"),
    [
        ([], "/filter", "Expected a filter (an object), received a list."),
        (None, "/filter", "received null"),
        ({"year": {"$gtt": 1}}, "/filter/year/$gtt", "Unknown operator '$gtt'. Known: $eq, $ne, $in"),
        ({"$nor": []}, "/filter/$nor", "Unknown operator '$nor'. Known here: $and, $or, $not, $id"),
        ({"$gt": 1}, "/filter/$gt", "'$gt' belongs under a field"),
        ({"x": {"$and": []}}, "/filter/x/$and", "Unknown operator '$and'"),
        ({"$document": 1}, "/filter/$document", "write '$document.KEY'"),
        ({"$document.": 1}, "/filter/$document.", "write '$document.KEY'"),
        ({"$document.$id": 1}, "/filter/$document.$id", "write '$document.KEY'"),
        ({"": 1}, "/filter/", "must not be empty"),
        ({"$and": []}, "/filter/$and", "non-empty list of filters, received an empty list"),
        ({"$or": {}}, "/filter/$or", "received an object"),
        ({"$or": [{}, 1]}, "/filter/$or/1", "received the number 1"),
        ({"$not": [1]}, "/filter/$not", "received a list"),
        ({"x": {"$not": 1}}, "/filter/x/$not", "takes an object of operators, received the number 1"),
        ({"x": {"$not": {}}}, "/filter/x/$not", "received an empty object"),
        ({"x": {"$not": {"y": 1}}}, "/filter/x/$not/y", "do not mix"),
        ({"x": {"$gt": 1, "y": 2}}, "/filter/x/y", "do not mix"),
        ({"x": {"y": {"$gt": 1}}}, "/filter/x/y/$gt", "write the path with dots"),
        ({"x": {"$in": "abc"}}, "/filter/x/$in", "takes a list of values, received the string 'abc'"),
        ({"x": {"$nin": [1, [2]]}}, "/filter/x/$nin/1", "received a list"),
        ({"x": [{}]}, "/filter/x/0", "A stored list holds a string"),
        ({"x": {"$exists": 1}}, "/filter/x/$exists", "takes true or false, received the number 1"),
        ({"x": {"$contains": [1]}}, "/filter/x/$contains", "received a list"),
        (
            {"x": {"$gt": "abc"}},
            "/filter/x/$gt",
            "takes a number or an RFC 3339 datetime, received the string 'abc'",
        ),
        ({"x": {"$lt": True}}, "/filter/x/$lt", "received true"),
        ({"x": {"$lt": None}}, "/filter/x/$lt", "received null"),
        ({"x": {"$lt": [1]}}, "/filter/x/$lt", "received a list"),
        ({"x": {"$lt": float("nan")}}, "/filter/x/$lt", "a finite number, received nan"),
        ({"x": float("inf")}, "/filter/x", "a finite number, received inf"),
        ({"x": "\ud800"}, "/filter/x", "lone surrogate"),
        ({"\ud800": 1}, "/filter", "Keys are strings of Unicode characters"),
        ({1: 1}, "/filter", "Keys are strings"),
        ({"x": b"bytes"}, "/filter/x", "received a bytes"),
        ({"a/b~c": {"$in": 1}}, "/filter/a~1b~0c/$in", "takes a list"),
    ],
)
def test_a_fault_says_where_and_what(wanted: Any, pointer: str, detail: str) -> None:
    found = faults_of(wanted)
    assert list(found) == [pointer]
    assert detail in found[pointer]


def test_every_fault_is_reported() -> None:
    found = faults_of({"a": {"$x": 1, "$gt": "b"}, "$or": [{"c": {"$in": 1}}, 2], "$y": 3})
    assert list(found) == [
        "/filter/a/$x",
        "/filter/a/$gt",
        "/filter/$or/0/c/$in",
        "/filter/$or/1",
        "/filter/$y",
    ]


def test_the_pointer_is_the_callers() -> None:
    with pytest.raises(ValidationFailed) as caught:
        parse_filter({"a": {"$x": 1}}, pointer="/queries/3/filter")
    assert caught.value.faults[0].pointer == "/queries/3/filter/a/$x"


def nest(levels: int, *, key: str) -> dict[str, Any]:
    value: dict[str, Any] = {"x": 1}
    for _ in range(levels):
        value = {key: [value] if key in {"$and", "$or"} else value}
    return value


@pytest.mark.parametrize("key", ["$and", "$or", "$not"])
def test_depth_is_limited(key: str) -> None:
    parse_filter(nest(15, key=key))
    assert "deeper than 16 levels" in next(iter(faults_of(nest(16, key=key)).values()))


@pytest.mark.parametrize("key", ["$and", "$not", "x"])
def test_a_very_deep_filter_is_a_fault_and_no_recursion_error(key: str) -> None:
    assert "deeper than 16 levels" in next(iter(faults_of(nest(100_000, key=key)).values()))


def test_a_very_deep_operator_object_is_a_fault() -> None:
    value: dict[str, Any] = {"$gt": 1}
    for _ in range(100_000):
        value = {"$not": value}
    assert "deeper than 16 levels" in next(iter(faults_of({"x": value}).values()))


def test_operators_are_limited() -> None:
    parse_filter({f"k{number}": number for number in range(1_000)})
    found = faults_of({f"k{number}": number for number in range(1_001)})
    assert found == {
        "/filter/k1000": "The filter has more than 1000 operators (max_filter_nodes); `$in` takes many values at once."
    }


def test_values_are_limited() -> None:
    parse_filter({"x": {"$in": [1] * 10}}, max_values=10)
    assert (
        "more than 10 values" in faults_of({"x": {"$in": [1] * 6}, "y": [1] * 5}, max_values=10)["/filter/y"]
    )


def test_filters_that_say_the_same_have_one_key() -> None:
    one = parse_filter({"a": 1, "b": {"$in": ["x", "y"]}})
    two = parse_filter({"$and": [{"b": {"$in": ["y", "x", "y"]}}, {"a": {"$eq": 1.0}}]})
    assert one == two
    assert len({one, two}) == 1
    assert one != parse_filter({"a": True, "b": {"$in": ["x", "y"]}})
    assert one != parse_filter({"a": "1", "b": {"$in": ["x", "y"]}})


def test_a_filter_tells_what_it_looks_at() -> None:
    assert parse_filter({}).matches_everything
    assert not parse_filter({"a": {}}).matches_everything
    assert parse_filter({"$not": {"$document.a": 1}}).uses_documents
    assert not parse_filter({"$document_id": "a"}).uses_documents
    assert parse_filter({"$or": [{"$id": "a"}]}).uses_ids
    assert not parse_filter({"a": "$id"}).uses_ids


def test_a_filter_does_not_follow_its_operand() -> None:
    operand = {"b": [1]}
    parsed = parse_filter({"a": operand})
    operand["b"].append(2)
    assert parsed == parse_filter({"a": {"b": [1]}})
    assert "2" not in repr(parsed.tree)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:00Z", (0, 0)),
        ("1970-01-01", (0, 0)),
        ("1970-01-01 00:00:00", (0, 0)),
        ("1970-01-01t00:00:01.5z", (1_500_000, 0)),
        ("1969-12-31T23:59:59.999999999Z", (-1, 999)),
        ("1970-01-01T00:00:00+01:30", (-5_400_000_000, 0)),
        ("1970-01-01T00:00:00-00:00", (0, 0)),
        ("1969-12-31T23:59:60Z", (0, 0)),
        ("0000-02-29", (-62_162_121_600_000_000, 0)),
        ("1970-01-01T00:00Z", None),
        ("1970-01-01T24:00:00Z", None),
        ("1970-01-01T00:60:00Z", None),
        ("1970-01-01T00:00:61Z", None),
        ("1970-01-01T00:00:00+24:00", None),
        ("1970-01-01T00:00:00.Z", None),
        ("1970-01-01T00:00:00.1234567890Z", None),
        ("1970-13-01", None),
        ("1970-02-30", None),
        ("1900-02-29", None),
        ("١٩٧٠-01-01", None),
        ("1970-01-01Z", None),
        ("1970-01-01\n", None),
        ("", None),
    ],
)
def test_instants(text: str, expected: tuple[int, int] | None) -> None:
    assert parse_instant(text) == expected
