"""What happens when something inside fails: the answer tells no secrets, the log tells all."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from vdb_core import errors as core
from vdb_server.errors import STATUS_OF, Problem, problem_of, status_of

if TYPE_CHECKING:
    from collections.abc import Iterator


def leaves(base: type[core.VdbError] = core.VdbError) -> Iterator[type[core.VdbError]]:
    yield base
    for child in base.__subclasses__():
        yield from leaves(child)


EXPECTED = {
    "validation_failed": 422,
    "library_not_found": 404,
    "document_not_found": 404,
    "chunk_not_found": 404,
    "job_not_found": 404,
    "already_exists": 409,
    "build_in_progress": 409,
    "revision_mismatch": 412,
    "write_queue_full": 503,
    "engine_closed": 503,
    "storage_failed": 503,
    "storage_broken": 503,
    "storage_read_only": 503,
    "write_uncertain": 500,
    "storage_full": 507,
    "plugin_error": 500,
    "plugin_incompatible": 500,
    "format_unsupported": 500,
    "snapshot_damaged": 500,
}


def test_every_error_of_the_core_has_a_status() -> None:
    found = {kind.code: kind for kind in leaves() if kind.__module__ == "vdb_core.errors"}
    assert set(EXPECTED) <= set(found)
    for code, status in EXPECTED.items():
        instance = found[code].__new__(found[code])
        assert status_of(instance) == status, code
    assert set(STATUS_OF) <= set(found.values())


def test_a_full_queue_says_when_to_come_back() -> None:
    problem = problem_of(core.WriteQueueFull("full", retry_after=2.6))
    assert (problem.status, problem.headers["retry-after"]) == (503, "3")
    assert problem_of(core.EngineClosed("closed")).headers["retry-after"] == "1"


def test_nobody_is_asked_to_come_back_to_a_database_that_is_read_only() -> None:
    """A client that repeats a write by itself must not: of one that is uncertain least of all."""
    for kind in (core.StorageReadOnly, core.StorageBroken, core.WriteUncertain):
        assert "retry-after" not in problem_of(kind("the disk")).headers
    assert problem_of(core.StorageFailed("busy")).headers["retry-after"] == "1"


def test_a_running_build_is_named() -> None:
    problem = problem_of(core.BuildInProgress("busy", job_id="j-1"))
    assert b'"job_id":"j-1"' in problem.to_bytes()


def test_a_problem_survives_text_that_is_no_utf8() -> None:
    problem = Problem(
        status=problem_of(core.NotFound("x")).status,
        code="c",
        detail="\ud800",
        faults=[core.Fault("/\udfff", "d")],
    )
    assert rb"\\ud800" in problem.to_bytes()


@pytest.mark.parametrize("path", ["/v1/libraries/a", "/v1/plugins"])
def test_a_bug_is_a_500_that_leaks_nothing_and_is_logged(
    client: Any, path: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> object:
        raise RuntimeError("the secret of the house")

    monkeypatch.setattr("vdb_core.services.libraries.LibraryService.get", fail)
    monkeypatch.setattr("vdb_core.plugins.PluginManager.reports", fail)
    with caplog.at_level(logging.ERROR):
        answer = client("GET", path)
    assert (answer.status, answer.code) == (500, "internal_error")
    assert b"secret" not in answer.body
    request_id = answer.json()["request_id"]
    assert request_id == answer.headers["x-request-id"]
    record = next(record for record in caplog.records if record.levelno == logging.ERROR)
    assert request_id in str(record.msg)
    assert client("GET", "/healthz").status == 200


def test_a_bug_on_a_hot_route_is_the_same(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> object:
        raise KeyError("the secret of the house")

    monkeypatch.setattr("vdb_core.services.queries.QueryService.search_text", fail)
    answer = client("POST", "/v1/libraries/a/search", {"embedding": [1]})
    assert (answer.status, answer.code) == (500, "internal_error")
    assert b"secret" not in answer.body


def test_an_operators_error_is_told_and_logged(
    client: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object, **__: object) -> object:
        raise core.StorageFull("no room on the disk")

    monkeypatch.setattr("vdb_core.services.libraries.LibraryService.create", full)
    with caplog.at_level(logging.ERROR):
        answer = client("POST", "/v1/libraries", {"name": "x"})
    assert (answer.status, answer.code) == (507, "storage_full")
    assert caplog.records
    assert client("GET", "/v1/libraries").status == 200


def test_a_client_that_goes_away_is_no_error(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    for path in ("/v1/libraries", "/v1/libraries/a/search", "/v1/libraries/a/chunks/bulk"):
        headers = {
            "content-type": "multipart/form-data; boundary=x" if path.endswith("bulk") else "application/json"
        }
        start = b"--x\r\nContent-Dis" if path.endswith("bulk") else b'{"name":'
        answer = client("POST", path, pieces=[start], headers=headers, disconnect=True)
        assert answer.status == 0
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert client("GET", "/v1/libraries").json()["items"] == []


def test_waiting_is_left_to_a_thread(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    from vdb_core.services import QueryService, WouldBlock

    client("POST", "/v1/libraries", {"id": "a", "name": "A"})
    client("POST", "/v1/libraries/a/chunks", {"id": "x", "embedding": [1]})
    real = QueryService.search
    calls: list[tuple[bool, str]] = []

    def at_once(self: Any, library_id: str, text: bytes, parse: Any, *, wait: bool = True) -> Any:
        calls.append((wait, threading.current_thread().name))
        raise WouldBlock("busy")

    def search(self: Any, library_id: str, query: Any, *, wait: bool = True) -> Any:
        calls.append((wait, threading.current_thread().name))
        return real(self, library_id, query)

    monkeypatch.setattr(QueryService, "search_text", at_once)
    monkeypatch.setattr(QueryService, "search", search)
    assert client("POST", "/v1/libraries/a/search", {"embedding": [1]}).json()["hits"][0]["id"] == "x"
    assert [wait for wait, _ in calls] == [False, True]
    assert calls[0][1] != calls[1][1]
