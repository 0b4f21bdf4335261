"""A process of the pool (see forks.py): imports everything once, then forks for each job that comes in a line of JSON."""

from __future__ import annotations

import gc
import importlib
import json
import logging
import os
import select
import signal
import sys
import time
import traceback
from dataclasses import astuple
from typing import TYPE_CHECKING, Any

from crash_kit.shim import Shim
from vdb_core.engine.accelerator import accelerator_of
from vdb_core.plugins import PluginManager

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PLUGINS", "SHIM", "in_fork"]

SHIM = Shim()
PLUGINS = PluginManager.from_environment()


def main(warm: list[str]) -> None:
    """Serve until the input ends."""
    # What a job prints must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    logging.disable(logging.CRITICAL)  # what is damaged on purpose is reported at length
    PLUGINS.load()
    for name in warm:
        importlib.import_module(name)
    _warm_up()
    for line in sys.stdin:
        answers.write(json.dumps(_serve(json.loads(line))) + "\n")
        answers.flush()


def _warm_up() -> None:
    """Import what an engine imports while it works, so that no fork has to; a fork tells what that is."""

    def imported() -> list[str]:
        play, scratch = map(importlib.import_module, ("crash_kit.play", "crash_kit.scratch"))
        before = set(sys.modules)
        with scratch.scratch() as root:
            play.prepare(str(root))
        return [name for name in sys.modules if name not in before]

    names, error, _ = in_fork(imported)
    if error:
        raise RuntimeError(f"An engine does not even work undisturbed:\n{error}")
    for name in names:
        importlib.import_module(name)
    # It is tried once a process, which would be once a fork.
    _ = accelerator_of(PLUGINS.index_types.get("brute"))
    # What is collected in a fork would be copied for it.
    gc.collect()
    gc.freeze()


def _serve(request: dict[str, Any]) -> dict[str, Any]:
    module, _, function = request["task"].partition(":")

    def call() -> Any:
        return getattr(importlib.import_module(module), function)(**request["job"])

    if request["inline"]:
        # The work forks by itself, and leaves nothing behind in this process.
        result, error, code = _told(call)
    else:
        result, error, code = in_fork(call, timeout=request["timeout"])
    return {"result": result, "error": error, "signal": code, "state": astuple(SHIM.state())}


def in_fork(function: Callable[..., Any], *arguments: Any, timeout: float = 60.0) -> tuple[Any, str, int]:
    """Call a function in a fork of this process; gives its result, its traceback, and the signal that ended it.

    Nothing is closed at its end: an engine that is still open ends as in a crash.
    """
    begin, end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(begin)
        answer = _told(lambda: function(*arguments))
        SHIM.disarm()
        with os.fdopen(end, "w", encoding="utf-8") as out:
            json.dump(answer[:2], out)
        os._exit(0)
    os.close(end)
    said, in_time = _listen(begin, time.monotonic() + timeout)
    os.close(begin)
    if not in_time:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    code = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if not in_time:
        return None, f"it did not end within {timeout} s", code
    if not said:
        return None, "" if code else f"it ended with {os.WEXITSTATUS(status)} and without a result", code
    result, error = json.loads(said)
    return result, error, code


def _told(call: Callable[[], Any]) -> tuple[Any, str, int]:
    try:
        return call(), "", 0
    except BaseException:  # noqa: BLE001 - told to whoever asked
        return None, traceback.format_exc(), 0


def _listen(begin: int, deadline: float) -> tuple[bytes, bool]:
    """Read until the other end is closed; false where that takes too long."""
    pieces: list[bytes] = []
    while (left := deadline - time.monotonic()) > 0:
        if select.select([begin], [], [], left)[0]:
            piece = os.read(begin, 1 << 16)
            if not piece:
                return b"".join(pieces), True
            pieces.append(piece)
    return b"".join(pieces), False


if __name__ == "__main__":
    sys.modules["crash_kit.worker"] = sys.modules["__main__"]
    main(sys.argv[1:])
