from __future__ import annotations

import json
import pickle
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest

import vdb_sdk

if TYPE_CHECKING:
    from pathlib import Path


def reply(status: int = 200, body: bytes = b"{}", **more: Any) -> dict[str, Any]:
    return {"status": status, "body": body, **more}


LIBRARY = (
    b'{"id": "a", "name": "a", "metric": "cosine", "dimension": null, "index": {"type": "brute", "params": {}},'
    b' "metadata": {}, "revision": 0, "created_at": "2026-01-02T03:04:05.678901Z",'
    b' "updated_at": "2026-01-02T03:04:05.678901Z"}'
)
SEARCHED = (
    b'{"hits": [], "index": {"type": "brute", "exact": true}, "revision": 1, "warnings": [], "took_ms": 0.1}'
)
KEY = "s3cret-key"
ODD_IDS = [
    "a/b",
    ".",
    "..",
    "%2F",
    "100%",
    "a b",
    "?q=1",
    "#",
    "é",
    "🦀" * 64,
    "x" * 256,
    "a\\b",
    "+",
    "\x7f\n",
]


@pytest.mark.parametrize("chunk_id", ODD_IDS)
def test_an_id_reaches_the_wire_as_one_segment(connect_any: Any, scripted: Any, chunk_id: str) -> None:
    scripted.answers = [reply(200, json.dumps({"id": chunk_id}).encode())]
    assert connect_any(scripted.url).library("lib").get(chunk_id).id == chunk_id
    path = scripted.received[0].target
    assert path.startswith("/v1/libraries/lib/chunks/")
    assert path.count("/") == 5
    assert unquote(path.rpartition("/")[2]) == chunk_id


def test_the_key_travels_and_is_never_shown(connect_any: Any, scripted: Any) -> None:
    client = connect_any(scripted.url, api_key=KEY, retries=0)
    scripted.answers = [reply(401, b'{"code": "unauthorized"}')]
    with pytest.raises(vdb_sdk.AuthenticationError) as caught:
        client.library("a").info()
    assert scripted.received[0].headers["authorization"] == f"Bearer {KEY}"
    scripted.answers = [reply(hang_up=True)]
    with pytest.raises(vdb_sdk.ConnectionFailed) as broken:
        client.library("a").info()
    shown = (client, client.library("a"), caught.value, broken.value, pickle.dumps(caught.value))
    assert all(KEY not in repr(item) for item in shown)
    assert scripted.url in repr(client)


@pytest.mark.parametrize("key", ["", "two words", "new\nline", "ключ"])
def test_a_key_that_cannot_be_a_header_is_refused_unseen(key: str) -> None:
    with pytest.raises(vdb_sdk.InvalidArgument) as caught:
        vdb_sdk.connect("http://127.0.0.1:1", api_key=key)
    assert not key or key not in str(caught.value)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("ftp://host/", "'ftp'"),
        ("http://", "URL such as"),
        ("http://host:99999", "port"),
        ("http://host:x", "port"),
        ("http://user:pass@host", "api_key"),
        ("http://host/?a=1", "without ? and #"),
        ("http://host/#a", "without ? and #"),
        ("", "empty string"),
        (7, "received int"),
    ],
)
def test_a_target_that_leads_nowhere_says_why(connect_any: Any, target: Any, words: str) -> None:
    with pytest.raises(vdb_sdk.InvalidArgument) as caught:
        connect_any(target)
    assert words in str(caught.value)
    assert "pass@" not in str(caught.value)


def test_a_key_without_a_server_and_a_timeout_without_sense_are_refused(connect_any: Any) -> None:
    with pytest.raises(vdb_sdk.InvalidArgument, match="no URL"):
        connect_any(api_key=KEY)
    with pytest.raises(vdb_sdk.InvalidArgument, match="above 0"):
        connect_any("http://127.0.0.1:1", timeout=0)


@pytest.mark.parametrize("suffix", ["/", "/v1", "/v1/"])
def test_the_url_may_end_in_any_usual_way(connect_any: Any, scripted: Any, suffix: str) -> None:
    scripted.answers = [reply(200, LIBRARY)]
    connect_any(f"{scripted.url}{suffix}").library("a").info()
    connect_any(f"{scripted.url}/under/a/prefix{suffix}").library("a").info()
    assert [seen.target for seen in scripted.received] == [
        "/v1/libraries/a",
        "/under/a/prefix/v1/libraries/a",
    ]


def test_an_answer_that_is_late_is_an_error_of_its_own(connect_any: Any, scripted: Any) -> None:
    scripted.answers = [reply(200, LIBRARY, delay_s=0.6)]
    with pytest.raises(vdb_sdk.TimeoutExceeded, match="larger timeout"):
        connect_any(scripted.url, timeout=0.2).library("a").info()
    assert len(scripted.received) == 1


