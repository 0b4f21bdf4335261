"""The site of the documentation: its navigation names every page, and its tools do what they are there for."""

from __future__ import annotations

import importlib
import re
import tomllib
from typing import TYPE_CHECKING

import pytest
from architecture_diagram import FILE, drawing
from build_site import DOCS, ROOT, rewrite
from check_site import faults

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = DOCS / "how-to" / "page.md"


def named(entry: object) -> Iterator[str]:
    """The pages that an entry of the navigation names, those below it included."""
    if isinstance(entry, str):
        yield entry
    elif isinstance(entry, dict):
        for below in entry.values():
            yield from named(below)
    elif isinstance(entry, list):
        for below in entry:
            yield from named(below)


def test_the_navigation_names_every_page_once() -> None:
    settings = tomllib.loads((ROOT / "zensical.toml").read_text("utf-8"))
    assert sorted(named(settings["project"]["nav"])) == sorted(
        page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")
    )


def test_the_index_links_every_page_but_single_decisions() -> None:
    text = (DOCS / "README.md").read_text("utf-8")
    pages = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    told = {page for page in pages if f"]({page})" in text}
    assert {page for page in pages - told if not page.startswith("adr/0")} == {"README.md"}


@pytest.mark.parametrize(
    ("page", "packages"),
    [
        ("sdk-api", ["vdb_sdk"]),
        ("plugin-api", [f"vdb_core.{name}" for name in ("plugins", "indexes", "persistence", "testing")]),
    ],
)
def test_pages_made_of_docstrings_name_all_that_is_public(page: str, packages: list[str]) -> None:
    text = (DOCS / f"reference/{page}.md").read_text("utf-8")
    listed = re.findall(r"(?m)^::: ([\w.]+)$", text)
    whole = {each for each in listed if each.endswith(".errors")}
    inside = {name for each in whole for name in importlib.import_module(each).__all__}
    public = {
        f"{package}.{name}" for package in packages for name in importlib.import_module(package).__all__
    }
    # Hooks have pages of their own; the version is no class.
    left_out = {
        each
        for each in public
        if ".vdb_register_" in each or each.rpartition(".")[2] in inside | {"__version__"}
    }
    assert sorted(set(listed) - whole) == sorted(public - left_out)
    assert len(listed) == len(set(listed))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[a](operate.md#x)", "[a](operate.md#x)"),
        ("[a](https://example.com)", "[a](https://example.com)"),
        ("[the list](../../demo/README.md#x)", "the list (`demo/README.md`)"),
        ("[`vdb-core`](../../vdb-core)", "`vdb-core`"),
        ("```md\n[a](../../demo)\n```\n[a](../../demo)", "```md\n[a](../../demo)\n```\na (`demo`)"),
        ("| `int \\| None` | a \\| b |", "| `int | None` | a \\| b |"),
    ],
)
def test_links_out_of_the_docs_name_the_path(text: str, expected: str) -> None:
    assert rewrite(text, PAGE, None) == expected


def test_links_out_of_the_docs_lead_to_the_repository_where_it_is_declared() -> None:
    told = rewrite("[a](../../vdb-core) [b](../../README.md#x)", PAGE, "https://example.com/vdb")
    root = "https://example.com/vdb"
    assert told == f"[a]({root}/tree/main/vdb-core) [b]({root}/blob/main/README.md#x)"


def test_the_diagram_is_as_its_program_draws_it() -> None:
    assert FILE.read_text("utf-8") == drawing(), "run docs/tools/architecture_diagram.py"


def test_the_check_of_the_site_finds_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "index.html").write_text('<h1 id="here">B</h1><a href="..">A</a>', "utf-8")
    (tmp_path / "index.html").write_text(
        '<a href="b/#here">B</a><a href="b/#nowhere">B</a><a href="c/">C</a><a href="https://example.com">D</a>'
        '<img src="d.svg"><script src="https://example.com/x.js"></script>',
        "utf-8",
    )
    assert faults(tmp_path) == [
        "index.html: b/#nowhere: the page has no such place",
        "index.html: c/ is not there",
        "index.html: d.svg is not there",
        "index.html: https://example.com/x.js is of another host",
    ]
