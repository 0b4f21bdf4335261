"""The ``vdb`` command as people run it: real processes, a real server, signals."""

from __future__ import annotations

import json
import signal
import socket
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import numpy as np
import pytest
from command_kit import install, python, serving, vdb

if TYPE_CHECKING:
    from pathlib import Path

HEAVY = (
    "numpy",
    "fastapi",
    "starlette",
    "uvicorn",
    "pydantic",
    "orjson",
    "httpx",
    "prometheus_client",
    "structlog",
    "vdb_core",
)


@pytest.fixture
def corpus(tmp_path: Path) -> tuple[Path, Path]:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(
        "".join(
            json.dumps({"id": f"r/{n}", "text": f"row {n}", "metadata": {"n": n}}) + "\n" for n in range(50)
        )
    )
    vectors = tmp_path / "rows.npy"
    np.save(vectors, np.random.default_rng(3).normal(size=(50, 4)).astype(np.float32))
    return rows, vectors


def test_help_and_version_import_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "from vdb_server.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        f"print('HEAVY', sorted(set({HEAVY!r}) & set(sys.modules)))\n"
    )
    for flag in ("--help", "--version"):
        done = python("-c", program, flag)
        assert done.returncode == 0, done.stderr
        assert "HEAVY []" in done.stdout


@pytest.mark.parametrize("command", ["serve", "plugins", "libraries", "import", "search", "snapshot"])
def test_every_command_has_help(command: str) -> None:
    done = vdb(command, "--help")
    assert done.returncode == 0
    assert "Usage" in done.stdout


def test_serving_imports_no_more_than_it_needs() -> None:
    """structlog takes rich along where it finds it, which is an eighth of what a start imports."""
    code = (
        "import sys; from vdb_server.cli import commands, main\n"
        "commands.app = lambda: print([one in sys.modules for one in ('structlog', 'rich', 'pygments')])\n"
        "sys.argv = ['vdb', 'serve']; main()\n"
        "import rich, structlog; print(structlog.dev.rich)"
    )
    done = python("-c", code)
    # Whoever else wants rich still gets it.
    assert done.stdout.splitlines() == ["[True, False, False]", "None"]


TYPE = """
from vdb_core.plugins import IndexType, hookimpl

def none(*a, **k):
    raise NotImplementedError

@hookimpl
def vdb_register_index_types():
    return [IndexType(name={name!r}, summary="x", build=none, load=none{more})]
"""


@pytest.fixture
def broken_plugins(tmp_path: Path) -> Path:
    site = tmp_path / "site"
    site.mkdir()
    install(site, "vdb-raises", "raise RuntimeError('cannot even import')")
    install(site, "vdb-exits", "raise SystemExit(3)")
    install(
        site,
        "vdb-rubbish",
        "from vdb_core.plugins import hookimpl\n@hookimpl\ndef vdb_register_index_types():\n    return [42]\n",
    )
    install(site, "vdb-taken", TYPE.format(name="numpy", more=""))
    install(site, "vdb-foreign", TYPE.format(name="foreign", more=", api_version=99"))
    install(
        site,
        "vdb-unknown",
        "from vdb_core.plugins import hookimpl\n@hookimpl\ndef vdb_register_teapots():\n    return []\n",
    )
    install(site, "vdb-fine", TYPE.format(name="fine", more=""))
    install(site, "vdb-off", "raise RuntimeError('imported although it is disabled')")
    return site


