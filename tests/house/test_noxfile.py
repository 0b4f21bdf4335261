"""The noxfile on bare machines: it names what is missing, keeps off the caller's Python, and agrees with the hooks."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
DISTRIBUTIONS = (
    "vdb-core",
    "vdb-index-rust",
    "vdb-server",
    "vdb-sdk",
    "vdb-dashboard",
    "plugins/vdb-embedder-minilm",
)
NAMES = [folder.split("/")[-1] for folder in DISTRIBUTIONS]
NOXFILE = (ROOT / "noxfile.py").read_text("utf-8")

# Stands in for nox, so that what the noxfile finds out about the machine can be asked for without an environment.
FAKE_NOX = """
class _Options: pass
options = _Options()
class Session: pass
def session(function=None, **_):
    return function if function else lambda function: function
"""


def asked(tmp_path: Path, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code with the noxfile imported and a stand-in for nox."""
    (tmp_path / "nox.py").write_text(FAKE_NOX, "utf-8")
    shutil.copy(ROOT / "noxfile.py", tmp_path / "noxfile.py")
    (tmp_path / "vdb-index-rust").mkdir(exist_ok=True)
    shutil.copy(ROOT / "vdb-index-rust" / "Cargo.toml", tmp_path / "vdb-index-rust" / "Cargo.toml")
    return subprocess.run(
        [sys.executable, "-c", f"import noxfile; {code}"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def executable(folder: Path, name: str, script: str) -> None:
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
    file.chmod(0o755)


def test_a_missing_cargo_is_named_with_the_command_that_installs_it(tmp_path: Path) -> None:
    done = asked(tmp_path, "noxfile._require_rust()", PATH="/nowhere", CARGO_HOME=str(tmp_path / "none"))
    assert done.returncode != 0
    assert "cargo is not on the PATH" in done.stderr
    assert "sh.rustup.rs" in done.stderr


def test_cargo_is_found_where_rustup_puts_it(tmp_path: Path) -> None:
    home = tmp_path / "cargo-home" / "bin"
    home.mkdir(parents=True)
    executable(home, "cargo", "echo 'cargo 9.9.0'")
    executable(home, "cc", "exit 0")
    done = asked(tmp_path, "noxfile._require_rust()", PATH="/nowhere", CARGO_HOME=str(home.parent))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("version", "linker", "expected"),
    [("cargo 1.60.0", True, "rustup update stable"), ("cargo 9.9.0", False, "build-essential")],
)
def test_an_old_cargo_or_no_linker_is_named(
    tmp_path: Path, version: str, *, linker: bool, expected: str
) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    executable(folder, "cargo", f"echo '{version}'")
    if linker:
        executable(folder, "cc", "exit 0")
    done = asked(tmp_path, "noxfile._require_rust()", PATH=str(folder), CARGO_HOME=str(tmp_path / "none"))
    assert done.returncode != 0
    assert expected in done.stderr


def test_an_old_python_is_named(tmp_path: Path) -> None:
    code = NOXFILE.replace("sys.version_info >= (3, 11)", "sys.version_info >= (99, 0)")
    assert code != NOXFILE
    (tmp_path / "noxfile.py").write_text(code, "utf-8")
    # -S and -I: no site-packages, hence no nox, as on a bare machine.
    done = subprocess.run(
        [sys.executable, "-S", "-I", "noxfile.py", "-l"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "needs Python 3.11 or newer" in done.stderr
    assert "Install it with:" in done.stderr
    assert not (tmp_path / ".nox").exists()


def test_the_metadata_says_what_the_projects_say() -> None:
    block = re.search(r"(?m)^# /// script$\s(?P<content>(^#(| .*)$\s)+)^# ///$", NOXFILE)
    assert block is not None
    metadata = tomllib.loads(re.sub(r"(?m)^# ?", "", block["content"]))
    for folder in DISTRIBUTIONS:
        project = tomllib.loads((ROOT / folder / "pyproject.toml").read_text("utf-8"))["project"]
        assert project["requires-python"] == metadata["requires-python"], folder
    assert metadata["dependencies"] == ["nox>=2025.5.1"]


def test_a_change_of_sources_changes_the_fingerprint_and_of_tests_does_not(tmp_path: Path) -> None:
    folder = tmp_path / "dist"
    for name in ("src/a.py", "tests/test_a.py", "target/x"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("one", "utf-8")

    def fingerprint() -> str:
        done = asked(
            tmp_path, f"from pathlib import Path; print(noxfile._fingerprint(Path({str(folder)!r})))"
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    first = fingerprint()
    (folder / "tests" / "test_a.py").write_text("two", "utf-8")
    (folder / "target" / "x").write_text("two", "utf-8")
    assert fingerprint() == first
    (folder / "src" / "a.py").write_text("two", "utf-8")
    assert fingerprint() != first


def test_commit_hooks_run_the_versions_that_lint_runs() -> None:
    group = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["dependency-groups"]["lint"]
    hooks = (ROOT / ".pre-commit-config.yaml").read_text("utf-8")
    pins = set(re.findall(r'"(ruff==[^"]+)"', hooks))
    assert pins == {item for item in group if item.startswith("ruff")}


def test_every_distribution_has_the_same_version() -> None:
    versions = {
        tomllib.loads((ROOT / folder / "pyproject.toml").read_text("utf-8"))["project"]["version"]
        for folder in DISTRIBUTIONS
    }
    cargo = tomllib.loads((ROOT / "vdb-index-rust" / "Cargo.toml").read_text("utf-8"))
    assert versions == {cargo["workspace"]["package"]["version"]}


def requirement(text: str) -> tuple[str, SpecifierSet]:
    parsed = Requirement(text)
    return canonicalize_name(parsed.name), parsed.specifier


def test_the_lock_is_that_of_the_projects() -> None:
    lock = tomllib.loads((ROOT / "uv.lock").read_text("utf-8"))
    packages = {package["name"]: package for package in lock["package"]}
    for folder in DISTRIBUTIONS:
        project = tomllib.loads((ROOT / folder / "pyproject.toml").read_text("utf-8"))["project"]
        extras = project.get("optional-dependencies", {}).values()
        asked = {
            requirement(text)
            for text in [*project["dependencies"], *(item for extra in extras for item in extra)]
        }
        told = {
            (
                each["name"],
                SpecifierSet("==0.1.0" if each["name"] in NAMES else each.get("specifier", "")),
            )
            for each in packages[folder.split("/")[-1]]["metadata"]["requires-dist"]
        }
        assert told == asked, f"{folder}: run `uv lock`"
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["dependency-groups"]
    for group in ("test", "lint", "browser", "docs"):
        told = {
            (each["name"], SpecifierSet(each["specifier"]))
            for each in lock["manifest"]["dependency-groups"][group]
        }
        assert told == {requirement(text) for text in groups[group]}, f"{group}: run `uv lock`"


def test_the_lock_names_the_public_index_alone() -> None:
    hosts = set(re.findall(r"https?://([^/\"]+)", (ROOT / "uv.lock").read_text("utf-8")))
    assert hosts == {"pypi.org", "files.pythonhosted.org"}


def test_each_distribution_ships_the_licence() -> None:
    licence = (ROOT / "LICENSE").read_bytes()
    assert [folder for folder in DISTRIBUTIONS if (ROOT / folder / "LICENSE").read_bytes() != licence] == []


OPTIONS = sorted(set(re.findall(r"``-- (--[a-z-]+)", NOXFILE)) - {"--help"})


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_that_a_session_is_said_to_take_is_one(option: str) -> None:
    places = [
        ROOT / "noxfile.py",
        *(
            path
            for name in ("benchmarks", "demo", "docs/tools", "tests")
            for path in (ROOT / name).rglob("*.py")
            if path != Path(__file__).resolve()
        ),
    ]
    assert any(f'"{option}"' in path.read_text("utf-8") for path in places), f"nothing reads {option}"


def test_there_are_such_options() -> None:
    assert {"--full", "--text", "--docs"} <= set(OPTIONS)
