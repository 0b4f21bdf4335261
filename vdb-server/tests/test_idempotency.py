"""``Idempotency-Key``: sent again under its key, a write answers the same and is not done again; also after a crash."""

from __future__ import annotations

import asyncio
import io
import json
import sqlite3
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest
from archive_kit import TAR
from command_kit import serving as server_process

from vdb_core.plugins import PluginManager
from vdb_core.services import EngineSettings, open_services
from vdb_server.app import create_app
from vdb_server.embedded import open_embedded
from vdb_server.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KEY = {"idempotency-key": '"8e03978e-40d5-43dd-bc93-6894a57f9324"'}
JSON = {"content-type": "application/json"}
BASE = "/v1/libraries/glossary"


def form(boundary: str) -> tuple[bytes, dict[str, str]]:
    matrix = io.BytesIO()
    np.save(matrix, np.ones((2, 3), dtype=np.float32))
    parts = {"vectors": matrix.getvalue(), "chunks": b'{"id": "bulk-1"}\n{}\n'}
    body = b"".join(
        b'--%b\r\nContent-Disposition: form-data; name="%b"; filename="x"\r\n\r\n%b\r\n'
        % (boundary.encode(), name.encode(), content)
        for name, content in parts.items()
    )
    return body + b"--" + boundary.encode() + b"--\r\n", {
        "content-type": f"multipart/form-data; boundary={boundary}"
    }


Route = tuple[str, str, Any, dict[str, str]]
ROUTES: dict[str, Route] = {
    "create a library": ("POST", "/v1/libraries", {"name": "No id"}, {}),
    "rename a library": ("PATCH", BASE, {"name": "Other", "metadata": {"a": 1}}, {}),
    "rename on condition": ("PATCH", BASE, {"name": "Other"}, {"if-match": '"3"'}),
    "delete a library": ("DELETE", BASE, None, {}),
    "create a document": ("POST", f"{BASE}/documents", {"metadata": {"a": 1}}, {}),
    "change a document": ("PATCH", f"{BASE}/documents/book", {"metadata": {"a": 1}}, {}),
    "delete a document": ("DELETE", f"{BASE}/documents/book", None, {}),
    "create a chunk": ("POST", f"{BASE}/chunks", {"embedding": [0.1, 0.2, 0.3], "text": "t"}, {}),
    "change a chunk": ("PATCH", f"{BASE}/chunks/c-1", {"text": "new"}, {}),
    "change its embedding": ("PATCH", f"{BASE}/chunks/c-1", {"embedding": [3, 4, 5]}, {}),
    "delete a chunk": ("DELETE", f"{BASE}/chunks/c-1", None, {}),
    "upsert": (
        "POST",
        f"{BASE}/chunks/upsert",
        {"chunks": [{"embedding": [1, 2, 3]}, {"embedding": [1, 2, 4]}]},
        {},
    ),
    "upsert nothing": ("POST", f"{BASE}/chunks/upsert", {"chunks": []}, {}),
    "bulk": ("POST", f"{BASE}/chunks/bulk", *form("edge")),
    "delete by ids": ("POST", f"{BASE}/chunks/delete", {"ids": ["c-1", "c-2"]}, {}),
    "delete by filter": ("POST", f"{BASE}/chunks/delete", {"filter": {"n": {"$gte": 2}}}, {}),
    "delete nothing": ("POST", f"{BASE}/chunks/delete", {"ids": ["nobody"]}, {}),
    "import": ("POST", "/v1/libraries/import?id=copy", "archive", TAR),
    "build": ("POST", f"{BASE}/index", {"type": "numpy"}, {}),
    "build without a body": ("POST", f"{BASE}/index", None, {}),
}


def send(client: Any, route: Route, **headers: str) -> Any:
    method, target, body, more = route
    if body == "archive":
        body = client("GET", f"{BASE}/export").body
    if isinstance(body, bytes):
        return client(method, target, body=body, headers=more | headers)
    return client(method, target, body, headers=more | headers)


def everything(client: Any) -> list[bytes]:
    """All that can be seen of the libraries."""
    ids = [one["id"] for one in client("GET", "/v1/libraries").json()["items"]]
    paths = ("", "/documents", "/chunks?include=embedding")
    return [client("GET", f"/v1/libraries/{one}{path}").body for one in ids for path in paths]


def same(first: Any, again: Any) -> None:
    """The second answer is the first one, and says so."""
    assert 200 <= first.status < 300, first.body
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert (again.status, again.body) == (first.status, first.body)
    for name in ("etag", "location", "content-type"):
        assert again.headers.get(name) == first.headers.get(name)


