"""The image does what its page says: not open, not root, nothing lost, ends when it is asked to."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from containers import docker, inspect

if TYPE_CHECKING:
    from pathlib import Path

MOST_BYTES = 250_000_000
LIBRARY = {"id": "notes", "name": "Notes", "dimension": 3}
ROWS = "/v1/libraries/notes/chunks/upsert"
SEARCH = "/v1/libraries/notes/search"
LOCKED_DOWN = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")


def chunk(number: int) -> dict[str, Any]:
    return {"id": f"c-{number}", "text": f"note {number}", "embedding": [1.0, number / 1000, 0.0]}


def found(container: Any, k: int = 10) -> list[str]:
    status, answer = container.call("POST", SEARCH, {"embedding": [1, 0, 0], "k": k})
    assert status == 200, answer
    return [hit["id"] for hit in answer["hits"]]


def test_the_image_is_small(image: str) -> None:
    size = inspect(image)["Size"]
    print(f"{size / 1e6:.0f} MB")
    assert size < MOST_BYTES


def test_the_image_says_what_it_is(image: str) -> None:
    config = inspect(image)["Config"]
    assert config["User"] == "10001:10001"
    assert list(config["Volumes"]) == ["/app/data"]
    assert list(config["ExposedPorts"]) == ["8000/tcp"]
    assert (config["Entrypoint"], config["Cmd"]) == (["vdb"], ["serve"])
    assert config["StopSignal"] == "SIGTERM"
    assert config["Healthcheck"]["Test"][0] == "CMD"
    labels = {
        name.removeprefix("org.opencontainers.image."): value for name, value in config["Labels"].items()
    }
    assert labels["title"] == "vdb"
    assert labels["licenses"] == "Apache-2.0"
    assert labels["version"] in docker("run", "--rm", image, "--version").stdout
    assert not [
        value for value in config["Env"] if "API_KEY=" in value and not value.endswith("MAKE_API_KEY=true")
    ]


def test_no_compiler_no_sources_no_cache_and_the_plugins_are_there(image: str) -> None:
    script = "command -v gcc cargo rustc uv; ls -d /src /wheels /root/.cache /opt/tools 2>/dev/null; true"
    assert docker("run", "--rm", "--entrypoint", "sh", image, "-c", script).stdout == ""
    reports = json.loads(docker("run", "--rm", image, "plugins", "--json").stdout)
    assert {one["state"] for one in reports} == {"loaded"}
    assert "index_type ivf_pq" in str(reports) or "ivf_pq" in str(reports)


def test_a_plain_run_makes_a_key_and_is_not_open(run: Any, volume: str) -> None:
    container = run("--volume", f"{volume}:/app/data", key=None)
    made = re.search(r"^ {4}([A-Za-z0-9_-]{43})$", container.logs, re.MULTILINE)
    assert made is not None, container.logs
    assert "/app/data/_api_key" in container.logs
    assert container.call("GET", "/v1/libraries")[0] == 401
    assert container.call("POST", "/v1/libraries", LIBRARY)[0] == 401
    assert container.call("GET", "/v1/libraries", key="x" * 43)[0] == 401
    assert container.call("POST", "/v1/libraries", LIBRARY, key=made[1])[0] == 201
    # A restart, and a new container on the same volume, lock nobody out and do not show the key again.
    docker("restart", container.id)
    container.ready()
    assert container.call("GET", "/v1/libraries/notes", key=made[1])[0] == 200
    assert container.logs.count(made[1]) == 1
    container.remove()
    other = run("--volume", f"{volume}:/app/data", key=None)
    assert other.call("GET", "/v1/libraries/notes", key=made[1])[0] == 200
    assert made[1] not in other.logs
    assert other.exec("cat", "/app/data/_api_key").stdout.strip() == made[1]
    assert other.exec("stat", "--format", "%a %u", "/app/data/_api_key").stdout.split() == ["600", "10001"]


def test_a_key_may_come_as_a_secret(run: Any, tmp_path: Path) -> None:
    secret = tmp_path / "key"
    secret.write_text("from-a-file\n")
    secret.chmod(0o444)
    container = run(
        "--volume", f"{secret}:/run/secrets/key:ro", "--env", "VDB_API_KEY_FILE=/run/secrets/key", key=None
    )
    assert container.call("GET", "/v1/libraries")[0] == 401
    assert container.call("GET", "/v1/libraries", key="from-a-file")[0] == 200
    assert "from-a-file" not in container.logs


def test_it_runs_locked_down_and_not_as_root(run: Any) -> None:
    container = run(*LOCKED_DOWN)
    assert container.exec("id", "-u").stdout.strip() == "10001"
    status = container.exec("cat", "/proc/1/status").stdout
    assert re.search(r"(?m)^CapEff:\s+0+$", status), status
    assert "Uid:\t10001" in status
    for path in ("/here", "/app/here", "/opt/vdb/here", "/etc/here"):
        assert container.exec("touch", path, check=False).returncode != 0, path
    assert container.call("POST", "/v1/libraries", LIBRARY)[0] == 201
    assert container.call("POST", ROWS, {"chunks": [chunk(n) for n in range(50)]})[0] == 200
    assert found(container, 3) == ["c-0", "c-1", "c-2"]
    assert (
        container.call("POST", "/v1/libraries/notes/index", {"type": "ivf_flat", "params": {"n_lists": 4}})[0]
        == 202
    )


def test_data_survives_docker_kill(run: Any, volume: str) -> None:
    mount = ("--volume", f"{volume}:/app/data")
    container = run(*mount)
    assert container.call("POST", "/v1/libraries", LIBRARY)[0] == 201
    acknowledged: list[str] = []

    def write() -> None:
        for number in range(100_000):
            try:
                if container.call("POST", ROWS, {"chunks": [chunk(number)]}, timeout=5)[0] != 200:
                    return
            except (OSError, AssertionError, ValueError):
                return
            acknowledged.append(f"c-{number}")

    writer = threading.Thread(target=write)
    writer.start()
    while len(acknowledged) < 50:
        time.sleep(0.01)
    docker("kill", container.id)
    writer.join()
    assert container.state()["ExitCode"] == 137
    # The same container again, then another one on the same volume.
    docker("start", container.id)
    container.ready()
    assert set(acknowledged) <= set(found(container, 10_000))
    container.remove()
    other = run(*mount)
    assert set(acknowledged) <= set(found(other, 10_000))
    print(f"{len(acknowledged)} acknowledged writes before the kill, all there after it")


def test_sigterm_lets_requests_end(run: Any, volume: str) -> None:
    container = run("--volume", f"{volume}:/app/data")
    assert container.call("POST", "/v1/libraries", LIBRARY)[0] == 201
    body = json.dumps({"chunks": [chunk(n) for n in range(20)]}).encode()
    address = urlsplit(container.url)
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        head = (
            f"POST {ROWS} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer the-key\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        connection.sendall(head.encode() + body[:100])
        time.sleep(0.5)
        stopping = threading.Thread(target=docker, args=("stop", "--time", "30", container.id))
        stopping.start()
        time.sleep(1.0)
        # It takes no new work while it waits for what has begun.
        with pytest.raises((OSError, AssertionError)):
            container.call("GET", "/healthz", timeout=2)
        connection.sendall(body[100:])
        answer = connection.recv(65_536)
        assert answer.startswith(b"HTTP/1.1 200"), answer
    started = time.monotonic()
    stopping.join()
    assert time.monotonic() - started < 10
    state = container.state()
    assert (state["ExitCode"], state["OOMKilled"]) == (0, False)
    docker("start", container.id)
    assert len(found(container.ready(), 100)) == 20


def test_the_health_check_tells(run: Any) -> None:
    container = run()
    deadline = time.monotonic() + 60
    while container.state()["Health"]["Status"] != "healthy":
        assert time.monotonic() < deadline, container.state()["Health"]
        time.sleep(0.5)
    check = ("python", "-I", "/app/healthcheck.py")
    assert container.exec(*check).returncode == 0
    dead = docker("exec", "--env", "VDB_PORT=9", container.id, *check, check=False)
    assert (dead.returncode, "no answer on port 9" in dead.stdout) == (1, True)


def test_a_full_volume_is_507_and_reads_go_on(run: Any) -> None:
    container = run("--tmpfs", "/app/data:size=12m,uid=10001,mode=0700")
    assert container.call("POST", "/v1/libraries", {**LIBRARY, "dimension": 256})[0] == 201
    rows = [{"id": f"first-{n}", "embedding": [float(n + 1)] * 256} for n in range(10)]
    assert container.call("POST", ROWS, {"chunks": rows})[0] == 200
    for number in range(200):
        many = [{"id": f"{number}-{n}", "embedding": [1.0] * 256, "text": "x" * 1000} for n in range(200)]
        status, answer = container.call("POST", ROWS, {"chunks": many})
        if status != 200:
            break
    assert (status, answer["code"]) == (507, "storage_full"), answer
    assert "/app" not in answer["detail"]
    status, answer = container.call("POST", SEARCH, {"embedding": [1.0] * 256, "k": 10})
    assert (status, len(answer["hits"])) == (200, 10)
    assert container.call("GET", "/readyz")[0] == 200


def test_the_command_works_beside_the_server(run: Any) -> None:
    container = run()
    assert container.call("POST", "/v1/libraries", LIBRARY)[0] == 201
    told = container.exec("vdb", "search", "notes", "--embedding", "[1,0,0]", "--json")
    assert json.loads(told.stdout)["hits"] == []
