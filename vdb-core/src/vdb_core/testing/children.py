"""Runs a function on a suite in a process of its own, which may then be killed at any moment."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

__all__ = ["Child", "child", "main", "say"]

_START = "from vdb_core.testing.children import main; main()"


class Child:
    """A running process; what it prints is read line by line."""

    def __init__(self, process: subprocess.Popen[str], errors: Path) -> None:
        self._process = process
        self._errors = errors

    def wait_for(self, word: str) -> str:
        """Read up to the next line that begins with a word; returns the rest of that line.

        Raises:
            AssertionError: the process ended without it; the message has what it said last.
        """
        for line in cast("IO[str]", self._process.stdout):
            if line.startswith(word):
                return line.removeprefix(word).strip()
        _ = self._process.wait(60)
        said = self._errors.read_text(encoding="utf-8", errors="replace")[-3000:]
        raise AssertionError(
            f"the process that was to be killed ended by itself, with {self._process.returncode}:\n{said}"
        )

    def kill(self) -> None:
        """End it as a power cut would, as far as a process can tell."""
        self._process.kill()
        _ = self._process.wait(60)


@contextmanager
def child(suite: type, function: str, *arguments: object, beside: Path) -> Generator[Child]:
    """Call ``function(suite, *arguments)``, a ``module:name``, in a process of its own; killed at the end.

    Args:
        suite: a class at the top level of a file, which the process loads.
        function: what to call.
        arguments: strings and numbers.
        beside: a directory for what the process says when it fails.
    """
    name, file = (
        suite.__qualname__,
        inspect.getsourcefile(suite) or getattr(sys.modules[suite.__module__], "__file__", None),
    )
    assert file is not None, f"{name} is not defined in a file; a process of its own could not load it"
    assert "<locals>" not in name, (
        f"{name} is defined within a function; define it at the top level of {file}"
    )
    task = json.dumps([file, suite.__module__, name, function, arguments])
    errors = beside / f"{function.rpartition(':')[2]}-{time.monotonic_ns()}.log"
    with errors.open("w", encoding="utf-8") as log:
        process = subprocess.Popen(  # noqa: S603 - this Python, on the file that is being tested
            [sys.executable, "-c", _START, task],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
    running = Child(process, errors)
    try:
        yield running
    finally:
        running.kill()
        cast("IO[str]", process.stdout).close()


def say(line: str) -> None:
    """Tell the process that waits, at once."""
    _ = sys.stdout.write(f"{line}\n")
    _ = sys.stdout.flush()


def main() -> None:
    """What the process runs: its last argument says which suite, which function, and with what."""
    file, module_name, name, function, arguments = cast(
        "tuple[str, str, str, str, list[object]]", tuple(json.loads(sys.argv[-1]))
    )
    module_of_function, _, function_name = function.partition(":")
    spec = importlib.util.spec_from_file_location(module_name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and pickles look their module up; a suite that is imported under its own name is the same one.
    sys.modules[module_name] = module
    spec.loader.exec_module(module)
    suite: object = module
    for part in name.split("."):
        suite = getattr(suite, part)
    getattr(importlib.import_module(module_of_function), function_name)(suite, *arguments)