@pytest.mark.parametrize("route", ROUTES.values(), ids=ROUTES)
def test_a_repeated_write_is_answered_and_not_done_again(glossary: Any, route: Route) -> None:
    archived = route if route[2] != "archive" else (*route[:2], glossary("GET", f"{BASE}/export").body, TAR)
    first = send(glossary, archived, **KEY)
    after = everything(glossary)
    same(first, send(glossary, archived, **KEY))
    # Without the quotes it is the same key.
    same(first, send(glossary, archived, **{"idempotency-key": KEY["idempotency-key"].strip('"')}))
    assert everything(glossary) == after


@pytest.mark.parametrize("name", sorted(ROUTES.keys() - {"import", "build", "build without a body"}))
def test_what_is_answered_under_a_key_is_what_is_answered_without(
    serve: Callable[..., Any], name: str
) -> None:
    """The remembered answer is made before the write is visible; the other one was compared with what is read."""
    told: list[Any] = []
    for headers in ({}, KEY):
        with serve() as client:
            prepare_small(client)
            answer = send(client, ROUTES[name], **headers)
            told.append((answer.status, shape(answer.body)))
            entity = json.loads(answer.body or b"{}")
            if "id" in entity and answer.status < 300:
                where = answer.headers.get("location") or ROUTES[name][1]
                assert client("GET", where).body == answer.body
    assert told[0] == told[1]


def shape(body: bytes) -> Any:
    """A body without what differs from one time to the next."""
    if not body:
        return None
    changing = {"id", "ids", "created_at", "updated_at"}
    return {key: value for key, value in json.loads(body).items() if key not in changing}


def prepare_small(client: Any) -> None:
    client("POST", "/v1/libraries", {"id": "glossary", "name": "Glossary", "dimension": 3})
    client("POST", f"{BASE}/documents", {"id": "book", "metadata": {"year": 2024}})
    rows = [{"id": f"c-{n}", "embedding": [n + 1, 1, 0], "metadata": {"n": n}} for n in range(4)]
    client("POST", f"{BASE}/chunks/upsert", {"chunks": rows})


def test_a_form_made_anew_with_another_boundary_is_the_same_request(glossary: Any) -> None:
    first = send(glossary, ("POST", f"{BASE}/chunks/bulk", *form("one")), **KEY)
    same(first, send(glossary, ("POST", f"{BASE}/chunks/bulk", *form("another")), **KEY))


