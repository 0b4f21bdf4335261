"""Who may import whom, read from the syntax tree of every module, lazy and type-only imports included."""

from __future__ import annotations

import ast
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OURS = ("vdb_core", "vdb_index_rust", "vdb_server", "vdb_sdk", "vdb_dashboard", "vdb_embedder_minilm")
HTTP = ("fastapi", "starlette", "uvicorn", "httpx", "httpx2", "requests", "aiohttp")


@dataclass(frozen=True)
class Imported:
    name: str
    line: int
    lazy: bool


def imports(source: str) -> list[Imported]:
    """Every absolute import of a module: statements wherever they stand, and import_module of a literal."""
    found: list[Imported] = []

    def visit(node: ast.AST, *, lazy: bool) -> None:
        inside = lazy or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        if isinstance(node, ast.Import):
            found.extend(Imported(alias.name, node.lineno, lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            found.extend(Imported(f"{module}.{alias.name}", node.lineno, lazy) for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in {"import_module", "__import__"}:
                found.append(Imported(str(node.args[0].value), node.lineno, lazy))
        for child in ast.iter_child_nodes(node):
            visit(child, lazy=inside)

    visit(ast.parse(source), lazy=False)
    return found


def below(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def violations(package: str, path: str, source: str) -> list[str]:
    """What a module of one of our packages imports and must not; ``path`` is relative to the package's folder."""
    wrong: list[str] = []
    for item in imports(source):
        ours = below(item.name, *OURS) and not below(item.name, package)
        allowed = {
            "vdb_core": False,
            "vdb_index_rust": below(item.name, "vdb_core.plugins", "vdb_core.indexes", "vdb_core.errors"),
            "vdb_embedder_minilm": below(item.name, "vdb_core.plugins", "vdb_core.errors"),
            "vdb_server": below(item.name, "vdb_core"),
            "vdb_sdk": item.lazy and below(item.name, "vdb_server"),
            "vdb_dashboard": below(item.name, "vdb_sdk"),
        }[package]
        route = package == "vdb_server" and Path(path).stem in {"routes", "router", "hot"}
        if (
            item.name.startswith(".")
            # A private module of the SDK is none of its contract.
            or (
                package == "vdb_dashboard" and any(part.startswith("_") for part in item.name.split(".")[1:2])
            )
            # What is known without a browser is tested without one.
            or (
                package == "vdb_dashboard"
                and path.startswith("logic/")
                and below(item.name, "streamlit", "altair")
            )
            or (ours and not allowed)
            or (package == "vdb_core" and below(item.name, *HTTP))
            or (route and below(item.name, "vdb_core.plugins", "vdb_core.indexes", "vdb_core.engine"))
            # The words of the domain know nothing of what is done with them.
            or (
                package == "vdb_core"
                and path.startswith("domain/")
                and below(item.name, "vdb_core")
                and not below(item.name, "vdb_core.domain", "vdb_core.errors", "vdb_core.indexes")
            )
        ):
            wrong.append(f"{package}/{path}:{item.line} imports {item.name}")
    return wrong


def modules() -> list[tuple[str, str, Path]]:
    return [
        (package.name, path.relative_to(package).as_posix(), path)
        for package in sorted([*ROOT.glob("vdb-*/src/vdb_*"), *ROOT.glob("plugins/*/src/vdb_*")])
        for path in sorted(package.rglob("*.py*"))
        if path.suffix in {".py", ".pyi"}
    ]


def test_every_package_is_looked_at() -> None:
    assert {package for package, _, _ in modules()} == set(OURS)


def test_nobody_imports_what_is_not_theirs() -> None:
    wrong = [
        line
        for package, path, file in modules()
        for line in violations(package, path, file.read_text("utf-8"))
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("package", "path", "source"),
    [
        ("vdb_core", "engine/a.py", "import vdb_server"),
        ("vdb_core", "engine/a.py", "def f():\n    from vdb_index_rust import index"),
        (
            "vdb_core",
            "engine/a.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import vdb_sdk.models",
        ),
        ("vdb_core", "services/a.py", "from starlette.responses import Response"),
        ("vdb_core", "services/a.py", "import importlib\nimportlib.import_module('vdb_index_rust.index')"),
        ("vdb_core", "domain/a.py", "from vdb_core.engine import state"),
        ("vdb_index_rust", "plugin.py", "from vdb_core.domain import ids"),
        ("vdb_index_rust", "plugin.py", "from vdb_core import services"),
        ("vdb_server", "a.py", "import vdb_index_rust"),
        ("vdb_server", "a.py", "from vdb_sdk import Client"),
        ("vdb_server", "search/routes.py", "from vdb_core.plugins import PluginManager"),
        ("vdb_sdk", "a.py", "import vdb_core.errors"),
        ("vdb_sdk", "a.py", "import vdb_server.embedded"),
        ("vdb_sdk", "a.py", "def f():\n    import vdb_core"),
        ("vdb_sdk", "a.py", "from . import models"),
        ("vdb_dashboard", "a.py", "import vdb_server"),
        ("vdb_embedder_minilm", "a.py", "from vdb_core.persistence import Embedder"),
        ("vdb_dashboard", "a.py", "def f():\n    from vdb_core.errors import VdbError"),
        ("vdb_dashboard", "a.py", "from vdb_sdk._rows import plan_upsert"),
        ("vdb_dashboard", "logic/a.py", "import streamlit as st"),
    ],
)
def test_a_planted_violation_is_seen(package: str, path: str, source: str) -> None:
    assert len(violations(package, path, source)) == 1


@pytest.mark.parametrize(
    ("package", "path", "source"),
    [
        ("vdb_core", "engine/a.py", "import numpy as np\nfrom vdb_core.domain import ids"),
        ("vdb_core", "engine/a.py", "import vdb_core_extras"),
        (
            "vdb_index_rust",
            "plugin.py",
            "from vdb_core.plugins import IndexType\nfrom vdb_index_rust import index",
        ),
        ("vdb_server", "app.py", "from vdb_core.services import open_services"),
        ("vdb_sdk", "a.py", "def f():\n    from vdb_server.embedded import open_embedded"),
        ("vdb_dashboard", "ui/a.py", "import streamlit as st\nfrom vdb_sdk.models import Metric"),
    ],
)
def test_what_is_allowed_is_not_complained_about(package: str, path: str, source: str) -> None:
    assert violations(package, path, source) == []


def test_the_sdk_has_one_module_that_knows_httpx() -> None:
    using = {
        path
        for package, path, file in modules()
        if package == "vdb_sdk"
        and any(below(item.name, "httpx", "httpx2") for item in imports(file.read_text("utf-8")))
    }
    assert len(using) == 1, using


def test_the_rust_crates_keep_python_and_geometry_apart() -> None:
    crates = ROOT / "vdb-index-rust" / "crates"
    pure = tomllib.loads((crates / "vdb-index" / "Cargo.toml").read_text("utf-8"))
    named = {name for table in ("dependencies", "build-dependencies") for name in pure.get(table, {})}
    assert named.isdisjoint({"pyo3", "numpy"})
    binding = tomllib.loads((crates / "vdb-index-py" / "Cargo.toml").read_text("utf-8"))
    assert "vdb-index" in binding["dependencies"]
