"""A snapshot store and a journal of a plugin's, chosen by settings: a real server keeps everything there, and nobody mixes them up."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest
from command_kit import install, serving, vdb

if TYPE_CHECKING:
    from pathlib import Path

PLUGIN = """
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from vdb_core.persistence.numpy_snapshots import NumpySnapshotStore
from vdb_core.persistence.sqlite_journal import SqliteJournal
from vdb_core.plugins import JournalType, SnapshotStoreType, hookimpl

class Place(BaseModel):
    model_config = ConfigDict(extra="forbid")
    folder: str = "there"

def within(where, params):
    folder = Path(where) / params.folder
    folder.mkdir(exist_ok=True)
    return folder

@hookimpl
def vdb_register_snapshot_stores():
    yield SnapshotStoreType(name="elsewhere", summary="In a folder.", params=Place,
                            open=lambda where, params: NumpySnapshotStore(within(where, params)))

@hookimpl
def vdb_register_journals():
    yield JournalType(name="elsewhere", summary="In a folder.", params=Place,
                      open=lambda where, params: SqliteJournal(within(where, params)))
"""


@pytest.fixture
def chosen(tmp_path: Path) -> dict[str, str]:
    site = tmp_path / "site"
    site.mkdir()
    install(site, "vdb-elsewhere", PLUGIN)
    return {
        "PYTHONPATH": str(site),
        "VDB_SNAPSHOT_STORE": "elsewhere",
        "VDB_SNAPSHOT_STORE_PARAMS": json.dumps({"folder": "snapshots"}),
        "VDB_JOURNAL": "elsewhere",
        "VDB_JOURNAL_PARAMS": json.dumps({"folder": "log"}),
    }


def names(data: Path) -> set[str]:
    return {path.name for path in data.iterdir()}


def test_a_server_keeps_everything_where_the_plugins_say(chosen: dict[str, str], tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data, **chosen) as server:
        assert server("POST", "/v1/libraries", {"id": "lib", "name": "L", "metric": "l2"}).status == 201
        chunk = {"id": "a", "embedding": [1.0, 2.0]}
        assert server("POST", "/v1/libraries/lib/chunks", chunk).status == 201
        job = server("POST", "/v1/libraries/lib/snapshot").json()["job_id"]
        until = time.monotonic() + 30
        while server.get(f"/v1/jobs/{job}")["state"] != "succeeded" and time.monotonic() < until:
            time.sleep(0.02)
        assert server("POST", "/v1/libraries/lib/chunks", {**chunk, "id": "b"}).status == 201
        server.process.kill()
    assert names(data) == {"_lock", "_storage.json", "snapshots", "log"}
    assert json.loads((data / "_storage.json").read_text()) == {
        "snapshot_store": "elsewhere",
        "journal": "elsewhere",
    }
    assert (data / "snapshots" / "lib" / "manifest.json").exists()
    with serving(data, **chosen) as server:
        assert server.get("/v1/libraries/lib")["chunks"] == 2


def test_others_do_not_open_what_they_would_not_see(chosen: dict[str, str], tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data, **chosen):
        pass
    built_in = {"PYTHONPATH": chosen["PYTHONPATH"]}
    refused = vdb("serve", "--data-dir", data, "--port", 0, **built_in)
    assert refused.returncode == 1
    assert "is kept by the snapshot store 'elsewhere' and the journal 'elsewhere'" in refused.stderr
    assert "received 'numpy' and 'sqlite'" in refused.stderr
    for command in (["check", data], ["repair", data]):
        done = vdb(*command, **built_in)
        assert done.returncode == 1
        assert "only what the built-in ones keep" in done.stderr
    (data / "_storage.json").write_text("{}")
    damaged = vdb("serve", "--data-dir", data, "--port", 0, **chosen)
    assert damaged.returncode == 1
    assert "_storage.json: expected the names of a snapshot store and a journal" in damaged.stderr
    # The other way round, too, and nothing is left behind.
    data = tmp_path / "plain"
    with serving(data, **built_in):
        pass
    before = names(data)
    refused = vdb("serve", "--data-dir", data, "--port", 0, **chosen)
    assert refused.returncode == 1
    assert "is kept by the snapshot store 'numpy' and the journal 'sqlite'" in refused.stderr
    assert names(data) == before


def test_parameters_that_a_plugin_does_not_know_are_named(chosen: dict[str, str], tmp_path: Path) -> None:
    wrong = {**chosen, "VDB_JOURNAL_PARAMS": json.dumps({"foldr": "log"})}
    refused = vdb("serve", "--data-dir", tmp_path / "data", "--port", 0, **wrong)
    assert refused.returncode == 2
    assert "VDB_JOURNAL_PARAMS: foldr" in refused.stderr
    assert not (tmp_path / "data").exists()