@pytest.mark.parametrize(
    "body", [b"<html>", b"", b"[]", b"7", b'{"id": 1}', LIBRARY.replace(b"2026", b"soon"), b"\xff"]
)
def test_an_answer_from_something_else_is_recognised(connect_any: Any, scripted: Any, body: bytes) -> None:
    scripted.answers = [reply(200, body)]
    with pytest.raises(vdb_sdk.UnexpectedResponse):
        connect_any(scripted.url).library("a").info()


def test_a_redirect_does_not_carry_the_key_away(connect_any: Any, scripted: Any) -> None:
    scripted.answers = [reply(307, headers={"Location": "http://127.0.0.1:1/"})]
    with pytest.raises(vdb_sdk.UnexpectedResponse, match=r"127\.0\.0\.1:1"):
        connect_any(scripted.url, api_key=KEY).library("a").info()
    assert len(scripted.received) == 1


def test_a_proxy_of_the_environment_is_not_asked_for_loopback(
    connect_any: Any, scripted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    scripted.answers = [reply(200, LIBRARY)]
    assert connect_any(scripted.url).library("a").info().id == "a"


def test_an_export_is_written_whole_or_not_at_all(connect_any: Any, scripted: Any, tmp_path: Path) -> None:
    library = connect_any(scripted.url, retries=2).library("a")
    archive = bytes(range(256)) * 20_000
    scripted.answers = [reply(503, b"busy"), reply(200, archive[:3_000_000], cut=10), reply(200, archive)]
    target = library.export(tmp_path / "a.tar")
    assert target.read_bytes() == archive
    scripted.answers = [reply(404, b'{"code": "library_not_found"}')]
    with pytest.raises(vdb_sdk.NotFoundError):
        library.export(tmp_path / "b.tar")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]


def test_an_import_sends_the_file_as_it_is(connect_any: Any, scripted: Any, tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    archive.write_bytes(bytes(range(256)) * 20_000)
    scripted.answers = [reply(201, LIBRARY)]
    client = connect_any(scripted.url)
    assert client.import_library(archive, id="other").id == "a"
    (seen,) = scripted.received
    assert (seen.method, seen.target) == ("POST", "/v1/libraries/import?id=other")
    assert seen.headers["content-type"] == "application/x-tar"
    assert seen.body == archive.read_bytes()
    with pytest.raises(vdb_sdk.InvalidArgument, match="no file"):
        client.import_library(tmp_path / "missing.tar")


def test_a_closed_client_says_so(connect_any: Any, scripted: Any) -> None:
    client = connect_any(scripted.url)
    client.close()
    client.close()
    with pytest.raises(vdb_sdk.ClientClosed):
        client.library("a").info()


def test_a_search_of_an_older_or_newer_server_is_read(connect_any: Any, scripted: Any) -> None:
    answer = json.loads(SEARCHED)
    answer["hits"] = [{"id": "a", "score": 0.5, "distance": 0.5, "embedding": [1, 2], "new": 1}]
    answer["something_new"] = {}
    del answer["took_ms"]
    scripted.answers = [reply(200, json.dumps(answer).encode())]
    result = connect_any(scripted.url).library("a").search([1.0])
    assert (len(result), result[0].id, result.ids, result[:1]) == (1, "a", ["a"], result.hits)
    assert result[0].embedding.tolist() == [1.0, 2.0]
    assert result[0].text is None
    assert result[0].metadata == {}


def test_a_job_that_failed_raises_with_the_reason(connect_any: Any, scripted: Any) -> None:
    library = connect_any(scripted.url).library("a")
    job = {"id": "j", "library_id": "a", "kind": "build", "phase": "train", "progress": 0.5, "eta_s": 2.0}
    scripted.answers = [
        reply(202, b'{"job_id": "j"}'),
        reply(200, json.dumps({**job, "state": "running"}).encode()),
        reply(200, json.dumps({**job, "state": "failed", "error": "no memory"}).encode()),
    ]
    reports: list[vdb_sdk.Progress] = []
    with pytest.raises(vdb_sdk.JobFailed, match="no memory"):
        library.build_index("ivf_flat", progress=reports.append)
    assert [(report.phase, report.fraction, report.finished) for report in reports] == [
        ("train", 0.5, False),
        ("train", 0.5, True),
    ]
    assert json.loads(scripted.received[0].body) == {"type": "ivf_flat"}
    scripted.answers = [reply(200, json.dumps({**job, "state": "cancelled"}).encode())]
    with pytest.raises(vdb_sdk.JobCancelled):
        connect_any(scripted.url).job("j").wait()


def test_waiting_for_a_job_ends_in_time(connect_any: Any, scripted: Any) -> None:
    scripted.answers = [reply(200, b'{"id": "j", "state": "running", "progress": 0.25}')]
    job = connect_any(scripted.url).job("j")
    with pytest.raises(vdb_sdk.TimeoutExceeded, match="running at 25%"):
        job.wait(0.1)
    assert 2 <= len(scripted.received) < 30