def test_broken_plugins_show_with_their_reason_and_the_server_serves_on(
    broken_plugins: Path, tmp_path: Path
) -> None:
    more = {"PYTHONPATH": str(broken_plugins), "VDB_PLUGINS_DISABLED": "vdb-off"}
    done = vdb("plugins", "--json", **more)
    assert done.returncode == 0, done.stderr
    found = {one["distribution"]: one for one in json.loads(done.stdout)}
    states = {
        name: one["state"]
        for name, one in found.items()
        if name.startswith("vdb-") and name not in {"vdb-core", "vdb-index-rust", "vdb-embedder-minilm"}
    }
    assert states == {
        "vdb-raises": "failed",
        "vdb-exits": "failed",
        "vdb-rubbish": "failed",
        "vdb-taken": "conflict",
        "vdb-foreign": "incompatible",
        "vdb-unknown": "failed",
        "vdb-fine": "loaded",
        "vdb-off": "disabled",
    }
    assert "cannot even import" in found["vdb-raises"]["reason"]
    assert "vdb-core" in found["vdb-taken"]["reason"]
    assert "99" in found["vdb-foreign"]["reason"]
    assert "vdb_register_teapots" in found["vdb-unknown"]["reason"]
    assert found["vdb-fine"]["provides"] == ["index_type:fine"]
    plain = vdb("plugins", **more)
    assert plain.returncode == 0
    assert any(line.startswith("vdb-raises\tvdb-raises\t1.0\tfailed\t") for line in plain.stdout.splitlines())
    with serving(tmp_path / "data", **more) as server:
        listed = {one["distribution"]: one["state"] for one in server.get("/v1/plugins")["items"]}
        assert {name: listed[name] for name in states} == states
        assert "fine" in {one["name"] for one in server.get("/v1/index-types")["items"]}
        assert server.get("/readyz")["ready"] is True
        code, log = server.stop()
        assert code == 0
        assert "vdb-raises" in log


def test_from_an_import_to_a_restart(corpus: tuple[Path, Path], tmp_path: Path) -> None:
    rows, vectors = corpus
    data = tmp_path / "data"
    with serving(data) as server:
        done = vdb(
            "import",
            "lib",
            rows,
            "--vectors",
            vectors,
            "--create",
            "--metric",
            "l2",
            "--batch-rows",
            20,
            "--build",
            "--url",
            server.url,
        )
        assert (done.returncode, done.stdout) == (0, "50 created, 0 updated\n"), done.stderr
        assert "importing into lib 100 %" in done.stderr
        again = vdb("import", "lib", rows, "--vectors", vectors, "--json", VDB_URL=server.url)
        assert json.loads(again.stdout) == {"created": 0, "updated": 50}
        listed = json.loads(vdb("libraries", "--json", "--url", server.url).stdout)
        assert [(one["id"], one["chunks"], one["metric"]) for one in listed] == [("lib", 50, "l2")]
        assert vdb("libraries", "--url", server.url).stdout.splitlines()[1].split("\t")[0] == "lib"
        query = ["search", "lib", "--embedding", json.dumps(np.load(vectors)[7].tolist()), "-k", 3, "--json"]
        first = json.loads(vdb(*query, "--filter", '{"n": {"$lt": 20}}', "--url", server.url).stdout)
        assert first["hits"][0]["id"] == "r/7"
        assert len(first["hits"]) == 3
        locked = vdb("libraries", "--data-dir", data)
        assert locked.returncode == 1
        assert "in use" in locked.stderr
        assert "Traceback" not in locked.stderr
        second = vdb("serve", "--port", 0, "--data-dir", data)
        assert second.returncode == 1
        assert "in use" in second.stderr
        assert second.stdout == ""
        assert vdb("snapshot", "--url", server.url).stdout == "1 written\n"
        assert server.stop()[0] == 0
    # The same commands on the directory, now that no server holds it.
    hits = json.loads(vdb(*query, "--data-dir", data).stdout)["hits"]
    assert hits[0]["id"] == "r/7"
    shown = json.loads(vdb("libraries", "lib", "--json", VDB_DATA_DIR=str(data)).stdout)
    assert (shown["chunks"], shown["index"]["state"]) == (50, "ready")
    with serving(data) as server:
        assert json.loads(vdb(*query, "--url", server.url).stdout)["hits"] == hits
        code, log = server.stop(signal.SIGINT)
        assert (code, log) == (0, "")


def test_acknowledged_writes_survive_kill_9(corpus: tuple[Path, Path], tmp_path: Path) -> None:
    rows, vectors = corpus
    with serving(tmp_path / "data") as server:
        assert (
            vdb("import", "lib", rows, "--vectors", vectors, "--create", "--url", server.url).returncode == 0
        )
        server.process.kill()
        server.process.wait()
    with serving(tmp_path / "data") as server:
        assert server.get("/v1/libraries/lib")["chunks"] == 50


