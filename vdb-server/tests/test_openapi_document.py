"""The OpenAPI document: examples run as they stand, models say what the core accepts, nothing is undocumented."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from vdb_server.app import create_app
from vdb_server.chunks import schemas as chunks
from vdb_server.documents import schemas as documents
from vdb_server.indexing import schemas as indexing
from vdb_server.libraries import schemas as libraries
from vdb_server.openapi import REQUEST_MODELS
from vdb_server.search import schemas as search
from vdb_server.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pydantic import BaseModel

ORDER = ["/v1/libraries", "documents", "/chunks", "upsert", "index", "snapshot", "search"]


@pytest.fixture
def document(client: Any) -> dict[str, Any]:
    return client("GET", "/openapi.json").json()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def test_every_route_of_the_contract_is_there(document: dict[str, Any]) -> None:
    one, lib = "/v1/libraries/{library_id}", "/v1/libraries"
    expected = {
        lib: "post get",
        one: "get patch delete",
        f"{one}/documents": "post get",
        f"{one}/documents/{{document_id}}": "get patch delete",
        f"{one}/chunks": "post get",
        f"{one}/chunks/{{chunk_id}}": "get patch delete",
        f"{one}/chunks/upsert": "post",
        f"{one}/chunks/delete": "post",
        f"{one}/chunks/bulk": "post",
        f"{one}/snapshot": "post",
        f"{one}/export": "get",
        f"{lib}/import": "post",
        f"{one}/index": "post get",
        "/v1/jobs/{job_id}": "get delete",
        f"{one}/search": "post",
        f"{one}/search/batch": "post",
        "/v1/index-types": "get",
        "/v1/plugins": "get",
        "/healthz": "get",
        "/readyz": "get",
        "/metrics": "get",
    }
    assert {path: set(methods) for path, methods in document["paths"].items()} == {
        path: set(methods.split()) for path, methods in expected.items()
    }


def test_every_example_runs_as_it_stands(
    document: dict[str, Any], serve: Callable[..., Any], tmp_path: Any
) -> None:
    runnable: list[tuple[str, str, Any, str]] = []
    for method, path, operation in operations(document):
        content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        runnable += [
            (method, path, example["value"], name) for name, example in content.get("examples", {}).items()
        ]

    def place(item: tuple[str, str, Any, str]) -> tuple[int, int]:
        method, path, _, _ = item
        late = {"PATCH": 10, "DELETE": 20}.get(method, 0) + (15 if path.endswith("/delete") else 0)
        created = [path.endswith(end) for end in ("/libraries", "/documents", "/chunks", "/upsert")]
        return late, created.index(True) if True in created else len(created)

    values = {"library_id": "glossary", "document_id": "book-1", "chunk_id": "c-1"}
    assert len(runnable) >= 14
    with serve(data_dir=tmp_path / "data") as client:
        for method, path, body, name in sorted(runnable, key=place):
            target = path.format(**values)
            answer = client(method, target, body)
            assert 200 <= answer.status < 300, (method, target, name, answer.body)
            if path.endswith("/search"):
                assert answer.json()["hits"], name


def test_every_operation_tells_its_errors(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        assert operation["summary"], path
        assert operation["tags"], path
        assert operation["description"], path
        problems = {
            status: response
            for status, response in operation["responses"].items()
            if status >= "4" and status != "503"
        }
        assert "default" in operation["responses"]
        for response in problems.values():
            assert response["content"]["application/problem+json"]["schema"] == {
                "$ref": "#/components/schemas/ProblemView"
            }
        if "requestBody" in operation:
            assert {"400", "413", "415", "422"} <= set(problems), (method, path)
        if "{library_id}" in path:
            assert {"404", "422"} <= set(problems), (method, path)
        if method in {"PATCH", "DELETE"} and "jobs" not in path:
            assert "412" in problems, (method, path)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    import orjson

    text = orjson.dumps(document).decode()
    named = set(re.findall(r'"#/components/schemas/([A-Za-z0-9_]+)"', text))
    defined = set(document["components"]["schemas"])
    assert named <= defined
    assert defined - named <= {"HTTPValidationError"}
    assert "HTTPValidationError" not in defined


def test_security_is_described(document: dict[str, Any]) -> None:
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    for _, path, operation in operations(document):
        assert ("security" in operation) == (path not in {"/healthz", "/readyz"})


def fields(model: type[BaseModel]) -> set[str]:
    return set(model.model_fields)


STEPS: list[tuple[type[BaseModel], str, str, Callable[[dict[str, Any]], Any], str]] = [
    (libraries.LibraryCreate, "POST", "/v1/libraries", lambda x: {"name": "n", **x}, ""),
    (libraries.LibraryPatch, "PATCH", "/v1/libraries/glossary", lambda x: x, ""),
    (documents.DocumentCreate, "POST", "/v1/libraries/glossary/documents", lambda x: x, ""),
    (documents.DocumentPatch, "PATCH", "/v1/libraries/glossary/documents/book", lambda x: x, ""),
    (chunks.ChunkRow, "POST", "/v1/libraries/glossary/chunks", lambda x: {"embedding": [1, 1, 1], **x}, ""),
    (
        chunks.ChunkRow,
        "POST",
        "/v1/libraries/glossary/chunks/upsert",
        lambda x: {"chunks": [{"embedding": [1, 1, 1], **x}]},
        "/chunks/0",
    ),
    (chunks.ChunkPatch, "PATCH", "/v1/libraries/glossary/chunks/c-0", lambda x: x, ""),
    (chunks.ChunksUpsert, "POST", "/v1/libraries/glossary/chunks/upsert", lambda x: {"chunks": [], **x}, ""),
    (chunks.ChunksDelete, "POST", "/v1/libraries/glossary/chunks/delete", lambda x: {"ids": [], **x}, ""),
    (
        search.SearchQuery,
        "POST",
        "/v1/libraries/glossary/search",
        lambda x: {"embedding": [1, 1, 1], **x},
        "",
    ),
    (
        search.SearchQuery,
        "POST",
        "/v1/libraries/glossary/search/batch",
        lambda x: {"queries": [{"embedding": [1, 1, 1], **x}]},
        "/queries/0",
    ),
    (search.BatchQuery, "POST", "/v1/libraries/glossary/search/batch", lambda x: {"queries": [], **x}, ""),
    (indexing.IndexBuild, "POST", "/v1/libraries/glossary/index", lambda x: x, ""),
]


@pytest.mark.parametrize(("model", "method", "path", "around", "at"), STEPS)
def test_models_name_exactly_the_fields_that_are_accepted(
    glossary: Any,
    model: type[BaseModel],
    method: str,
    path: str,
    around: Callable[[dict[str, Any]], Any],
    at: str,
) -> None:
    refused = glossary(method, path, around({"no_such_field": 1}))
    assert refused.status == 422
    fault = refused.json()["errors"][0]
    assert fault["pointer"] == f"{at}/no_such_field"
    told = set(fault["detail"].partition("known: ")[2].split(", "))
    # `wait` is the server's own word; the core, which lists what it knows, has no such field.
    assert told == fields(model) - {"wait"}


def test_models_of_requests_refuse_what_they_do_not_name() -> None:
    assert all(model.model_config.get("extra") == "forbid" for model in REQUEST_MODELS)


def test_answers_are_what_their_models_say(glossary: Any) -> None:
    base = "/v1/libraries/glossary"
    job = glossary("POST", f"{base}/index", {"wait": True}).json()
    pairs: list[tuple[type[BaseModel], Any]] = [
        (libraries.LibraryView, glossary("GET", base).json()),
        (libraries.LibraryPage, glossary("GET", "/v1/libraries").json()),
        (documents.DocumentPage, glossary("GET", f"{base}/documents").json()),
        (chunks.ChunkPage, glossary("GET", f"{base}/chunks?include=embedding").json()),
        (
            search.SearchAnswerView,
            glossary("POST", f"{base}/search", {"embedding": [1, 0, 0], "explain": True}).json(),
        ),
        (indexing.JobView, job),
        (indexing.IndexStatusView, glossary("GET", f"{base}/index").json()),
    ]
    for model, value in pairs:
        read = model.model_validate(value)
        extra = set(value) - fields(model)
        assert extra <= {"bytes_by_part", "details"}, (model, extra)
        assert read.model_dump()


def test_the_document_is_made_once() -> None:
    app = create_app(Settings())
    assert app.openapi() is app.openapi()


def test_no_request_takes_a_thread_beside_those_of_the_server(
    glossary: Any, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """FastAPI calls plain functions in threads of its own, which cost each request a hop and come and go."""
    taken: list[object] = []

    async def refuse(function: object, *_: object, **__: object) -> object:
        taken.append(function)
        raise AssertionError(function)

    monkeypatch.setattr("anyio.to_thread.run_sync", refuse)
    for method, path, _ in operations(document):
        known = (
            path.replace("{library_id}", "glossary").replace("{document_id}", "d").replace("{chunk_id}", "a")
        )
        glossary(method, known.replace("{job_id}", "none"), None if method == "GET" else {})
    assert taken == []
