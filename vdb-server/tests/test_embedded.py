"""The embedded server: the same answers as over the wire, from any thread, with or without an event loop."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from vdb_core.errors import DataDirectoryLocked
from vdb_server.embedded import EmbeddedServer, open_embedded

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

JSON = {"content-type": "application/json"}
L = "/v1/libraries/a"


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    with open_embedded(None) as made:
        assert made.request("POST", "/v1/libraries", JSON, b'{"id": "a", "name": "A"}').status == 201
        rows = b'{"chunks": [{"id": "x/y", "embedding": [1, 0], "metadata": {"n": 1}}, {"id": "z", "embedding": [0, 1]}]}'
        assert made.request("POST", f"{L}/chunks/upsert", JSON, rows).status == 200
        yield made


CALLS: list[tuple[str, str, dict[str, str], bytes]] = [
    ("GET", L, {}, b""),
    ("GET", f"{L}/chunks/x%2Fy", {}, b""),
    ("GET", f"{L}/chunks/none", {}, b""),
    ("GET", f"{L}/chunks?limit=1", {}, b""),
    ("GET", f"{L}/chunks?limt=1", {}, b""),
    ("GET", "/nowhere", {}, b""),
    ("PUT", L, {}, b""),
    ("POST", f"{L}/search", JSON, b'{"embedding": [1, 0]}'),
    ("POST", f"{L}/search", JSON, b'{"embedding": [1, 0], "filter": {"n": 1}, "include": []}'),
    ("POST", f"{L}/search", JSON, b'{"embedding": [1]}'),
    ("POST", f"{L}/search", JSON, b'{"embedding": [1, '),
    ("POST", f"{L}/search", {"content-type": "text/plain"}, b"{}"),
    ("POST", f"{L}/search?x=1", JSON, b"{}"),
    ("POST", "/v1/libraries/none/search", JSON, b'{"embedding": [1, 0]}'),
    ("POST", "/v1/libraries/-/search", JSON, b"{}"),
    ("POST", f"{L}/search/batch", JSON, b'{"queries": [{"embedding": [1, 0]}]}'),
    ("POST", f"{L}/search/batch", JSON, b'{"queries": 1}'),
    ("POST", f"{L}/chunks/upsert", JSON, b'{"chunks": [{"id": "w", "embedding": [1, 1, 1]}]}'),
    ("POST", f"{L}/chunks/upsert", JSON, b'{"chunks": []}'),
    ("POST", f"{L}/chunks/bulk", {"content-type": "multipart/form-data; boundary=x"}, b"--x--"),
    (
        "POST",
        f"{L}/chunks/bulk?create_documents=2",
        {"content-type": "multipart/form-data; boundary=x"},
        b"--x--",
    ),
]


def seen(status: int, headers: Any, body: bytes) -> object:
    content = orjson.loads(body) if "json" in headers.get("content-type", "") else body
    for item in (content, *content.get("results", ())) if isinstance(content, dict) else ():
        item.pop("took_ms", None)
    kept = ("content-type", "etag", "location", "allow", "retry-after")
    return status, {name: headers[name] for name in kept if name in headers}, content


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call[0]} {call[1]} {call[3][:30]!r}")
def test_it_answers_as_the_application_does(
    server: EmbeddedServer, call: tuple[str, str, dict[str, str], bytes]
) -> None:
    direct = server.request(*call)
    through_the_app = asyncio.run_coroutine_threadsafe(
        server._runner.call(*call), server._runner.loop
    ).result(10)
    awaited = asyncio.run(server.request_async(*call))
    expected = seen(through_the_app.status, through_the_app.headers, through_the_app.body)
    assert seen(direct.status, direct.headers, direct.body) == expected
    assert seen(awaited.status, awaited.headers, awaited.body) == expected


def test_it_answers_within_a_running_loop(server: EmbeddedServer) -> None:
    async def main() -> list[int]:
        # A blocking call from a coroutine: it must not wait for this very loop.
        first = server.request("GET", L, {}, b"").status
        rest = await asyncio.gather(
            *(server.request_async("GET", f"{L}/chunks/z", {}, b"") for _ in range(20))
        )
        return [first, *(answer.status for answer in rest)]

    assert asyncio.run(main()) == [200] * 21


def test_it_answers_many_threads(server: EmbeddedServer) -> None:
    failures: list[object] = []

    def work(number: int) -> None:
        for turn in range(20):
            body = orjson.dumps({"chunks": [{"id": f"{number}-{turn}", "embedding": [number + 1, turn]}]})
            if server.request("POST", f"{L}/chunks/upsert", JSON, body).status != 200:
                failures.append(body)
            if server.request("GET", f"{L}/chunks/{number}-{turn}", {}, b"").status != 200:
                failures.append(turn)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert orjson.loads(server.request("GET", L, {}, b"").body)["chunks"] == 122


def test_what_was_written_is_there_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "data"
    with open_embedded(path) as server:
        server.request("POST", "/v1/libraries", JSON, b'{"id": "a", "name": "A"}')
        server.request("POST", f"{L}/chunks", JSON, b'{"id": "x", "embedding": [3, 4]}')
        with pytest.raises(DataDirectoryLocked):
            open_embedded(path)
    with open_embedded(path) as server:
        assert orjson.loads(server.request("GET", f"{L}/chunks/x", {}, b"").body)["embedding"] == [3, 4]


def test_it_closes_once_and_for_all(tmp_path: Path) -> None:
    server = open_embedded(tmp_path)
    server.close()
    server.close()
    for call in (("GET", L, {}, b""), ("POST", f"{L}/search", JSON, b"{}")):
        answer = server.request(*call)
        assert answer.status == 503
        assert b"engine_closed" in answer.body
        assert asyncio.run(server.request_async(*call)).status == 503
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("vdb-embedded")]


def test_a_forgotten_server_does_not_hold_the_interpreter(tmp_path: Path) -> None:
    import subprocess
    import sys

    program = (
        "from pathlib import Path; from vdb_server.embedded import open_embedded\n"
        f"server = open_embedded(Path({str(tmp_path)!r}))\n"
        'print(server.request(\'POST\', \'/v1/libraries\', {}, b\'{"id": "a", "name": "A"}\').status)\n'
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.stdout.strip(), done.returncode, done.stderr) == ("201", 0, "")
    with open_embedded(tmp_path) as server:
        assert server.request("GET", L, {}, b"").status == 200


def test_keys_and_hosts_mean_nothing_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VDB_API_KEY", "secret")
    with open_embedded(None) as server:
        assert server.request("GET", "/v1/libraries", {"origin": "https://evil.example"}, b"").status == 200


def test_a_bug_is_a_500_here_too(server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> object:
        raise RuntimeError("the secret")

    monkeypatch.setattr("vdb_core.services.queries.QueryService.search_text", fail)
    answer = server.request("POST", f"{L}/search", JSON, b'{"embedding": [1, 0]}')
    assert answer.status == 500
    assert b"internal_error" in answer.body
    assert b"secret" not in answer.body