def test_an_import_from_a_directory_and_an_archive(tmp_path: Path) -> None:
    texts = tmp_path / "texts.jsonl"
    texts.write_text(
        '{"id": "a", "document_id": "d", "embedding": [1, 2]}\n\n{"id": "b", "embedding": [2, 1]}\n'
    )
    data = tmp_path / "data"
    done = vdb("import", "lib", texts, "--create", "--create-documents", "--data-dir", data)
    assert (done.returncode, done.stdout) == (0, "2 created, 0 updated\n"), done.stderr
    with (
        serving(data) as server,
        urllib.request.urlopen(f"{server.url}/v1/libraries/lib/export", timeout=10) as answer,
    ):
        archive = tmp_path / "lib.tar"
        archive.write_bytes(answer.read())
    done = vdb("import", "copy", archive, "--data-dir", data)
    assert (done.returncode, done.stdout) == (0, "2 created, 0 updated\n"), done.stderr
    assert vdb("import", "copy", archive, "--create", "--data-dir", data).returncode == 2


BAD_COMMANDS: list[tuple[list[object], dict[str, str], int, str]] = [
    (["serve", "--host", "0.0.0.0"], {}, 2, "VDB_API_KEY"),
    (["serve", "--workers", "2"], {}, 2, "one process"),
    (["serve"], {"WEB_CONCURRENCY": "4"}, 2, "WEB_CONCURRENCY"),
    (["serve", "--port", "70000"], {}, 2, "--port"),
    (["serve"], {"VDB_PORT": "x"}, 2, "VDB_PORT"),
    (["serve"], {"VDB_READ_ONLY_API_KEY": "x"}, 2, "VDB_API_KEY"),
    (["serve", "--log-level", "loud"], {}, 2, "--log-level"),
    (["serve"], {"VDB_EMBEDDER": "nobody"}, 2, "VDB_EMBEDDER"),
    (["serve"], {"VDB_JOURNAL": "nobody"}, 1, "No journal named 'nobody'"),
    (["serve"], {"VDB_SNAPSHOT_STORE": "nobody"}, 1, "No snapshot store named 'nobody'"),
    (["serve"], {"VDB_JOURNAL_PARAMS": '{"durability": "os"}'}, 2, "VDB_JOURNAL_PARAMS: durability"),
    (["serve"], {"VDB_SNAPSHOT_STORE_PARAMS": '{"place": 1}'}, 2, "VDB_SNAPSHOT_STORE_PARAMS: place"),
    (["serve", "--data-dir", "/dev/null"], {}, 1, "/dev/null"),
    (["serve", "--data-dir", "/dev/null/below"], {}, 1, "/dev/null/below"),
    (["serve", "--host", "no-such-host.invalid", "--insecure"], {}, 1, "no-such-host.invalid"),
    (["libraries", "--url", "http://127.0.0.1:1"], {}, 1, "vdb serve"),
    (["libraries", "--url", "nonsense"], {}, 1, "nonsense"),
    (["libraries", "--url", "http://x", "--data-dir", "y"], {}, 2, "both"),
    (["libraries", "--data-dir", "/nowhere/at/all"], {}, 1, "no data directory"),
    (["search", "lib"], {}, 2, "--embedding"),
    (["search", "lib", "--embedding", "[1,"], {}, 2, "not JSON"),
    (["import", "lib", "/nowhere.jsonl"], {}, 2, "nowhere.jsonl"),
]


@pytest.mark.parametrize(("arguments", "more", "code", "word"), BAD_COMMANDS)
def test_what_cannot_be_done_is_said_without_a_traceback(
    arguments: list[object], more: dict[str, str], code: int, word: str, tmp_path: Path
) -> None:
    if arguments[0] == "serve" and "--data-dir" not in arguments:
        arguments = [*arguments, "--data-dir", tmp_path / "data"]
    if arguments[0] == "serve":
        more = {"VDB_PORT": "0", **more}
    done = vdb(*arguments, **more)
    assert done.returncode == code, done.stderr
    assert word in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()


