"""The first screen of the README does what it says: its snippet prints what stands below it, its plugin is served."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING

from page_shell import ROOT, blocks_of

from vdb_core.plugins import PluginManager
from vdb_core.testing import IndexConformance

if TYPE_CHECKING:
    from pathlib import Path

README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return [block.text for block in blocks_of(ROOT / "README.md") if block.language == language]


SNIPPET, PLUGIN = blocks("python")
(OUTPUT,) = blocks("text")
(PROJECT,) = blocks("toml")


def run(code: str, folder: Path, *, path: Path | None = None) -> str:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("VDB_")}
    if path is not None:
        known = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = f"{path}{os.pathsep}{known}" if known else str(path)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def install(folder: Path) -> None:
    """What pip does with the project that the README shows: a module, and a description of the distribution."""
    project = tomllib.loads(PROJECT)["project"]
    (folder / "vdb_index_plain.py").write_text(PLUGIN, "utf-8")
    info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    metadata = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(metadata, "utf-8")
    lines = [
        f"[{group}]\n{name} = {value}\n"
        for group, names in project["entry-points"].items()
        for name, value in names.items()
    ]
    (info / "entry_points.txt").write_text("".join(lines), "utf-8")


def lines_of_code(block: str) -> int:
    return len([line for line in block.splitlines() if line.strip()])


def test_the_snippet_prints_what_stands_below_it(tmp_path: Path) -> None:
    assert run(SNIPPET, tmp_path) == OUTPUT


def test_the_snippet_has_ten_lines_and_the_plugin_twenty() -> None:
    assert lines_of_code(SNIPPET) <= 10
    assert lines_of_code(PLUGIN) <= 20


def test_the_plugin_is_served_once_it_is_installed(tmp_path: Path) -> None:
    install(tmp_path)
    code = """
import vdb_sdk
with vdb_sdk.connect() as client:
    print([(each.state, each.distribution) for each in client.plugins() if each.name == "plain"])
    library = client.create_library("Any", index="plain")
    library.upsert(ids=["a", "b", "c"], embeddings=[[1, 0], [0, 1], [1, 1]], metadatas=[{"n": n} for n in range(3)])
    library.build_index("plain")
    library.delete(["a"])
    answer = library.search([1, 0], k=3)
    print(answer.index.type, answer.ids, library.search([1, 0], k=3, filter={"n": 1}).ids)
"""
    assert run(code, tmp_path, path=tmp_path) == "[('loaded', 'vdb-index-plain')]\nplain ['c', 'b'] ['b']\n"


def test_the_readme_starts_with_the_two_commands() -> None:
    console = blocks("console")[0]
    commands = [line[2:] for line in console.splitlines() if line.startswith("$ ")]
    assert commands == ["python3 noxfile.py -s demo", "python3 noxfile.py -s tests"]


def _plain() -> PluginManager:
    namespace: dict[str, object] = {}
    exec(compile(PLUGIN, "README.md", "exec"), namespace)  # the code that readers are shown

    class Plugin:
        vdb_register_index_types = staticmethod(namespace["vdb_register_index_types"])

    manager = PluginManager(entry_points=lambda: ())
    manager.register(Plugin, name="plain")
    return manager


class TestThePluginConforms(IndexConformance):
    index_type = _plain().index_type("plain")
