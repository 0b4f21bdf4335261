"""The template makes what it says: names from the answers, answers that are checked, plugins that pass their own tests.

What needs installing (the entry point, the server, the linters) is ``python3 noxfile.py -s template``.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import copier
import pytest
import yaml
from server_kit import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "plugins-template"


def make(folder: Path, **answers: str) -> Path:
    copier.run_copy(str(TEMPLATE), folder, data=answers, defaults=True, quiet=True)
    return folder


def installed(project: Path) -> str:
    """Let the plugin be found as if pip had installed it: its package and an entry point; returns a PYTHONPATH."""
    declared = tomllib.loads((project / "pyproject.toml").read_text("utf-8"))["project"]
    ((name, module),) = declared["entry-points"]["vdb.plugins"].items()
    folder = project / "src" / f"{declared['name'].replace('-', '_')}-{declared['version']}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(
        f"Metadata-Version: 2.4\nName: {declared['name']}\nVersion: {declared['version']}\n", "utf-8"
    )
    (folder / "entry_points.txt").write_text(f"[vdb.plugins]\n{name} = {module}\n", "utf-8")
    return os.pathsep.join(filter(None, [str(project / "src"), os.environ.get("PYTHONPATH")]))


def run(project: Path, command: list[str], **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=project,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def test_the_python_answer_passes_its_tests(tmp_path: Path) -> None:
    project = make(tmp_path / "plugin")
    path = installed(project)
    told = run(project, [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], PYTHONPATH=path)
    assert " passed" in told
    assert "skipped" not in told


def test_the_tutorial_is_served_the_python_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", installed(make(tmp_path / "plugin")))
    shown = json.loads(run(tmp_path, [sys.executable, "-m", "vdb_server", "plugins", "--json"]))
    assert [each["state"] for each in shown if each["name"] == "forest"] == ["loaded"]
    page = (ROOT / "docs/tutorial/first-plugin.md").read_text("utf-8")
    (program,) = re.findall(r"(?ms)^```py\n(.*?)^```$", page)
    with ServerProcess(tmp_path / "data") as server:
        told = run(tmp_path, [sys.executable, "-c", program.replace("http://127.0.0.1:8000", server.url)])
    first, hits = told.strip().splitlines()
    assert first == "forest"
    assert hits.startswith("['c7', ")


def test_the_rust_answer_passes_its_tests(tmp_path: Path) -> None:
    project = make(tmp_path / "plugin", language="rust")
    # What maturin does, without its download; compiled dependencies are kept from one run to the next.
    target = ROOT / ".nox" / "template-target" if (ROOT / ".nox").is_dir() else tmp_path / "target"
    flags = "-C link-arg=-undefined -C link-arg=dynamic_lookup" if sys.platform == "darwin" else ""
    build = ["cargo", "build", "--release", "--quiet", "--features", "pyo3/extension-module"]
    run(project, [*build, "--target-dir", str(target)], RUSTFLAGS=flags, PYO3_PYTHON=sys.executable)
    (library,) = [
        target / "release" / name
        for name in ("lib_native.so", "lib_native.dylib", "_native.dll")
        if (target / "release" / name).exists()
    ]
    suffix = ".pyd" if library.suffix == ".dll" else ".abi3.so"
    shutil.copy(library, project / "src" / "vdb_index_hnsw" / f"_native{suffix}")
    path = installed(project)
    told = run(project, [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], PYTHONPATH=path)
    assert " passed" in told
    assert "skipped" not in told


@pytest.mark.parametrize("language", ["python", "rust"])
@pytest.mark.parametrize("license_", ["MIT", "BSD-3-Clause"])
def test_names_come_from_the_answers(tmp_path: Path, language: str, license_: str) -> None:
    answers = {
        "language": language,
        "index_name": "ball_tree2",
        "author": "Ada O'Neill",
        "summary": "It's a tree of balls: {curly}, 100 % & more.",
        "license": license_,
    }
    project = make(tmp_path / "plugin", **answers)
    declared = tomllib.loads((project / "pyproject.toml").read_text("utf-8"))["project"]
    assert declared["name"] == "vdb-index-ball-tree2"
    assert declared["description"] == answers["summary"]
    assert declared["authors"] == [{"name": "Ada O'Neill"}]
    assert declared["license"] == license_
    assert declared["entry-points"]["vdb.plugins"] == {"ball_tree2": "vdb_index_ball_tree2.plugin"}
    assert "Ada O'Neill" in (project / "LICENSE").read_text("utf-8")
    assert (project / "tests" / "test_ball_tree2.py").is_file()
    package = project / "src" / "vdb_index_ball_tree2"
    assert "BallTree2Params" in (package / "params.py").read_text("utf-8")
    files = sorted(path for path in project.rglob("*") if path.is_file())
    for file in files:
        text = file.read_text("utf-8")
        assert "{%" not in text, file
        assert "forest" not in text.lower() or language == "python", file
        assert text.endswith("\n") or not text, file
        if file.suffix in {".py", ".pyi"}:
            ast.parse(text)
        if file.suffix in {".yml", ".yaml"}:
            assert yaml.safe_load(text)
        if file.suffix == ".toml":
            tomllib.loads(text)
    names = {path.name for path in files}
    assert ("Cargo.toml" in names) == ("lib.rs" in names) == ("_native.pyi" in names) == (language == "rust")
    assert ("forest.py" in names) == (language == "python")


@pytest.mark.parametrize(
    "answers",
    [
        {"index_name": "Forest"},
        {"index_name": "2forest"},
        {"index_name": "for est"},
        {"index_name": "for__est"},
        {"index_name": "forest_"},
        {"index_name": "f" * 65},
        {"index_name": "brute"},
        {"index_name": "numpy"},
        {"distribution_name": "vdb_index"},
        {"distribution_name": "../escape"},
        {"distribution_name": "vdb--index"},
        {"module_name": "vdb-index"},
        {"module_name": "vdb_core"},
        {"module_name": "class"},
        {"module_name": "../escape"},
        {"summary": 'Says "no".'},
        {"summary": "two\nlines"},
        {"summary": " "},
        {"author": "a\\b"},
        {"author": ""},
        {"language": "cobol"},
        {"license": "GPL"},
    ],
    ids=str,
)
def test_answers_are_checked(tmp_path: Path, answers: Mapping[str, str]) -> None:
    with pytest.raises(ValueError, match=r"(?i)validation error|invalid"):
        make(tmp_path / "plugin", **answers)
    assert not (tmp_path / "plugin").exists()
    assert not (tmp_path / "escape").exists()
