"""Metadata: every value is judged as the rules say, with a pointer to it; patches follow RFC 7396."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vdb_core.domain import Metadata, check_metadata, merge_patch
from vdb_core.errors import ValidationFailed

FINE_TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
FINE_KEY = FINE_TEXT.filter(lambda key: key != "" and not key.startswith("$"))
FINE_SCALAR = st.one_of(
    FINE_TEXT,
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.none(),
)
FINE_VALUE = st.recursive(
    FINE_SCALAR | st.lists(FINE_SCALAR, max_size=3),
    lambda below: st.dictionaries(FINE_KEY, below, max_size=3),
    max_leaves=8,
)
FINE = st.dictionaries(FINE_KEY, FINE_VALUE, max_size=4)

BAD_VALUE = st.one_of(
    st.sampled_from(
        [2**63, -(2**63) - 1, math.nan, math.inf, -math.inf, "\ud800", "a\udfffb", b"bytes", (1,), {1}, 1j]
    ),
    st.sampled_from([[[1]], [{"a": 1}], [math.nan], [2**64], ["\ud800"], [object()]]),
)
BAD_KEY = st.sampled_from(["", "$", "$gt", "\ud800", 1, None, ("a",)])

# Appendix A of RFC 7396: target, patch, result.
RFC_7396 = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    ({"a": "foo", "z": 1}, {"a": {"b": 1}}, {"a": {"b": 1}, "z": 1}),
    ({"a": [1], "z": 1}, {"a": {"b": None, "c": 2}}, {"a": {"c": 2}, "z": 1}),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


def follow(value: object, pointer: str) -> object:
    """Resolve an RFC 6901 pointer."""
    for step in pointer.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        value = value[int(key)] if isinstance(value, list) else value[key]  # type: ignore[index]
    return value


@given(FINE)
def test_what_the_rules_allow_is_accepted(value: dict[str, Any]) -> None:
    assert check_metadata(value, "/metadata") == []
    assert Metadata(value).to_json() == value


@given(FINE, FINE_KEY, BAD_VALUE)
def test_a_bad_value_is_found_at_its_pointer(value: dict[str, Any], key: str, bad: object) -> None:
    value[key] = bad
    faults = check_metadata(value, "")
    assert len(faults) == 1
    found = follow(value, faults[0].pointer)
    assert found is bad or (isinstance(bad, list) and found is bad[0])


@given(FINE, st.lists(FINE_KEY, max_size=3), BAD_KEY)
def test_a_bad_key_is_found_however_deep(value: dict[str, Any], path: list[str], bad: object) -> None:
    innermost = value
    for key in path:
        innermost[key] = {}
        innermost = innermost[key]
    innermost[bad] = 1  # type: ignore[index]
    faults = check_metadata(value, "/metadata")
    assert len(faults) == 1
    assert "key" in faults[0].detail


def test_every_fault_is_listed() -> None:
    value = {"a": math.nan, "b/c": {"~d": [1, 2**70, "x"]}, "$e": 1, "f": object()}
    assert [fault.pointer for fault in check_metadata(value, "/m")] == [
        "/m/a",
        "/m/b~1c/~0d/1",
        "/m/$e",
        "/m/f",
    ]


@pytest.mark.parametrize("value", [None, [], "text", 1, True])
def test_metadata_is_an_object(value: object) -> None:
    assert check_metadata(value, "/metadata")[0].pointer == "/metadata"


def test_depth_counts_objects() -> None:
    def nested(levels: int) -> dict[str, object]:
        return {"a": nested(levels - 1)} if levels > 1 else {}

    assert check_metadata(nested(32), "") == []
    assert [fault.pointer for fault in check_metadata(nested(33), "")] == ["/a" * 32]
    assert check_metadata(nested(3), "", max_depth=2) != []


def test_a_value_that_contains_itself_is_refused_not_followed_for_ever() -> None:
    value: dict[str, object] = {}
    value["self"] = value
    assert len(check_metadata(value, "")) == 1


def test_size_is_that_of_the_json_text() -> None:
    assert check_metadata({"a": "x" * (65_536 - 8)}, "") == []
    assert "65537" in check_metadata({"a": "x" * (65_536 - 7)}, "")[0].detail
    assert check_metadata({"a": "é"}, "", max_bytes=10) == []
    assert check_metadata({"a": "é"}, "", max_bytes=9) != []


@pytest.mark.parametrize(("target", "patch", "result"), RFC_7396)
def test_a_patch_does_what_the_rfc_says(target: Any, patch: Any, result: Any) -> None:
    assert merge_patch(target, patch) == result


PATCH = st.recursive(
    st.none() | FINE_SCALAR, lambda below: st.dictionaries(FINE_KEY, below, max_size=3), max_leaves=6
)
PATCHES = st.dictionaries(FINE_KEY, PATCH, max_size=3)


@given(FINE, PATCHES)
def test_a_patch_changes_neither_argument_and_is_idempotent(
    target: dict[str, Any], patch: dict[str, Any]
) -> None:
    before = copy.deepcopy((target, patch))
    once = merge_patch(target, patch)
    assert (target, patch) == before
    assert merge_patch(once, patch) == once
    for key, change in patch.items():
        if change is None:
            assert key not in once
        elif not isinstance(change, dict):
            assert once[key] == change
    assert {key: once.get(key) for key in target if key not in patch} == {
        key: target[key] for key in target if key not in patch
    }


def test_the_value_object_refuses_and_patches() -> None:
    metadata = Metadata({"a": 1, "b": {"c": 2}})
    assert dict(metadata.patched({"a": None, "b": {"d": 3}})) == {"b": {"c": 2, "d": 3}}
    assert dict(metadata) == {"a": 1, "b": {"c": 2}}
    with pytest.raises(ValidationFailed, match="/a: a number is finite"):
        metadata.patched({"a": math.inf})
