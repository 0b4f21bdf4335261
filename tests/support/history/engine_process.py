"""An engine in a process of its own that can be killed: started by a fork server that has everything imported."""

from __future__ import annotations

import multiprocessing
import os
import signal
from multiprocessing import forkserver
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from history.events import Reply
from history.service_side import ask_services
from vdb_core.engine import folding, search, segments
from vdb_core.errors import BuildInProgress, CallerError
from vdb_core.plugins import PluginManager
from vdb_core.services import EngineSettings, open_services

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection

    from history.operations import Read, Write
    from vdb_core.services import Services

__all__ = ["EngineProcess"]

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["pytest", "vdb_index_rust", "history.engine_process"])
_TIMEOUT_S = 60.0


def _start_the_fork_server() -> None:
    """Start it where it finds what it is to import: before Python 3.13 it does not look at this process's path."""
    before = os.environ.get("PYTHONPATH")
    own = str(Path(__file__).parents[1])
    os.environ["PYTHONPATH"] = own if before is None else f"{own}{os.pathsep}{before}"
    try:
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


class EngineProcess:
    """Services over a data directory, as they would be in another program. Asked by one thread."""

    def __init__(self, data_dir: Path) -> None:
        _start_the_fork_server()
        self._pipe, theirs = _context.Pipe()
        self._process = _context.Process(target=_serve, args=(theirs, str(data_dir)), daemon=True)
        self._process.start()
        theirs.close()

    def wait_until_open(self) -> None:
        """Wait until it has opened the data directory."""
        self._receive()

    def call(self, what: str, *arguments: object) -> Any:
        """Ask it to do something, and wait; raises what it raised."""
        self._pipe.send((what, arguments))
        return self._receive()

    def begin(self, what: str, *arguments: object) -> None:
        """Ask it to do something, and don't wait."""
        self._pipe.send((what, arguments))

    def heard(self) -> list[Reply]:
        """Replies of a burst that have come by now, after it was killed."""
        replies: list[Reply] = []
        try:
            while self._pipe.poll(0):
                replies.append(cast("Reply", self._pipe.recv()))
        except (EOFError, OSError):
            pass
        return replies

    def kill(self) -> None:
        """End it as a power cut would, as far as a process can tell."""
        if self._process.pid is not None and self._process.is_alive():
            os.kill(self._process.pid, signal.SIGKILL)
        self._process.join(_TIMEOUT_S)

    def discard(self) -> None:
        """Forget it, after it ended."""
        self._pipe.close()
        self._process.join(_TIMEOUT_S)
        self._process.close()

    def _receive(self) -> Any:
        if not self._pipe.poll(_TIMEOUT_S):
            raise AssertionError(f"the engine does not answer within {_TIMEOUT_S} s")
        value = self._pipe.recv()
        if isinstance(value, BaseException):
            raise value
        return value


def _serve(pipe: Connection, data_dir: str) -> None:
    """Folds after a few rows, segments of a few rows, and no search small enough to go past the index."""
    folding._FOLD_ROWS, folding._DEAD_ROWS = 8, 4  # type: ignore[misc]
    search._FEW_ROWS = 0  # type: ignore[misc]
    segments.SMALL_ROWS = 3
    plugins = PluginManager.from_environment()
    plugins.load()
    with open_services(EngineSettings(data_dir=Path(data_dir)), plugins=plugins) as services:
        pipe.send("open")
        while True:
            what, arguments = pipe.recv()
            if what == "close":
                break
            try:
                pipe.send(_do(services, pipe, what, arguments))
            except Exception as error:  # noqa: BLE001 - raised again by who asked
                pipe.send(AssertionError(f"{what}: {type(error).__name__}: {error}"))
    pipe.send("closed")


def _do(services: Services, pipe: Connection, what: str, arguments: Sequence[Any]) -> object:
    match what:
        case "ask":
            return ask_services(services, "lib", cast("Read | Write", arguments[0]))
        case "burst":
            for operation in arguments[0]:
                pipe.send(ask_services(services, "lib", operation))
            return Reply("ok", "all of it")
        case "build":
            kind, wait = arguments
            body = {} if kind is None else {"type": kind}
            try:
                job = (
                    services.indexing.snapshot("lib")
                    if kind == "snapshot"
                    else services.indexing.start("lib", body)
                )
            except BuildInProgress:
                return None
            if wait:
                job.wait(_TIMEOUT_S)
            return job.error
        case "create":
            return services.libraries.create(arguments[0]).result(_TIMEOUT_S).to_json()
        case "delete":
            services.libraries.delete("lib").result(_TIMEOUT_S)
            return None
        case "replace":
            services.libraries.delete("lib").result(_TIMEOUT_S)
            pipe.send(Reply("ok", "deleted"))
            services.libraries.create(arguments[0]).result(_TIMEOUT_S)
            return Reply("ok", "created")
        case "exists":
            try:
                return services.libraries.get("lib").chunks >= 0
            except CallerError:
                return False
        case "health":
            return services.health()
        case _:
            raise ValueError(what)
