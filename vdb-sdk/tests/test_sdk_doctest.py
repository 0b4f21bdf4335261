"""Runs the examples in the docstrings: the synchronous ones as they stand, the asynchronous ones in an event loop."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import doctest
import importlib
import inspect
import io
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from types import ModuleType

MODULES = ["vdb_sdk._connect", *(f"vdb_sdk._sync.{name}" for name in ("client", "jobs", "library"))]
ASYNC_MODULES = [f"vdb_sdk._async.{name}" for name in ("client", "jobs", "library")]


def examples(name: str) -> list[doctest.DocTest]:
    module: ModuleType = importlib.import_module(name)
    found = doctest.DocTestFinder(exclude_empty=True).find(module, name)
    return [test for test in found if test.examples]


@pytest.mark.parametrize(
    "test", [test for name in MODULES for test in examples(name)], ids=lambda test: test.name
)
def test_synchronous_example(test: doctest.DocTest) -> None:
    report = io.StringIO()
    runner = doctest.DocTestRunner()
    assert runner.run(test, out=report.write).failed == 0, report.getvalue()


async def run_async(test: doctest.DocTest) -> None:
    names: dict[str, Any] = {}
    for example in test.examples:
        out = io.StringIO()
        code = compile(example.source, test.name, "single", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        with contextlib.redirect_stdout(out):
            result = eval(code, names)
            if inspect.iscoroutine(result):
                await result
        assert out.getvalue() == example.want, example.source


@pytest.mark.parametrize(
    "test", [test for name in ASYNC_MODULES for test in examples(name)], ids=lambda test: test.name
)
def test_asynchronous_example(test: doctest.DocTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "displayhook", lambda value: None if value is None else print(repr(value)))
    asyncio.run(run_async(test))
