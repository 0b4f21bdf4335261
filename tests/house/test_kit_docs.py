"""The page on testing a plugin lists every test of every suite with the promise that its docstring makes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vdb_core import testing
from vdb_core.testing.claims import promises

PAGE = (Path(__file__).resolve().parents[2] / "docs/how-to/test-a-plugin.md").read_text("utf-8")
SUITES = [name for name in testing.__all__ if name.endswith("Conformance")]


@pytest.mark.parametrize("suite", SUITES)
def test_the_page_lists_every_test_with_its_promise(suite: str) -> None:
    section = PAGE.split(f"\n## `{suite}`\n", 1)[1].split("\n## ", 1)[0]
    told = dict(re.findall(r"(?m)^\| `(test_\w+)` \| (.*) \|$", section))
    assert told == {name: promise for name, (promise, _) in promises(getattr(testing, suite)).items()}


@pytest.mark.parametrize("suite", SUITES)
def test_every_test_makes_a_promise(suite: str) -> None:
    without = [name for name, (promise, _) in promises(getattr(testing, suite)).items() if not promise]
    assert without == []


def test_a_claim_is_named_in_the_promise_of_its_test() -> None:
    for name, (promise, claimed) in promises(testing.IndexConformance).items():
        assert not claimed or claimed in promise, f"{name} is a test of the claim {claimed}"
