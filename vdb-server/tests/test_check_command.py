"""``vdb check`` and ``vdb repair``: what they say, and how they end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from command_kit import serving, vdb, vdb_here

from vdb_server.embedded import open_embedded

if TYPE_CHECKING:
    from pathlib import Path

JSON = {"content-type": "application/json"}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    with open_embedded(tmp_path / "data") as server:

        def post(path: str, body: object) -> int:
            return server.request("POST", path, JSON, json.dumps(body).encode()).status

        assert post("/v1/libraries", {"id": "words", "name": "Words"}) == 201
        for number in range(3):
            rows = [{"id": f"{number}", "embedding": [1, number]}]
            assert post("/v1/libraries/words/chunks/upsert", {"chunks": rows}) == 200
            assert post("/v1/libraries/words/snapshot", {"wait": True}) == 200
    return tmp_path / "data"


def damage(data: Path, name: str) -> None:
    path = data / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_sound_directory(data: Path) -> None:
    done = vdb_here("check", data)
    assert done.returncode == 0, done.stderr
    assert "words\topens\t4\t0\t3" in done.stdout
    assert done.stdout.rstrip().endswith("is sound")
    found = json.loads(vdb_here("check", data, "--json").stdout)
    assert (found["result"], found["exit_code"], found["findings"]) == ("sound", 0, [])
    assert [one["generation"] for one in found["libraries"][0]["generations"]] == [2, 3]
    assert vdb_here("repair", data).stdout == "there is nothing to repair\n"


def test_damage_that_costs_nothing(data: Path) -> None:
    damage(data, "words/3/vectors.npy")
    done = vdb_here("check", data)
    assert done.returncode == 3
    assert "nothing would be lost" in done.stdout
    assert "vectors.npy was altered" in done.stdout
    planned = vdb_here("repair", data)
    assert planned.returncode == 3
    assert "nothing was done; add --yes to do it" in planned.stdout
    assert vdb_here("check", data).returncode == 3
    repaired = vdb_here("repair", data, "--yes", "--json")
    assert repaired.returncode == 0, repaired.stderr
    told = json.loads(repaired.stdout)
    assert [one["place"] for one in told["actions"]] == ["words/3", "words/manifest.json"]
    assert told["after"]["libraries"][0]["revision"] == 4
    assert vdb_here("check", data).returncode == 0
    # In a process of its own it is the same, and it says why it set something aside.
    again = vdb("check", data)
    assert again.returncode == 0, again.stderr
    assert "_quarantine/words-3-" in again.stdout


def test_what_is_given_up_is_asked_for(data: Path) -> None:
    damage(data, "words/3/ids.npy")
    (data / "_journal.sqlite3").unlink()
    assert vdb_here("check", data).returncode == 4
    refused = vdb_here("repair", data, "--yes")
    assert (refused.returncode, "--accept-loss" in refused.stderr) == (1, True)
    assert "up to revision 4, is lost" in refused.stdout
    assert vdb_here("check", data).returncode == 4
    done = vdb_here("repair", data, "--yes", "--accept-loss")
    assert done.returncode == 0, done.stdout
    assert vdb_here("check", data).returncode == 0
    with serving(data) as server:
        assert server.get("/v1/libraries/words")["revision"] == 3


def test_what_cannot_be_repaired_is_said(data: Path) -> None:
    damage(data, "words/2/ids.npy")
    damage(data, "words/3/ids.npy")
    done = vdb_here("repair", data, "--yes")
    assert done.returncode == 4
    assert "words cannot be repaired" in done.stderr
    assert "Restore it from a backup" in done.stderr


def test_a_server_in_the_way(data: Path, tmp_path: Path) -> None:
    with serving(data):
        for arguments in (["check", data], ["repair", data], ["repair", data, "--yes"]):
            done = vdb_here(*arguments)
            assert (done.returncode, "Stop that one first" in done.stderr) == (1, True)
    done = vdb_here("check", tmp_path / "nowhere")
    assert (done.returncode, "no data directory" in done.stderr) == (1, True)
