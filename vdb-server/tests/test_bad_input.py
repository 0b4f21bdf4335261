"""Whatever is wrong with a request, the answer says what and where, and nothing has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

L = "/v1/libraries/glossary"
UPSERT, SEARCH, CHUNKS = f"{L}/chunks/upsert", f"{L}/search", f"{L}/chunks"


def batch(row: dict[str, object], at: int = 17, rows: int = 20) -> dict[str, object]:
    made: list[dict[str, object]] = [{"id": f"n-{number}", "embedding": [1, 2, 3]} for number in range(rows)]
    made[at] = {"id": "bad", **row}
    return {"chunks": made}


DEEP: dict[str, Any] = {}
for _ in range(40):
    DEEP = {"d": DEEP}

CASES: dict[str, tuple[str, str, object, list[str]]] = {
    "wrong dimension in row 17": ("POST", UPSERT, batch({"embedding": [1, 2]}), ["/chunks/17/embedding"]),
    "zero vector": ("POST", UPSERT, batch({"embedding": [0, 0, 0]}), ["/chunks/17/embedding"]),
    "infinity by the cast": ("POST", UPSERT, batch({"embedding": [1, 1e39, 1]}), ["/chunks/17/embedding"]),
    "text in an embedding": ("POST", UPSERT, batch({"embedding": [1, "2", 3]}), ["/chunks/17/embedding"]),
    "empty embedding": ("POST", UPSERT, batch({"embedding": []}), ["/chunks/17/embedding"]),
    "no embedding": ("POST", UPSERT, batch({}), ["/chunks/17"]),
    "both embeddings": (
        "POST",
        UPSERT,
        batch({"embedding": [1, 2, 3], "embedding_b64": "AACAPwAAAAAAAAAA"}),
        ["/chunks/17"],
    ),
    "not base64": ("POST", UPSERT, batch({"embedding_b64": "!"}), ["/chunks/17/embedding_b64"]),
    "unknown field in a row": (
        "POST",
        UPSERT,
        batch({"embedding": [1, 2, 3], "txt": ""}),
        ["/chunks/17/txt"],
    ),
    "a row that is no object": ("POST", UPSERT, {"chunks": [3]}, ["/chunks/0"]),
    "duplicate ids": ("POST", UPSERT, batch({"id": "n-3", "embedding": [1, 2, 3]}), ["/chunks/17/id"]),
    "empty id": ("POST", UPSERT, batch({"id": "", "embedding": [1, 2, 3]}), ["/chunks/17/id"]),
    "id .": ("POST", UPSERT, batch({"id": ".", "embedding": [1, 2, 3]}), ["/chunks/17/id"]),
    "id ..": ("POST", UPSERT, batch({"id": "..", "embedding": [1, 2, 3]}), ["/chunks/17/id"]),
    "id of 257": ("POST", UPSERT, batch({"id": "x" * 257, "embedding": [1, 2, 3]}), ["/chunks/17/id"]),
    "id with NUL": ("POST", UPSERT, batch({"id": "\0", "embedding": [1, 2, 3]}), ["/chunks/17/id"]),
    "id that is a number": ("POST", UPSERT, batch({"id": 7, "embedding": [1, 2, 3]}), ["/chunks/17/id"]),
    "metadata that is a list": (
        "POST",
        UPSERT,
        batch({"embedding": [1, 2, 3], "metadata": []}),
        ["/chunks/17/metadata"],
    ),
    "metadata key with $": (
        "POST",
        UPSERT,
        batch({"embedding": [1, 2, 3], "metadata": {"$a": 1}}),
        ["/chunks/17/metadata/$a"],
    ),
    "metadata with lists of lists": (
        "POST",
        UPSERT,
        batch({"embedding": [1, 2, 3], "metadata": {"a": [[1]]}}),
        ["/chunks/17/metadata/a/0"],
    ),
    "no chunks": ("POST", UPSERT, {}, ["/chunks"]),
    "chunks that is no list": ("POST", UPSERT, {"chunks": {}}, ["/chunks"]),
    "unknown field of upsert": ("POST", UPSERT, {"chunks": [], "upsert": True}, ["/upsert"]),
    "create_documents that is no boolean": (
        "POST",
        UPSERT,
        {"chunks": [], "create_documents": "yes"},
        ["/create_documents"],
    ),
    "a body that is a list": ("POST", UPSERT, [], [""]),
    "a body that is null": ("POST", SEARCH, orjson.Fragment(b"null"), [""]),
    "unknown field of a chunk": ("POST", CHUNKS, {"embedding": [1, 2, 3], "vector": []}, ["/vector"]),
    "search without a query": ("POST", SEARCH, {}, [""]),
    "search of another dimension": ("POST", SEARCH, {"embedding": [1, 2]}, ["/embedding"]),
    "search for the zero vector": ("POST", SEARCH, {"embedding": [0, 0, 0]}, ["/embedding"]),
    "search by text without an embedder": ("POST", SEARCH, {"text": "x"}, ["/text"]),
    "k of 0": ("POST", SEARCH, {"embedding": [1, 0, 0], "k": 0}, ["/k"]),
    "k above the limit": ("POST", SEARCH, {"embedding": [1, 0, 0], "k": 10_001}, ["/k"]),
    "k that is true": ("POST", SEARCH, {"embedding": [1, 0, 0], "k": True}, ["/k"]),
    "unknown field of search": ("POST", SEARCH, {"embedding": [1, 0, 0], "top_k": 3}, ["/top_k"]),
    "unknown search parameter": (
        "POST",
        SEARCH,
        {"embedding": [1, 0, 0], "params": {"ef": 3}},
        ["/params/ef"],
    ),
    "unknown operator": (
        "POST",
        SEARCH,
        {"embedding": [1, 0, 0], "filter": {"n": {"$near": 1}}},
        ["/filter/n/$near"],
    ),
    "a range over text": (
        "POST",
        SEARCH,
        {"embedding": [1, 0, 0], "filter": {"n": {"$gt": "a"}}},
        ["/filter/n/$gt"],
    ),
    "unknown include": ("POST", SEARCH, {"embedding": [1, 0, 0], "include": ["vector"]}, ["/include/0"]),
    "a bad query in a batch": (
        "POST",
        f"{SEARCH}/batch",
        {"queries": [{"embedding": [1, 0, 0]}, {"embedding": [1]}]},
        ["/queries/1/embedding"],
    ),
    "batch without queries": ("POST", f"{SEARCH}/batch", {"query": []}, ["/query", "/queries"]),
    "delete with nothing": ("POST", f"{CHUNKS}/delete", {}, [""]),
    "delete with an empty filter": ("POST", f"{CHUNKS}/delete", {"filter": {}}, ["/filter"]),
    "delete with both": ("POST", f"{CHUNKS}/delete", {"ids": ["c-0"], "filter": {"n": 1}}, [""]),
    "library id": ("POST", "/v1/libraries", {"id": "a/b", "name": "x"}, ["/id"]),
    "library without a name": ("POST", "/v1/libraries", {}, ["/name"]),
    "unknown metric": ("POST", "/v1/libraries", {"name": "x", "metric": "cos"}, ["/metric"]),
    "dimension of 0": ("POST", "/v1/libraries", {"name": "x", "dimension": 0}, ["/dimension"]),
    "dimension above the limit": ("POST", "/v1/libraries", {"name": "x", "dimension": 8193}, ["/dimension"]),
    "unknown index type": (
        "POST",
        "/v1/libraries",
        {"name": "x", "index": {"type": "hsnw"}},
        ["/index/type"],
    ),
    "unknown index parameter": (
        "POST",
        "/v1/libraries",
        {"name": "x", "index": {"type": "numpy", "params": {"m": 1}}},
        ["/index/params/m"],
    ),
    "unknown field of a library": ("POST", "/v1/libraries", {"name": "x", "colour": 1}, ["/colour"]),
    "patch of a metric": ("PATCH", L, {"metric": "l2"}, ["/metric"]),
    "patch of a chunk's id": ("PATCH", f"{CHUNKS}/c-0", {"id": "z"}, ["/id"]),
    "patch that is no object": ("PATCH", f"{CHUNKS}/c-0", [1], [""]),
    "patch to another dimension": ("PATCH", f"{CHUNKS}/c-0", {"embedding": [1]}, ["/embedding"]),
    "unknown field of a document": ("POST", f"{L}/documents", {"name": "x"}, ["/name"]),
}


@pytest.mark.parametrize(("method", "path", "body", "pointers"), CASES.values(), ids=CASES)
def test_it_is_422_with_a_pointer_and_changes_nothing(
    glossary: Any, state_of: Callable[[], object], method: str, path: str, body: object, pointers: list[str]
) -> None:
    before = state_of()
    answer = glossary(method, path, body)
    assert answer.status == 422, answer.body
    assert answer.code == "validation_failed"
    assert answer.pointers == pointers
    assert all(fault["detail"] for fault in answer.json()["errors"])
    assert state_of() == before


def test_every_fault_is_listed(glossary: Any) -> None:
    rows = [
        {"id": "", "embedding": [1, 2, 3]},
        {"embedding": [1, 2, 3], "x": 1},
        {"embedding": [1, 2, 3], "metadata": 3},
    ]
    assert glossary("POST", UPSERT, {"chunks": rows}).pointers == [
        "/chunks/0/id",
        "/chunks/1/x",
        "/chunks/2/metadata",
    ]


RAW: dict[str, tuple[bytes, int, str, list[str]]] = {
    "nothing": (b"", 400, "malformed_json", [""]),
    "half": (b'{"embedding": [1, 2', 400, "malformed_json", [""]),
    "words": (b"hello", 400, "malformed_json", [""]),
    "two values": (b"{} {}", 400, "malformed_json", [""]),
    "trailing comma": (b'{"k": 1,}', 400, "malformed_json", [""]),
    "NaN": (b'{"embedding": [NaN, 1, 1]}', 400, "malformed_json", [""]),
    "Infinity": (b'{"embedding": [1, -Infinity, 1]}', 400, "malformed_json", [""]),
    "a number beyond double": (b'{"embedding": [1, 1e999, 1]}', 400, "malformed_json", [""]),
    "not UTF-8": (b'{"text": "\xff"}', 400, "malformed_json", [""]),
    "UTF-16": ('{"k": 1}'.encode("utf-16"), 400, "malformed_json", [""]),
    "byte order mark": (b"\xef\xbb\xbf{}", 400, "malformed_json", [""]),
    "lone surrogate": (b'{"text": "\\ud800"}', 422, "validation_failed", ["/text"]),
    "lone surrogates": (
        b'{"a": [1, "\\udc00"], "b~/": {"\\ud800": 1}}',
        422,
        "validation_failed",
        ["/a/1", "/b~0~1/\\ud800"],
    ),
    "too deep": (
        orjson.dumps({"embedding": [1, 0, 0], "filter": DEEP}),
        422,
        "validation_failed",
        ["/filter" + "/d" * 31],
    ),
    "far too deep": (b"[" * 5000 + b"]" * 5000, 422, "validation_failed", [""]),
}


@pytest.mark.parametrize(("raw", "status", "code", "pointers"), RAW.values(), ids=RAW)
@pytest.mark.parametrize(
    "path", [SEARCH, UPSERT, f"{SEARCH}/batch", CHUNKS, f"{L}/documents", f"{CHUNKS}/delete"]
)
def test_what_is_no_json_is_told_with_its_place(
    glossary: Any, path: str, raw: bytes, status: int, code: str, pointers: list[str]
) -> None:
    answer = glossary("POST", path, body=raw, headers={"content-type": "application/json"})
    assert (answer.status, answer.code) == (status, code)
    assert answer.pointers == pointers


def test_the_place_in_a_body_is_line_and_column(glossary: Any) -> None:
    answer = glossary("POST", SEARCH, body=b'{\n  "k": x\n}', headers={"content-type": "application/json"})
    assert "line 2, column 8 (character 9)" in answer.json()["detail"]


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1"]
)
@pytest.mark.parametrize(
    "path", [SEARCH, UPSERT, CHUNKS, "/v1/libraries", f"{CHUNKS}/bulk", "/v1/libraries/import"]
)
def test_another_media_type_is_415(glossary: Any, path: str, content_type: str) -> None:
    answer = glossary("POST", path, body=b'{"name": "x"}', headers={"content-type": content_type})
    assert (answer.status, answer.code) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    "content_type", ["", "application/json", "application/json; charset=utf-8", "Application/JSON"]
)
def test_json_is_taken_as_it_is_labelled(glossary: Any, content_type: str) -> None:
    answer = glossary(
        "POST", SEARCH, body=b'{"embedding": [1, 0, 0]}', headers={"content-type": content_type}
    )
    assert answer.status == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("POST", "/search"),
        ("POST", "/search/batch"),
        ("POST", "/chunks/upsert"),
        ("GET", "/chunks"),
        ("GET", "/chunks/x"),
        ("GET", "/documents"),
        ("POST", "/documents"),
        ("POST", "/index"),
        ("GET", "/index"),
        ("POST", "/snapshot"),
        ("GET", "/export"),
    ],
)
def test_an_unknown_library_is_404_everywhere(client: Any, method: str, path: str) -> None:
    bodies = {
        "/search": {"embedding": [1]},
        "/search/batch": {"queries": []},
        "/chunks/upsert": {"chunks": []},
    }
    body = bodies.get(path, {}) if method in {"POST", "PATCH"} else None
    answer = client(method, f"/v1/libraries/nobody{path}", body)
    assert (answer.status, answer.code) == (404, "library_not_found")


def test_an_unknown_query_parameter_is_refused_on_hot_routes_too(glossary: Any) -> None:
    for path in (SEARCH, UPSERT, f"{SEARCH}/batch"):
        answer = glossary("POST", f"{path}?k=3&verbose=1", {"embedding": [1, 0, 0]})
        assert answer.status == 422
        assert answer.json()["errors"][0]["in"] == "query"