def test_refused_rows_are_named(tmp_path: Path) -> None:
    data, file = tmp_path / "data", tmp_path / "rows.jsonl"
    file.write_text('{"embedding": [1, 2]}\n{"embedding": [1, 2]}\n{"embedding": [1]}\n{"embedding": 3}\n')
    done = vdb("import", "lib", file, "--create", "--batch-rows", 2, "--data-dir", data)
    assert done.returncode == 1
    assert "rows 2 to 3" in done.stderr
    assert "2 rows before them are in" in done.stderr
    assert "/chunks/0/embedding" in done.stderr
    assert "Traceback" not in done.stderr
    file.write_text("{}\n{oops\n")
    done = vdb("import", "lib", file, "--data-dir", data)
    assert done.returncode == 1
    assert "line 2" in done.stderr
    vectors = tmp_path / "v.npy"
    np.save(vectors, np.ones((3, 2)))
    assert "float64" in vdb("import", "lib", file, "--vectors", vectors, "--data-dir", data).stderr


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = vdb("serve", "--port", taken.getsockname()[1], "--data-dir", tmp_path / "data")
    assert done.returncode == 1
    assert "in use" in done.stderr


def test_a_key_is_asked_for_over_the_wire(tmp_path: Path) -> None:
    with serving(tmp_path / "data", VDB_API_KEY="k") as server:
        with pytest.raises(urllib.error.HTTPError) as refused:
            server.get("/v1/libraries")
        assert refused.value.code == 401
        refused.value.close()
        assert server.get("/v1/libraries", Authorization="Bearer k")["items"] == []
        assert vdb("libraries", "--url", server.url).returncode == 1
        assert vdb("libraries", "--url", server.url, VDB_API_KEY="k").returncode == 0


def test_bytes_that_are_no_request_end_one_connection_only(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as server:
        host, port = server.url.removeprefix("http://").split(":")
        for junk in (
            b"GET /v1/libraries/\xff\xfe HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
            b"\x16\x03\x01\x02\x00",
            b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: x\r\n\r\n",
        ):
            with socket.create_connection((host, int(port)), timeout=10) as connection:
                connection.sendall(junk)
                assert b"400" in connection.recv(100)
        # A body that never ends on a connection that just closes.
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(
                b"POST /v1/libraries HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99\r\n\r\n{"
            )
        assert server.get("/v1/libraries")["items"] == []
        code, log = server.stop()
        assert code == 0
        assert "Traceback" not in log


def test_raw_targets_over_the_wire(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as server:
        host, port = server.url.removeprefix("http://").split(":")

        def status(target: bytes) -> bytes:
            with socket.create_connection((host, int(port)), timeout=10) as connection:
                connection.sendall(
                    b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
                )
                return connection.recv(12)[-3:]

        assert status(b"/v1/libraries") == b"200"
        assert status(b"/v1/libraries/x/chunks/a%2Fb") == b"404"
        assert status(b"/v1/libraries/x/chunks/a/b") == b"404"
        assert status(b"/v1/libraries/x/chunks/..") == b"422"
        assert status(b"/v1/libraries/x/chunks/%2e%2e") == b"422"
        assert status(b"/v1/libraries/x/chunks/%") == b"400"
        assert status(b"/v1/libraries/..") == b"422"


def test_a_request_that_is_being_answered_is_answered_when_the_server_stops(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as server:
        host, port = server.url.removeprefix("http://").split(":")
        body = b'{"id": "late", "name": "x"}'
        head = f"POST /v1/libraries HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(head.encode() + body[:10])
            time.sleep(0.3)
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            connection.sendall(body[10:])
            assert b"201" in connection.recv(100)
        server.process.communicate(timeout=30)
        assert server.process.returncode == 0


def test_the_log_has_a_record_for_each_request_where_asked_for(tmp_path: Path) -> None:
    arguments = ("--log-level", "debug", "--log-format", "json")
    with serving(tmp_path / "data", *arguments, VDB_PLUGINS_DISABLED="nothing") as server:
        server.get("/v1/libraries", **{"X-Request-Id": "mine-1"})
        code, log = server.stop()
        assert code == 0
    records = [json.loads(line) for line in log.splitlines()]
    (request,) = [record for record in records if record["event"] == "request"]
    assert (request["method"], request["route"], request["status"]) == ("GET", "/v1/libraries", 200)
    assert request["request_id"] == "mine-1"
    assert request["level"] == "debug"
    with serving(tmp_path / "data", "--log-format", "console") as server:
        server.get("/v1/libraries")
        assert server.stop() == (0, "")
