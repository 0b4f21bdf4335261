"""Ids that need encoding work in every route, and ids that cannot be are refused in every route."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable

AWKWARD = [
    "a/b",
    "/",
    "//",
    "a b",
    "%",
    "%2F",
    "%41",
    "?",
    "#",
    "a?b#c",
    "😀",
    "é",
    "e\u0301",
    "\u202e",
    "\n",
    "...",
    "..a",
    "+",
    "a;b",
    "search",
    "upsert",
    "bulk",
    "documents",
    "x" * 256,
    "😀" * 256,
    "\U0010ffff",
]
BAD = {
    "%2E": "dot",
    ".": "dot",
    "%2E%2E": "dots",
    "..": "dots",
    "%00": "NUL",
    "x" * 257: "too long",
    "%F0%9F%98%80" * 257: "long",
}
L = "/v1/libraries/awkward"


def exercise(client: Any, encode: Callable[[str], str], name: str) -> None:
    if client("GET", L).status == 404:
        client("POST", "/v1/libraries", {"id": "awkward", "name": "x"})
    segment = encode(name)
    made = client("POST", f"{L}/documents", {"id": name, "metadata": {"who": "me"}})
    assert made.status == 201, made.body
    assert made.headers["location"] == f"{L}/documents/{segment}"
    document = client("GET", made.headers["location"])
    assert (document.status, document.json()["id"]) == (200, name)
    assert client("PATCH", f"{L}/documents/{segment}", {"metadata": {"p": 1}}).json()["id"] == name
    made = client("POST", f"{L}/chunks", {"id": name, "document_id": name, "embedding": [1.0, 2.0]})
    assert made.status == 201, made.body
    assert made.headers["location"] == f"{L}/chunks/{segment}"
    assert client("GET", f"{L}/chunks/{segment}").json()["id"] == name
    assert client("PATCH", f"{L}/chunks/{segment}", {"text": "t"}).json()["id"] == name
    listed = client("GET", f"{L}/chunks?document_id={segment}").json()["items"]
    assert [chunk["id"] for chunk in listed] == [name]
    upserted = client("POST", f"{L}/chunks/upsert", {"chunks": [{"id": name, "embedding": [2.0, 1.0]}]})
    assert upserted.json()["ids"] == [name]
    hits = client("POST", f"{L}/search", {"embedding": [2.0, 1.0], "filter": {"$id": name}}).json()["hits"]
    assert [hit["id"] for hit in hits] == [name]
    assert client("POST", f"{L}/chunks/delete", {"ids": [name]}).json()["deleted"] == 1
    client("POST", f"{L}/chunks", {"id": name, "embedding": [1.0, 2.0]})
    assert client("DELETE", f"{L}/chunks/{segment}").json()["deleted"] == 1
    assert client("DELETE", f"{L}/documents/{segment}").status == 200
    assert client("GET", f"{L}/documents/{segment}").code == "document_not_found"


@pytest.mark.parametrize("name", AWKWARD, ids=ascii)
def test_awkward_ids_work_everywhere(client: Any, encode: Callable[[str], str], name: str) -> None:
    exercise(client, encode, name)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=256
    ).filter(lambda name: name not in {".", ".."})
)
def test_any_id_works_everywhere(client: Any, encode: Callable[[str], str], name: str) -> None:
    exercise(client, encode, name)


@pytest.mark.parametrize("segment", BAD, ids=BAD.get)
@pytest.mark.parametrize("kind", ["chunks", "documents"])
@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_impossible_ids_are_422_everywhere(glossary: Any, method: str, kind: str, segment: str) -> None:
    answer = glossary(method, f"/v1/libraries/glossary/{kind}/{segment}", {} if method == "PATCH" else None)
    assert answer.status == 422
    assert answer.code == "validation_failed"
    assert answer.pointers == ["/chunk_id" if kind == "chunks" else "/document_id"]
    assert answer.json()["errors"][0]["in"] == "path"


@pytest.mark.parametrize("segment", ["a%2Fb", "%2E%2E", "..", "-a", "x" * 129, "%C3%A9"])
@pytest.mark.parametrize(
    ("method", "tail"),
    [("GET", ""), ("POST", "/search"), ("POST", "/chunks/upsert"), ("GET", "/chunks/x"), ("GET", "/export")],
)
def test_impossible_library_ids_are_422_everywhere(client: Any, method: str, tail: str, segment: str) -> None:
    answer = client(method, f"/v1/libraries/{segment}{tail}", {} if method == "POST" else None)
    assert (answer.status, answer.pointers) == (422, ["/library_id"])


@pytest.mark.parametrize("segment", ["%", "%2", "%zz", "%ff", "%C3", "%ED%A0%80"])
def test_a_broken_path_is_400(glossary: Any, segment: str) -> None:
    answer = glossary("GET", f"/v1/libraries/glossary/chunks/{segment}")
    assert (answer.status, answer.code) == (400, "malformed_path")


def test_a_slash_that_is_encoded_does_not_separate(glossary: Any) -> None:
    glossary("POST", "/v1/libraries/glossary/chunks", {"id": "a/search", "embedding": [1, 1, 1]})
    assert glossary("GET", "/v1/libraries/glossary/chunks/a%2Fsearch").json()["id"] == "a/search"
    assert glossary("GET", "/v1/libraries/glossary/chunks/a/search").code == "route_not_found"
    assert glossary("GET", "/v1/libraries/glossary%2Fchunks%2Fa").status == 422


def test_an_encoded_letter_is_the_letter(glossary: Any) -> None:
    assert glossary("GET", "/v1/%6Cibraries/gl%6Fssary").json()["id"] == "glossary"
    assert glossary("POST", "/v1/libraries/gl%6Fssary/%73earch", {"embedding": [1, 0, 0]}).status == 200
