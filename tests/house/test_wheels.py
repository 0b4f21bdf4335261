"""What the wheels hold: types, licence, entry points, nothing else; and the Rust one serves every Python >= 3.11."""

from __future__ import annotations

import configparser
import os
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

WHEELS = Path(os.environ["VDB_WHEELS"])
PACKAGES = {
    "vdb-core": "vdb_core",
    "vdb-index-rust": "vdb_index_rust",
    "vdb-server": "vdb_server",
    "vdb-sdk": "vdb_sdk",
    "vdb-embedder-minilm": "vdb_embedder_minilm",
    "vdb-dashboard": "vdb_dashboard",
}
ENTRY_POINTS = {
    "vdb-index-rust": {"vdb.plugins": {"rust": "vdb_index_rust.plugin"}},
    "vdb-embedder-minilm": {"vdb.plugins": {"minilm": "vdb_embedder_minilm.plugin"}},
    "vdb-server": {"console_scripts": {"vdb": "vdb_server.cli:main"}},
    "vdb-dashboard": {"console_scripts": {"vdb-dashboard": "vdb_dashboard.__main__:main"}},
}


def wheel(distribution: str) -> Path:
    (found,) = WHEELS.glob(f"{distribution}-*/*.whl")
    return found


@pytest.fixture(params=sorted(PACKAGES))
def distribution(request: pytest.FixtureRequest) -> str:
    return request.param


def names(distribution: str) -> list[str]:
    with zipfile.ZipFile(wheel(distribution)) as archive:
        return archive.namelist()


def test_it_holds_its_package_and_nothing_else(distribution: str) -> None:
    roots = {name.split("/")[0] for name in names(distribution)}
    package = PACKAGES[distribution]
    assert {root for root in roots if not root.endswith((".dist-info", ".libs"))} == {package}
    assert not [name for name in names(distribution) if "/tests/" in name or name.endswith((".pyc", ".rs"))]


def test_it_is_typed_and_licensed(distribution: str) -> None:
    assert f"{PACKAGES[distribution]}/py.typed" in names(distribution)
    assert [name for name in names(distribution) if ".dist-info/" in name and name.endswith("/LICENSE")]


def test_its_metadata_is_complete(distribution: str) -> None:
    with zipfile.ZipFile(wheel(distribution)) as archive:
        (path,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = message_from_bytes(archive.read(path))
    assert metadata["Name"] == distribution
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Summary"]
    assert metadata.get_payload()


def test_its_entry_points_are_there(distribution: str) -> None:
    with zipfile.ZipFile(wheel(distribution)) as archive:
        found = [name for name in archive.namelist() if name.endswith(".dist-info/entry_points.txt")]
        parser = configparser.ConfigParser()
        for name in found:
            parser.read_string(archive.read(name).decode())
    assert {section: dict(parser[section]) for section in parser.sections()} == ENTRY_POINTS.get(
        distribution, {}
    )


def test_the_pure_ones_run_anywhere(distribution: str) -> None:
    tag = wheel(distribution).stem.split("-", 2)[2]
    if distribution == "vdb-index-rust":
        assert tag.startswith("cp311-abi3-")
    else:
        assert tag == "py3-none-any"