UPSERT: Route = ("POST", f"{BASE}/chunks/upsert", {"chunks": [{"id": "a", "embedding": [1, 2, 3]}]}, {})
OTHERS: dict[str, Route] = {
    "another body": ("POST", f"{BASE}/chunks/upsert", {"chunks": [{"id": "a", "embedding": [1, 2, 4]}]}, {}),
    "another route": ("POST", f"{BASE}/chunks", {"chunks": [{"id": "a", "embedding": [1, 2, 3]}]}, {}),
    "another library": ("POST", "/v1/libraries/other/chunks/upsert", UPSERT[2], {}),
    "a delete": ("DELETE", f"{BASE}/chunks/c-1", None, {}),
    "a job": ("POST", f"{BASE}/index", {}, {}),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_a_key_that_comes_with_another_request_is_a_422(glossary: Any, other: Route) -> None:
    assert send(glossary, UPSERT, **KEY).status == 200
    before = everything(glossary)
    answer = send(glossary, other, **KEY)
    assert (answer.status, answer.code) == (422, "idempotency_key_reused")
    assert everything(glossary) == before


def test_another_condition_is_another_request(glossary: Any) -> None:
    revision = glossary("GET", BASE).headers["etag"]
    assert send(glossary, ("PATCH", BASE, {"name": "x"}, {"if-match": revision}), **KEY).status == 200
    assert (
        send(glossary, ("PATCH", BASE, {"name": "x"}, {"if-match": '"1"'}), **KEY).code
        == "idempotency_key_reused"
    )
    assert send(glossary, ("PATCH", BASE, {"name": "x"}, {}), **KEY).code == "idempotency_key_reused"


def test_what_was_refused_is_tried_afresh(glossary: Any) -> None:
    create = ("POST", f"{BASE}/chunks", {"id": "c-0", "embedding": [1, 2, 3]}, {})
    assert send(glossary, create, **KEY).code == "already_exists"
    assert send(glossary, ("POST", f"{BASE}/chunks", {"id": 3}, {}), **KEY).status == 422
    glossary("DELETE", f"{BASE}/chunks/c-0")
    same(send(glossary, create, **KEY), send(glossary, create, **KEY))


@pytest.mark.parametrize(
    "value",
    [
        "",
        '""',
        '"',
        '"a',
        'a"',
        "a b",
        '"ä"',
        "a,b",
        '"a", "b"',
        '"a\x7f"',
        "x" * 256,
        '"' + "x" * 256 + '"',
        "a;b=1",
    ],
)
def test_a_key_that_is_none_is_a_422_that_points_at_the_header(glossary: Any, value: str) -> None:
    for route in (UPSERT, ROUTES["create a document"], ROUTES["build"]):
        method, target, body, _ = route
        sent = glossary(method, target, body, headers={"idempotency-key": value} if value else {})
        if not value:  # the client of these tests leaves empty headers out
            assert sent.status < 300
            continue
        assert (sent.status, sent.code, sent.pointers) == (422, "validation_failed", ["/Idempotency-Key"])
        assert sent.json()["errors"][0]["in"] == "header"


def test_escapes_in_a_key_are_read(glossary: Any) -> None:
    first = send(glossary, UPSERT, **{"idempotency-key": '"a\\"b\\\\c"'})
    same(first, send(glossary, UPSERT, **{"idempotency-key": '"a\\"b\\\\c"'}))
    assert "idempotent-replayed" not in send(glossary, UPSERT, **{"idempotency-key": '"a\\"b\\\\d"'}).headers


def test_reads_take_no_notice_of_a_key(glossary: Any) -> None:
    for _ in range(2):
        found = glossary("POST", f"{BASE}/search", {"embedding": [1, 0, 0]}, headers=KEY)
        assert (found.status, found.headers.get("idempotent-replayed")) == (200, None)
    assert send(glossary, UPSERT, **KEY).status == 200


@pytest.fixture
def held(client_of: Any) -> Iterator[tuple[Any, threading.Event, threading.Event]]:
    """A client whose engine's committer waits for an event; the second one says that it does."""
    plugins = PluginManager(entry_points=lambda: ())
    plugins.load()
    chosen = Settings()
    with open_services(chosen.engine(in_memory=True), plugins=plugins) as services:
        client = client_of(create_app(chosen, services))
        go, waits = threading.Event(), threading.Event()

        def wait() -> None:
            waits.set()
            assert go.wait(30)

        prepare_small(client)
        held_call = services._engine.committer.call(wait)
        waits.wait(10)
        try:
            yield client, go, waits
        finally:
            go.set()
            held_call.result(10)
            client.close()


def test_a_write_that_is_being_made_is_a_409(held: Any) -> None:
    client, go, _ = held
    answers: list[Any] = []
    first = threading.Thread(target=lambda: answers.append(send(client, UPSERT, **KEY)))
    first.start()
    deadline = time.monotonic() + 10
    while True:
        # Until the first is in, this one may be the first: then it is the one that waits.
        second = _impatient(client)
        if second is not None or time.monotonic() > deadline:
            break
    assert second is not None
    assert (second.status, second.code) == (409, "idempotency_key_in_use")
    assert second.headers["retry-after"] == "1"
    go.set()
    first.join(10)
    same(answers[0], send(client, UPSERT, **KEY))


def _impatient(client: Any) -> Any:
    time.sleep(0.2)
    return send(client, UPSERT, **KEY)


def test_a_client_that_goes_away_takes_nothing_back(held: Any) -> None:
    client, go, _ = held
    content = orjson.dumps(UPSERT[2])

    async def leave() -> None:
        call = asyncio.ensure_future(
            client._call(
                "POST",
                UPSERT[1],
                {"host": "127.0.0.1:8000", "content-length": str(len(content)), **JSON, **KEY},
                [content],
            )
        )
        await asyncio.sleep(0.3)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run_coroutine_threadsafe(leave(), client.loop).result(30)
    assert send(client, UPSERT, **KEY).code == "idempotency_key_in_use"
    go.set()
    deadline = time.monotonic() + 10
    while (answer := send(client, UPSERT, **KEY)).status == 409:
        assert time.monotonic() < deadline
    assert answer.headers["idempotent-replayed"] == "true"
    assert client("GET", f"{BASE}/chunks/a").status == 200


def test_answers_are_remembered_for_so_long_and_so_many(client_of: Any, tmp_path: Path) -> None:
    def upsert(client: Any, number: int) -> Any:
        return send(client, UPSERT, **{"idempotency-key": f'"{number}"'})

    def open_with(**more: Any) -> Any:
        return open_services(EngineSettings(data_dir=tmp_path / "data", **more), plugins=plugins)

    plugins = PluginManager(entry_points=lambda: ())
    plugins.load()
    with open_with(idempotency_max_keys=300) as services:
        client = client_of(create_app(Settings(), services))
        prepare_small(client)
        for number in range(1000):
            assert upsert(client, number).status == 200
        assert len(services.answers) == 300
        assert "idempotent-replayed" in upsert(client, 700).headers
        assert "idempotent-replayed" not in upsert(client, 699).headers
        client.close()
    # The journal forgets what is forgotten, some hundreds later.
    with closing(sqlite3.connect(tmp_path / "data" / "_journal.sqlite3")) as connection:
        (entries,) = connection.execute(
            "SELECT count(*) FROM entries WHERE library_id = '_answers'"
        ).fetchone()
    assert 300 <= entries < 300 + 2 * 256 + 64
    with open_with(idempotency_max_bytes=10_000) as services:
        assert 1 <= len(services.answers) < 20
    with open_with(idempotency_lifetime_s=0.001) as services:
        client = client_of(create_app(Settings(), services))
        assert "idempotent-replayed" not in upsert(client, 999).headers
        time.sleep(0.01)
        assert "idempotent-replayed" not in upsert(client, 999).headers
        client.close()


def test_answers_survive_kill_9_snapshots_and_the_library_itself(tmp_path: Path) -> None:
    keyed = {name: {"idempotency-key": f'"{name}"'} for name in ("upsert", "create", "drop", "import")}
    rows = {"chunks": [{"embedding": [n, 1, 1]} for n in range(5)]}
    with server_process(tmp_path / "data") as server:
        prepare_small(server)
        first = server("POST", f"{BASE}/chunks/upsert", rows, headers=keyed["upsert"])
        made = server("POST", f"{BASE}/documents", {"metadata": {"x": 1.5}}, headers=keyed["create"])
        for _ in range(3):
            # Two generations are kept and the journal is trimmed behind the older: nothing of these writes is left there.
            assert server("POST", f"{BASE}/snapshot", {"wait": True}).status == 200
            server("PATCH", BASE, {"metadata": {"again": True}})
        archive = server("GET", f"{BASE}/export").body
        copied = server("POST", "/v1/libraries/import?id=copy", archive, headers=TAR | keyed["import"])
        dropped = server("DELETE", "/v1/libraries/copy", headers=keyed["drop"])
        assert (first.status, made.status, copied.status, dropped.status) == (200, 201, 201, 204)
        server.process.kill()
        server.process.wait()
    for _ in range(2):
        with server_process(tmp_path / "data") as server:
            before = everything(server)
            same(first, server("POST", f"{BASE}/chunks/upsert", rows, headers=keyed["upsert"]))
            same(made, server("POST", f"{BASE}/documents", {"metadata": {"x": 1.5}}, headers=keyed["create"]))
            same(
                copied, server("POST", "/v1/libraries/import?id=copy", archive, headers=TAR | keyed["import"])
            )
            same(dropped, server("DELETE", "/v1/libraries/copy", headers=keyed["drop"]))
            other = server("DELETE", BASE, headers=keyed["drop"])
            assert (other.status, other.json()["code"]) == (422, "idempotency_key_reused")
            assert everything(server) == before
            server.process.kill()
            server.process.wait()


def test_answers_that_cannot_be_read_hinder_nobody(tmp_path: Path) -> None:
    with server_process(tmp_path / "data") as server:
        prepare_small(server)
        assert server("POST", f"{BASE}/documents", {"metadata": {}}, headers=KEY).status == 201
    with closing(sqlite3.connect(tmp_path / "data" / "_journal.sqlite3")) as connection:
        connection.execute("UPDATE entries SET operation = x'00' WHERE library_id = '_answers'")
        connection.commit()
    for replayed in (None, "true"):
        with server_process(tmp_path / "data") as server:
            assert server.get(BASE)["chunks"] == 4
            made = server("POST", f"{BASE}/documents", {"id": "later"}, headers=KEY)
            assert (made.status, made.headers.get("idempotent-replayed")) == (201, replayed)
            assert server.stop()[0] == 0


def test_the_embedded_server_does_the_same(tmp_path: Path) -> None:
    content = json.dumps({"chunks": [{"embedding": [1, 2]}]}).encode()
    with open_embedded(tmp_path / "data") as server:
        server.request("POST", "/v1/libraries", JSON, b'{"id": "a", "name": "a"}')
        first = server.request("POST", "/v1/libraries/a/chunks/upsert", JSON | KEY, content)
        assert first.status == 200
        same(first, server.request("POST", "/v1/libraries/a/chunks/upsert", JSON | KEY, content))
    with open_embedded(tmp_path / "data") as server:
        same(first, server.request("POST", "/v1/libraries/a/chunks/upsert", JSON | KEY, content))
        other = server.request("POST", "/v1/libraries/a/chunks/upsert", JSON | KEY, content + b" ")
        assert json.loads(other.body)["code"] == "idempotency_key_reused"
        assert len(json.loads(server.request("GET", "/v1/libraries/a/chunks", {}, b"").body)["items"]) == 1
