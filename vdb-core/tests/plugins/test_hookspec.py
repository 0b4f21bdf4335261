"""Each hook's docstring is a plugin that runs, and what is declared is what the manager calls."""

from __future__ import annotations

import doctest
import inspect

import pytest

from vdb_core import plugins
from vdb_core.plugins import hookspec
from vdb_core.plugins.validation import KINDS

HOOKS = [name for name in hookspec.__all__ if name.startswith("vdb_register_")]


@pytest.mark.parametrize("hook", HOOKS)
def test_the_docstring_is_a_plugin_that_runs(hook: str) -> None:
    (test,) = doctest.DocTestFinder(recurse=False).find(getattr(hookspec, hook), hook)
    source = "".join(example.source for example in test.examples)
    assert "@hookimpl" in source
    assert f"def {hook}(self)" in source
    assert "manager.register(" in source
    results = doctest.DocTestRunner().run(test)
    assert results.attempted > 5
    assert results.failed == 0


def test_the_manager_knows_every_hook_and_no_other() -> None:
    assert sorted(HOOKS) == sorted(KINDS)
    for hook, (_, record) in KINDS.items():
        function = getattr(plugins, hook)
        assert list(inspect.signature(function).parameters) == []
        assert record.__name__ in inspect.signature(function).return_annotation


def test_everything_public_is_there() -> None:
    assert sorted(set(plugins.__all__)) == sorted(plugins.__all__)
    assert all(hasattr(plugins, name) for name in plugins.__all__)
