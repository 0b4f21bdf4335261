"""Ids: exactly what the rules say is accepted, and new ids are unique and sort by time."""

from __future__ import annotations

import re
import threading
import unicodedata
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vdb_core.domain import ID, LibraryID, check_id, check_library_id, new_id
from vdb_core.errors import ValidationFailed

ANY_TEXT = st.text(st.characters(codec=None), max_size=300)


def is_id_by_the_rules(value: str) -> bool:
    if not 1 <= len(value) <= 256 or value in (".", ".."):
        return False
    return all(char != "\0" and unicodedata.category(char) != "Cs" for char in value)


@given(
    st.one_of(
        ANY_TEXT, st.sampled_from(["", ".", "..", "...", "a\0", "\ud800", "x" * 256, "x" * 257, "😀" * 256])
    )
)
def test_an_id_is_what_the_rules_say(value: str) -> None:
    faults = check_id(value, "/chunks/3/id")
    assert (not faults) == is_id_by_the_rules(value)
    assert all(fault.pointer == "/chunks/3/id" and "received" in fault.detail for fault in faults)


@given(st.one_of(ANY_TEXT, st.from_regex(r"[A-Za-z0-9._-]{1,130}", fullmatch=True), st.just("a\n")))
def test_a_library_id_is_what_the_rules_say(value: str) -> None:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
    expected = 1 <= len(value) <= 128 and set(value) <= set(alphabet) and value[0] not in "._-"
    assert (not check_library_id(value, "")) == expected


@pytest.mark.parametrize("value", [None, 7, 1.5, True, b"abc", ["a"], {"a": 1}])
def test_what_is_no_string_is_no_id(value: object) -> None:
    assert type(value).__name__ in check_id(value, "")[0].detail
    assert type(value).__name__ in check_library_id(value, "")[0].detail


def test_a_long_value_is_not_repeated_in_full() -> None:
    assert len(check_library_id("!" * 1_000_000, "")[0].detail) < 300


def test_value_objects_cannot_be_invalid() -> None:
    assert ID("a/b ?#%😀") == "a/b ?#%😀"
    assert LibraryID("Books.2").folded == "books.2"
    with pytest.raises(ValidationFailed, match="received an empty string"):
        ID("")
    with pytest.raises(ValidationFailed, match="begins with a letter or a digit"):
        LibraryID("../etc")


def test_a_new_id_is_a_version_7_uuid_and_valid_everywhere() -> None:
    for made in [new_id() for _ in range(500)]:
        assert_is_version_7(made)


def assert_is_version_7(made: str) -> None:
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", made)
    assert uuid.UUID(made).version == 7
    assert not check_id(made, "")
    assert not check_library_id(made, "")


def test_new_ids_are_unique_between_threads() -> None:
    made: list[list[str]] = [[] for _ in range(4)]

    def make(into: list[str]) -> None:
        into.extend(new_id() for _ in range(5_000))

    threads = [threading.Thread(target=make, args=(each,)) for each in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({each for ids in made for each in ids}) == 20_000


def test_a_later_id_sorts_later(monkeypatch: pytest.MonkeyPatch) -> None:
    nanoseconds = [1_700_000_000_000_000_000 + step for step in (0, 1_000, 999_000, 1_000_000, 10**12)]
    clock = iter(nanoseconds)
    monkeypatch.setattr("vdb_core.domain.ids.time.time_ns", lambda: next(clock))
    made = [new_id() for _ in nanoseconds]
    assert made == sorted(made)
    assert int(made[0].replace("-", "")[:12], 16) == 1_700_000_000_000
