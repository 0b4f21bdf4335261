"""A disk that is really full: writes are 507 and leave nothing, reads go on, and room makes writes work again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

if TYPE_CHECKING:
    from collections.abc import Iterator

BYTES = 24 << 20
OTHER_BYTES = 14 << 20
"""What something else has taken, and gives back: more than the journal's log, which has to be copied before it shrinks."""
ROWS = "/v1/libraries/a/chunks/upsert"


def can_mount(tmp_path: Path) -> bool:
    """Whether this user may mount a small file system of its own, in a namespace that ends with the process."""
    if shutil.which("unshare") is None:
        return False
    mount = [
        "unshare",
        "--user",
        "--map-root-user",
        "--mount",
        "mount",
        "-t",
        "tmpfs",
        "tmpfs",
        str(tmp_path),
    ]
    return subprocess.run(mount, capture_output=True, check=False).returncode == 0


@contextmanager
def small_disk(data: Path, *, mounted: bool) -> Iterator[tuple[str, Path]]:
    """A server whose data directory is a small disk; where none can be mounted, files that cannot grow further.

    Gives its URL, and the data directory as the server sees it.
    """
    data.mkdir()
    serve = [sys.executable, "-m", "vdb_server", "serve", "--port", "0", "--data-dir", str(data)]
    if mounted:
        script = f'mount -t tmpfs -o size={BYTES} tmpfs "$0" && exec "$@"'
        serve = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, str(data), *serve]

    else:
        serve = ["sh", "-c", f'ulimit -f {BYTES // 512} && exec "$@"', "sh", *serve]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VDB_")}
    with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True, env=kept) as process:
        assert process.stdout is not None
        try:
            url = process.stdout.readline().split()[-1]
            yield url, Path(f"/proc/{process.pid}/root{data}") if mounted else data
        finally:
            process.terminate()
            process.wait(30)


def call(url: str, method: str, path: str, body: object = None) -> tuple[int, Any]:
    content = None if body is None else json.dumps(body).encode()
    request = Request(url + path, content, {"content-type": "application/json"}, method=method)
    try:
        with urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def rows(group: int) -> dict[str, Any]:
    return {
        "chunks": [{"id": f"{group}-{at}", "embedding": [1.0] * 64, "text": "x" * 2_000} for at in range(100)]
    }


def test_a_full_disk_stops_writes_and_nothing_else(tmp_path: Path) -> None:
    mounted = can_mount(tmp_path)
    with small_disk(tmp_path / "data", mounted=mounted) as (url, data):
        (data / "_other").write_bytes(bytes(OTHER_BYTES))
        assert call(url, "POST", "/v1/libraries", {"id": "a", "name": "A", "dimension": 64})[0] == 201
        written = 0
        while (status := (answer := call(url, "POST", ROWS, rows(written)))[0]) == 200:
            written += 1
            assert written < 500
        problem = answer[1]
        # A file that may not grow is a failure of the storage, after which it is read-only; a full disk is told as such.
        assert (status, problem["code"]) == (507, "storage_full") if mounted else status in {500, 503}
        assert str(tmp_path) not in json.dumps(problem)
        assert written > 3

        def check_reads() -> None:
            status, found = call(url, "POST", "/v1/libraries/a/search", {"embedding": [1.0] * 64, "k": 10})
            assert (status, len(found["hits"])) == (200, 10)
            assert call(url, "GET", f"/v1/libraries/a/chunks/{written}-0")[0] == 404
            assert call(url, "GET", f"/v1/libraries/a/chunks/{written - 1}-99")[0] == 200
            assert call(url, "GET", "/v1/libraries/a")[1]["chunks"] == 100 * written

        check_reads()
        for _ in range(3):
            assert call(url, "POST", ROWS, rows(written))[0] == (507 if mounted else 503)
        check_reads()
        with urlopen(f"{url}/metrics", timeout=10) as answered:
            assert f'status="{507 if mounted else 503}"}} {4 if mounted else 3}.0' in answered.read().decode()
        if mounted:
            (data / "_other").unlink()
            # What waits for room in the background (the journal's checkpoint, a fold) may take it first for a moment.
            deadline = time.monotonic() + 20
            while call(url, "POST", ROWS, rows(written))[0] != 200:
                assert time.monotonic() < deadline, "there is room, and nothing is written"
                time.sleep(0.2)
            written += 1
        check_reads()
