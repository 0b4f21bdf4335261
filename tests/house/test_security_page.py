"""The page of what the server guards names tests that are there, and every setting that bounds something is tried."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/explanation/security.md"
ROWS = re.findall(r"(?m)^\| ([^|]+) \| (`[^|]+`) \|$", PAGE.read_text("utf-8"))


def names_in(file: Path) -> set[str]:
    return {
        node.name
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


@pytest.mark.parametrize(("promise", "shown"), ROWS, ids=[promise[:50] for promise, _ in ROWS])
def test_a_promise_names_tests_that_are_there(promise: str, shown: str) -> None:
    named = re.findall(r"`([^`]+)`", shown)
    assert named, promise
    for each in named:
        path, _, name = each.partition("::")
        assert (ROOT / path).is_file(), each
        assert name in names_in(ROOT / path), each


def test_the_table_is_whole() -> None:
    assert len(ROWS) == PAGE.read_text("utf-8").count("\n| ") - 1
    assert len(ROWS) >= 24
