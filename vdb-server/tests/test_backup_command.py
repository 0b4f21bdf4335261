"""``vdb backup``, ``restore`` and ``export``: of a running server and of a directory, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from typing import TYPE_CHECKING, Any

import pytest
from archive_kit import answers, fill
from command_kit import Server, serving, vdb, vdb_here

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEYS = {"VDB_API_KEY": "writes", "VDB_READ_ONLY_API_KEY": "reads"}


class With:
    """A client that sends a key."""

    def __init__(self, server: Server, key: str) -> None:
        self._server, self._headers = server, {"authorization": f"Bearer {key}"}

    def __call__(self, method: str, path: str, body: object = None) -> Any:
        return self._server(method, path, body, headers=self._headers)


def write_batches(client: Any, stop: threading.Event) -> None:
    """Write batches of ten rows that all carry the number of their batch, each over the one before."""
    number = 0
    while not stop.is_set():
        number += 1
        rows = [{"id": f"c{n}", "embedding": [number, 1], "metadata": {"batch": number}} for n in range(10)]
        assert client("POST", "/v1/libraries/busy/chunks/upsert", {"chunks": rows}).status == 200


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """A backup of a server that was written to meanwhile, and what its quiet library answered."""
    tmp_path = tmp_path_factory.mktemp("backup")
    destination = tmp_path / "saved"
    with serving(tmp_path / "data", **KEYS) as server:
        client = With(server, "writes")
        fill(client, "cosine")
        assert client("POST", "/v1/libraries", {"id": "busy", "name": "B", "metric": "l2"}).status == 201
        assert client("POST", "/v1/libraries", {"id": "none.tar", "name": "Empty"}).status == 201
        assert client("POST", "/v1/libraries/words/snapshot", {"wait": True}).status == 200
        before = [one for one in answers(client) if one[0] != "/v1/libraries"]
        stop = threading.Event()
        writer = threading.Thread(target=write_batches, args=(client, stop))
        writer.start()
        try:
            done = vdb("backup", destination, "--url", server.url, VDB_READ_ONLY_API_KEY="reads")
        finally:
            stop.set()
            writer.join()
        assert done.returncode == 0, done.stderr
        assert vdb("backup", tmp_path / "other", "--url", server.url).returncode == 1
        assert not (tmp_path / "other").exists()
    return destination, before


def test_a_backup_of_a_running_server_is_restored_to_the_byte(
    saved: tuple[Path, list[Any]], tmp_path: Path
) -> None:
    source, before = saved
    manifest = json.loads((source / "backup.json").read_text())
    listed = {one["id"]: one for one in manifest["libraries"]}
    assert sorted(listed) == ["busy", "none.tar", "words"]
    assert sorted(path.name for path in source.iterdir()) == sorted(
        ["backup.json", *(one["file"] for one in listed.values())]
    )
    for one in listed.values():
        content = (source / one["file"]).read_bytes()
        assert (one["bytes"], one["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    done = vdb("restore", source, "--data-dir", tmp_path / "data", "--json")
    assert done.returncode == 0, done.stderr
    assert [one["id"] for one in json.loads(done.stdout)] == ["busy", "none.tar", "words"]
    with serving(tmp_path / "data") as server:
        assert [one for one in answers(server) if one[0] != "/v1/libraries"] == before
        busy = server.get("/v1/libraries/busy")
        rows = server.get("/v1/libraries/busy/chunks?include=embedding")["items"]
        # As of one revision: every row of the last batch and of no other.
        assert {row["metadata"]["batch"] for row in rows} <= {busy["revision"] - 1}
        assert busy["revision"] == listed["busy"]["revision"]
        assert server.get("/v1/libraries/none.tar")["chunks"] == 0


def test_a_backup_is_restored_into_a_server_beside_what_is_there(
    saved: tuple[Path, list[Any]], tmp_path: Path
) -> None:
    source, before = saved
    with serving(tmp_path / "data", **KEYS) as server:
        client = With(server, "writes")
        assert client("POST", "/v1/libraries", {"id": "BUSY", "name": "mine"}).status == 201
        key = {"VDB_API_KEY": "writes"}
        taken = vdb("restore", source, "--url", server.url, **key)
        assert (taken.returncode, "BUSY" in taken.stderr) == (1, True)
        assert [one["id"] for one in client("GET", "/v1/libraries").json()["items"]] == ["BUSY"]
        read_only = vdb("restore", source, "--library", "words", "--url", server.url, VDB_API_KEY="reads")
        assert (read_only.returncode, "may only read" in read_only.stderr) == (1, True)
        done = vdb("restore", source, "--library", "words", "--build", "--url", server.url, **key)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[1].startswith("words\t")
        assert [one for one in answers(client) if one[0] != "/v1/libraries"] == before
        assert client("GET", "/v1/libraries/words/index").json()["delta_rows"] == 0


def test_a_directory_is_backed_up_without_a_server(saved: tuple[Path, list[Any]], tmp_path: Path) -> None:
    source, _ = saved
    assert vdb_here("restore", source, "--data-dir", tmp_path / "data").returncode == 0
    again = vdb_here("backup", tmp_path / "again", "--data-dir", tmp_path / "data", "--json")
    assert again.returncode == 0, again.stderr
    for one in json.loads(again.stdout)["libraries"]:
        assert (tmp_path / "again" / one["file"]).read_bytes() == (source / one["file"]).read_bytes()
    archive = tmp_path / "words.tar"
    done = vdb_here("export", "words", archive, "--data-dir", tmp_path / "data", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["chunks"] == 48
    assert archive.read_bytes() == (source / "words.tar").read_bytes()
    assert vdb_here("import", "again", archive, "--data-dir", tmp_path / "data").returncode == 0


def test_nothing_is_replaced_and_nothing_half_is_left(saved: tuple[Path, list[Any]], tmp_path: Path) -> None:
    source, _ = saved
    assert vdb_here("restore", source, "--data-dir", tmp_path / "data").returncode == 0
    there = tmp_path / "there"
    there.mkdir()
    attempts: list[tuple[list[object], str]] = [
        (["backup", there], "exists already"),
        (["export", "words", there], "exists already"),
        (["backup", tmp_path / "new", "--library", "words", "--library", "nobody"], "nobody"),
        (["export", "nobody", tmp_path / "new"], "nobody"),
        (["export", "words", tmp_path / "nowhere" / "new"], "cannot be written"),
        (["backup", source / "words.tar" / "below"], "cannot be written"),
        (["restore", there], "no backup"),
        (["restore", source, "--library", "nobody"], "not in the backup: nobody"),
    ]
    for arguments, word in attempts:
        done = vdb_here(*arguments, "--data-dir", tmp_path / "data")
        assert (done.returncode, word in done.stderr) == (1, True), (arguments, done.stderr)
        assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "there"]
    assert list(there.iterdir()) == []


def rewritten(change: Callable[[dict[str, Any]], object], *, sealed: bool = True) -> Callable[[Path], None]:
    """Change the manifest; sealed, its own checksum agrees afterwards."""

    def make(source: Path) -> None:
        manifest = json.loads((source / "backup.json").read_text())
        change(manifest)
        if sealed:
            del manifest["sha256"]
            text = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
            manifest["sha256"] = hashlib.sha256(text.encode()).hexdigest()
        (source / "backup.json").write_text(json.dumps(manifest))

    return make


def flip(source: Path) -> None:
    content = bytearray((source / "words.tar").read_bytes())
    content[len(content) // 2] ^= 1
    (source / "words.tar").write_bytes(content)


def link(source: Path) -> None:
    (source / "words.tar").rename(source / "elsewhere")
    (source / "words.tar").symlink_to("elsewhere")


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a flipped bit": (flip, "altered"),
    "an archive that is gone": (lambda s: (s / "words.tar").unlink(), "words.tar cannot be read"),
    "an archive that was cut": (
        lambda s: (s / "words.tar").write_bytes((s / "words.tar").read_bytes()[:4096]),
        "not what export writes",
    ),
    "an empty archive": (lambda s: (s / "words.tar").write_bytes(b""), "not what export writes"),
    "a link": (link, "no plain file"),
    "another archive": (lambda s: shutil.copy(s / "busy.tar", s / "words.tar"), "differ"),
    "no manifest": (lambda s: (s / "backup.json").unlink(), "no backup"),
    "a manifest that is no JSON": (lambda s: (s / "backup.json").write_bytes(b"{"), "not what vdb backup"),
    "a manifest that is a list": (lambda s: (s / "backup.json").write_bytes(b"[]"), "not what vdb backup"),
    "an altered manifest": (rewritten(lambda m: m["libraries"].pop(), sealed=False), "checksum"),
    "a newer manifest": (rewritten(lambda m: m.update(format_version=2)), "newer vdb"),
    "a path above": (rewritten(lambda m: m["libraries"][0].update(file="../words.tar")), "no such pair"),
    "an id that is a path": (
        rewritten(lambda m: m["libraries"][0].update(id="../x", file="../x.tar")),
        "no such pair",
    ),
    "another revision": (rewritten(lambda m: m["libraries"][0].update(revision=1)), "revision differ"),
}


@pytest.mark.parametrize(("damage", "word"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_backup_is_refused_before_anything_is_made(
    saved: tuple[Path, list[Any]], tmp_path: Path, damage: Callable[[Path], object], word: str
) -> None:
    source = tmp_path / "source"
    shutil.copytree(saved[0], source)
    damage(source)
    done = vdb_here("restore", source, "--data-dir", tmp_path / "data")
    assert (done.returncode, word in done.stderr) == (1, True), done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()


def test_what_is_not_in_the_manifest_is_named(saved: tuple[Path, list[Any]], tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(saved[0], source)
    (source / "more.tar").write_bytes(b"")
    done = vdb_here("restore", source, "--data-dir", tmp_path / "data")
    assert done.returncode == 0, done.stderr
    assert "more.tar is not in backup.json" in done.stderr


def test_a_library_that_cannot_be_read_is_not_left_out_silently(
    saved: tuple[Path, list[Any]], tmp_path: Path
) -> None:
    data = tmp_path / "data"
    assert vdb_here("restore", saved[0], "--data-dir", data).returncode == 0
    assert vdb_here("snapshot", "--data-dir", data).returncode == 0
    assert vdb_here("snapshot", "--data-dir", data).returncode == 0
    (data / "_journal.sqlite3").unlink()
    (data / "words" / "1" / "ids.npy").write_bytes(b"")
    done = vdb_here("backup", tmp_path / "new", "--data-dir", data)
    assert (done.returncode, "words" in done.stderr) == (1, True), done.stderr
    assert not (tmp_path / "new").exists()
    assert vdb_here("backup", tmp_path / "new", "--library", "busy", "--data-dir", data).returncode == 0
