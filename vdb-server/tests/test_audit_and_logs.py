"""The audit log of deletes, and the log as programs read it."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

import pytest
from pydantic import SecretStr

from vdb_server.logging import AUDIT_LOGGER, REQUEST_ID, configure_logging, get_logger
from vdb_server.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

L = "/v1/libraries/glossary"


@pytest.fixture
def configured(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., list[dict[str, Any]]]]:
    """Sets logging up as the command does; calling it gives the lines that were written since."""
    root = logging.getLogger()
    before = root.handlers[:], root.level

    def lines(**settings: Any) -> list[dict[str, Any]]:
        if settings:
            configure_logging(Settings(**settings))
        return [json.loads(line) for line in capsys.readouterr().err.splitlines()]

    yield lines
    root.handlers[:], root.level = before
    for name in (AUDIT_LOGGER, "uvicorn", "python_multipart"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def test_every_delete_has_a_line_that_says_who_what_and_how_many(
    glossary: Any, configured: Callable[..., list[dict[str, Any]]]
) -> None:
    # Whatever else is not worth a line, this is.
    configured(log_format="json", log_level="error")
    many = [f"c-{number}" for number in range(2, 60)]
    asked = [
        ("DELETE", f"{L}/chunks/c-0", None),
        ("POST", f"{L}/chunks/delete", {"ids": many}),
        ("POST", f"{L}/chunks/delete", {"filter": {"n": {"$lt": 0}}}),
        ("DELETE", f"{L}/documents/book", None),
        ("DELETE", L, None),
    ]
    for number, (method, path, body) in enumerate(asked):
        answer = glossary(method, path, body, headers={"x-request-id": f"r-{number}"})
        assert answer.status in {200, 204}
    written = configured()
    shared = {
        "event": "deleted",
        "level": "info",
        "logger": AUDIT_LOGGER,
        "library_id": "glossary",
        "key": "none",
        "client": "127.0.0.1",
    }
    told = [{key: value for key, value in line.items() if key not in shared} for line in written]
    assert all(shared.items() <= line.items() for line in written)
    assert all(line.pop("timestamp").endswith("Z") for line in told)
    assert told == [
        {"what": "chunk", "id": "c-0", "deleted": 1, "request_id": "r-0"},
        {"what": "chunks", "ids": many[:20], "ids_given": 58, "deleted": 2, "request_id": "r-1"},
        {"what": "chunks", "filter": '{"n":{"$lt":0}}', "deleted": 0, "request_id": "r-2"},
        {"what": "document", "id": "book", "deleted": 1, "request_id": "r-3"},
        {"what": "library", "deleted": 0, "request_id": "r-4"},
    ]


def test_a_delete_that_did_not_happen_has_no_line(
    glossary: Any, configured: Callable[..., list[dict[str, Any]]]
) -> None:
    configured(log_format="json")
    for method, path, body in (
        ("DELETE", f"{L}/chunks/none", None),
        ("DELETE", f"{L}/documents/none", None),
        ("DELETE", "/v1/libraries/none", None),
        ("POST", f"{L}/chunks/delete", {}),
        ("POST", f"{L}/chunks/delete", {"filter": {}}),
    ):
        assert glossary(method, path, body).status in {404, 422}
    assert glossary("DELETE", L, headers={"if-match": '"99"'}).status == 412
    assert [line for line in configured() if line["logger"] == AUDIT_LOGGER] == []


def test_a_delete_that_is_sent_again_under_its_key_has_one_line(
    glossary: Any, configured: Callable[..., list[dict[str, Any]]]
) -> None:
    configured(log_format="json")
    for number in range(3):
        headers = {"idempotency-key": '"k"', "x-request-id": f"r-{number}"}
        answer = glossary("POST", f"{L}/chunks/delete", {"ids": ["c-0"]}, headers=headers)
        assert (answer.status, answer.json()["deleted"]) == (200, 1)
    (line,) = [line for line in configured() if line["logger"] == AUDIT_LOGGER]
    assert (line["request_id"], line["deleted"]) == ("r-0", 1)


def test_the_line_names_the_key_and_never_its_text(
    serve: Callable[..., Any], configured: Callable[..., list[dict[str, Any]]]
) -> None:
    configured(log_format="json", log_level="debug")
    settings = Settings(api_key=SecretStr("the-secret"), read_only_api_key=SecretStr("the-other"))
    with serve(settings) as client:
        write, read = ({"authorization": f"Bearer {key}"} for key in ("the-secret", "the-other"))
        assert client("POST", "/v1/libraries", {"id": "a", "name": "A"}, headers=write).status == 201
        assert client("DELETE", "/v1/libraries/a", headers=read).status == 403
        assert client("DELETE", "/v1/libraries/a", headers=write).status == 204
    written = configured()
    (line,) = [line for line in written if line["logger"] == AUDIT_LOGGER]
    assert line["key"] == "api_key"
    assert "the-secret" not in str(written)
    assert "the-other" not in str(written)


def test_lines_of_a_request_carry_its_id_also_from_other_threads(
    client: Any, configured: Callable[..., list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    configured(log_format="json", log_level="debug")

    def get(*_: object) -> Any:
        logging.getLogger("vdb_core.somewhere").warning("deep inside of %s", "a thread")
        raise RuntimeError("a bug")

    monkeypatch.setattr("vdb_core.services.libraries.LibraryService.get", get)
    assert client("GET", "/v1/libraries/a", headers={"x-request-id": "mine"}).status == 500
    inside, failed, request = [line for line in configured() if line.get("request_id") == "mine"]
    assert (inside["event"], inside["logger"]) == ("deep inside of a thread", "vdb_core.somewhere")
    assert (failed["event"], failed["level"]) == ("unexpected error", "error")
    assert "RuntimeError: a bug" in failed["exception"]
    assert (request["event"], request["status"]) == ("request", 500)
    assert REQUEST_ID.get() is None


def test_hostile_text_stays_within_its_line(configured: Callable[..., list[dict[str, Any]]]) -> None:
    configured(log_format="json")
    get_logger("x").warning("deleted", library_id='a"}\n{"event":"forged"}', filter="\x1b[2J")
    (line,) = configured()
    assert line["library_id"] == 'a"}\n{"event":"forged"}'
    assert line["event"] == "deleted"


def test_a_server_logs_json_lines_and_nothing_else(tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VDB_")}
    command = [
        sys.executable,
        "-m",
        "vdb_server",
        "serve",
        "--port",
        "0",
        "--data-dir",
        str(tmp_path / "data"),
    ]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**kept, "VDB_LOG_LEVEL": "debug"},
    ) as server:
        assert server.stdout is not None
        url = server.stdout.readline().split()[-1]
        for method, path, body in (
            ("POST", "/v1/libraries", b'{"id": "a", "name": "A"}'),
            ("POST", "/v1/libraries/a/search", b'{"embedding": [1]}'),
            ("DELETE", "/v1/libraries/a", None),
        ):
            headers = {
                "content-type": "application/json",
                "x-request-id": f"id-of-{method}-{path.count('/')}",
            }
            with urlopen(Request(url + path, body, headers, method=method), timeout=10) as answer:
                assert answer.headers["x-request-id"] == headers["x-request-id"]
        server.terminate()
        _, errors = server.communicate(timeout=30)
    lines = [json.loads(line) for line in errors.splitlines()]
    assert {"id-of-POST-2", "id-of-POST-4", "id-of-DELETE-3"} <= {line.get("request_id") for line in lines}
    assert [line["what"] for line in lines if line["logger"] == AUDIT_LOGGER] == ["library"]
    assert all({"event", "level", "logger", "timestamp"} <= line.keys() for line in lines)
