"""The documentation is true: its Python runs, its links lead somewhere, its tables say what the code says."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from page_shell import PAGES, ROOT, blocks_of

RECORDS = {
    "vdb_register_index_types": "IndexType",
    "vdb_register_snapshot_stores": "SnapshotStoreType",
    "vdb_register_journals": "JournalType",
    "vdb_register_embedders": "EmbedderType",
}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def python_of(page: Path) -> list[str]:
    return [block.text for block in blocks_of(page) if block.language == "python"]


def runnable() -> list[Path]:
    # The root README has a test of its own, which installs what it shows.
    return [page for page in PAGES if page != ROOT / "README.md" and python_of(page)]


@pytest.mark.parametrize("page", runnable(), ids=name)
def test_the_python_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    script = tmp_path / "test_page.py"
    source = "\n".join(["from __future__ import annotations", *python_of(page)])
    script.write_text(source, "utf-8")
    # A page that tests a plugin with the conformance kit is a file for pytest, as its reader's will be.
    runner = ["-m", "pytest", "-q", "-p", "no:cacheprovider"] if "Conformance)" in source else []
    done = subprocess.run(
        [sys.executable, "-W", "error", *runner, script.name],
        cwd=tmp_path,
        env={key: value for key, value in os.environ.items() if not key.startswith("VDB_")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"(?ms)^```.*?^```$", "", page.read_text("utf-8"))
    targets = [target.split("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text)]
    missing = [each for each in targets if each and "://" not in each and not (page.parent / each).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_no_line_break_in_a_link_and_no_open_block(page: Path) -> None:
    assert page.read_text("utf-8").count("\n```") % 2 == 0


def hooks() -> list[str]:
    module = importlib.import_module("vdb_core.plugins.hookspec")
    return [
        each for each, value in vars(module).items() if each.startswith("vdb_") and inspect.isfunction(value)
    ]


def test_every_hook_has_a_page_and_every_page_a_hook() -> None:
    assert (
        {page.stem for page in (ROOT / "docs/reference/hooks").glob("*.md")} == set(hooks()) == set(RECORDS)
    )


@pytest.mark.parametrize("hook", sorted(RECORDS))
def test_a_page_shows_the_exact_signature(hook: str) -> None:
    source = inspect.getsource(importlib.import_module("vdb_core.plugins.hookspec"))
    (function,) = (
        node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) and node.name == hook
    )
    signature = f"def {hook}({ast.unparse(function.args)}) -> {ast.unparse(function.returns or ast.Constant(None))}: ..."
    assert signature in (ROOT / f"docs/reference/hooks/{hook}.md").read_text("utf-8")


def rows(text: str, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, its own two rows left out."""
    section = f"\n{text}".split(f"\n{heading}\n", 1)[1]
    table = re.search(r"(?m)(?:^\|.*\n?)+", section)
    assert table is not None, heading
    lines = table[0].strip().splitlines()[2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


@pytest.mark.parametrize(("hook", "record"), [*RECORDS.items(), ("vdb_register_index_types", "Capabilities")])
def test_a_page_lists_the_fields_of_its_record(hook: str, record: str) -> None:
    kind = getattr(importlib.import_module("vdb_core.plugins"), record)
    text = (ROOT / f"docs/reference/hooks/{hook}.md").read_text("utf-8")
    told = [
        (cells[0].strip("`"), cells[1].strip("`").replace("\\|", "|"), cells[2] == "required")
        for cells in rows(text, f"## `{record}`")
    ]
    needed = dataclasses.MISSING
    assert told == [
        (field.name, field.type, field.default is needed and field.default_factory is needed)
        for field in dataclasses.fields(kind)
    ]


def test_the_configuration_page_lists_every_setting_with_its_default() -> None:
    from vdb_server.settings import Settings

    def shown(value: object) -> str:
        if value is None or value == frozenset():
            return ""
        if isinstance(value, Path):
            return f"`./{value.as_posix()}`"
        return f"`{str(value).lower() if isinstance(value, bool) else value}`"

    text = (ROOT / "docs/reference/configuration.md").read_text("utf-8")
    defaults = {f"`VDB_{each.upper()}`": field.default for each, field in Settings.model_fields.items()}
    told = {cells[0]: cells[1] for cells in rows(text, "# Configuration")}
    assert told == {key: shown(value) for key, value in defaults.items()}


def test_the_index_page_lists_every_parameter_with_its_default() -> None:
    from vdb_core.plugins import PluginManager

    manager = PluginManager()
    manager.load()
    text = (ROOT / "docs/reference/index-types.md").read_text("utf-8")
    for kind in (manager.index_types[each] for each in ("brute", "ivf_flat", "ivf_pq")):
        section = text.split(f"\n## `{kind.name}`\n", 1)[1].split("\n## ", 1)[0]
        for model in (kind.params, kind.search_params):
            for parameter, info in model.model_fields.items():
                pattern = rf"(?m)^\| `{parameter}` \| `{re.escape(str(info.default))}` \|"
                assert re.search(pattern, section), f"{kind.name}: {parameter}, default {info.default}"
        assert kind.complexity is not None
        for cost in (kind.complexity.build, kind.complexity.query, kind.complexity.space):
            assert cost in section, f"{kind.name}: {cost}"


def test_the_explanation_of_the_indexes_has_the_costs_that_their_records_tell() -> None:
    from vdb_core.plugins import PluginManager

    manager = PluginManager()
    manager.load()
    told = rows((ROOT / "docs/explanation/indexes.md").read_text("utf-8"), "## What each costs, and gives up")
    kinds = [manager.index_types[each] for each in ("brute", "ivf_flat", "ivf_pq", "numpy")]
    costs = [(kind.name, kind.complexity) for kind in kinds if kind.complexity is not None]
    assert told == [[f"`{kind}`", cost.build, cost.query, cost.space] for kind, cost in costs]


def test_the_architecture_page_names_every_thread() -> None:
    text = (ROOT / "docs/explanation/architecture.md").read_text("utf-8")
    told = {name for cells in rows(text, "## Threads") for name in re.findall(r"`(vdb-[a-z-]+)`", cells[0])}
    sources = [
        file.read_text("utf-8")
        for folder in ("vdb-core/src/vdb_core", "vdb-server/src/vdb_server")
        for file in (ROOT / folder).rglob("*.py")
        if "testing" not in file.parts
    ]
    pattern = r'(?:Thread\(|ThreadPoolExecutor\().{0,160}?"(vdb-[a-z-]+)"'
    found = {name for source in sources for name in re.findall(pattern, source, re.DOTALL)}
    assert told == found


def test_the_embedder_page_lists_every_setting_with_its_default() -> None:
    from vdb_core.plugins import PluginManager

    manager = PluginManager()
    manager.load()
    text = (ROOT / "docs/reference/embedders.md").read_text("utf-8")
    for name, kind in manager.embedders.items():
        section = text.split(f"\n## `{name}`\n", 1)[1].split("\n## ", 1)[0]
        told = [
            (cells[0].strip("`"), cells[1].strip("`"), cells[2]) for cells in rows(f"\n#\n{section}", "#")
        ]
        shown = {None: "", True: "true"}
        assert told == [
            (field, shown[info.default], info.description) for field, info in kind.params.model_fields.items()
        ]


def test_the_command_page_lists_every_command_with_its_flags() -> None:
    import typer.main

    from vdb_server.cli.commands import app

    text = (ROOT / "docs/reference/cli.md").read_text("utf-8")
    sections = dict(re.findall(r"(?ms)^## `vdb (\w+)[^`]*`\n(.*?)(?=^## |\Z)", text))
    group = typer.main.get_command(app)
    commands = getattr(group, "commands", {})
    assert sections.keys() == commands.keys()
    for command, section in sections.items():
        flags = {
            flag for parameter in commands[command].params for flag in parameter.opts if flag.startswith("-")
        }
        told = set(re.findall(r"`(--?[a-z][a-z-]*)`", section))
        assert told == flags - {"--help"}, command
