"""``vdb serve``: opens the engine, listens, says so, and stops gracefully."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Final

import uvicorn
from pydantic import SecretStr

from vdb_core.errors import DataDirectoryLocked, OperatorError, ValidationFailed
from vdb_core.services import return_memory_early
from vdb_server.app import create_app
from vdb_server.cli.configuration import told_of_settings
from vdb_server.cli.output import Failure, line, warn
from vdb_server.cli.patience import Patience, look_at
from vdb_server.cli.writing import Protocol
from vdb_server.keys import KEPT_KEY, keep_key
from vdb_server.logging import configure_logging
from vdb_server.opening import open_engine

if TYPE_CHECKING:
    from collections.abc import Generator

    from vdb_server.settings import Settings

__all__ = ["serve"]

_SWITCH_INTERVAL_S: Final = 0.0005
"""How long a thread may keep the interpreter while others wait for it. Beside one thread that runs Python code all the
time, as a fold or a build does in between, the median search over HTTP took 9.6 ms with Python's default of 5 ms and
2.2 ms with this (2 cores, 200 rows; 0.1 ms gained no more than 0.7 ms and switches five times as often)."""

_GRACE_S: Final = 20
"""How long requests that are being answered may take to end once the server was asked to stop."""

_TICKS_A_LOOK: Final = 10
"""uvicorn ticks ten times a second."""

_KEEP_ALIVE_S: Final = 75
"""Longer than clients keep idle connections: a server that closes first makes their next request fail."""


def serve(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM."""
    refusal = settings.refusal()
    if refusal is None and _workers() > 1:
        refusal = (
            f"WEB_CONCURRENCY asks for {_workers()} worker processes, and one data directory is served by one process: "
            "unset it."
        )
    if refusal is not None:
        raise Failure(refusal, 2)
    configure_logging(settings)
    _name_service()
    return_memory_early()
    with _listen(settings.host, settings.port) as listener:
        try:
            with _stoppable():
                services = open_engine(settings)
        except DataDirectoryLocked as error:
            raise Failure(str(error)) from error
        except ValidationFailed as error:
            raise Failure(told_of_settings(error), 2) from error
        except (OperatorError, OSError) as error:
            raise Failure(f"the data directory {settings.data_dir} cannot be opened: {error}") from error
        for report in services.plugins.reports():
            if report.state not in {"loaded", "disabled"}:
                warn(f"vdb: plugin {report.name} of {report.distribution} is not loaded: {report.reason}")
        with services:
            if settings.needs_key:
                settings = _with_kept_key(settings)
            app = create_app(settings, services)
            # What was made so far stays for good: collections need not walk it again and again.
            gc.freeze()
            gc.enable()
            sys.setswitchinterval(_SWITCH_INTERVAL_S)
            config = uvicorn.Config(
                app,
                http=Protocol,
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=_GRACE_S,
            )
            patience = Patience(headers=settings.header_timeout_s, body=settings.body_timeout_s)
            url = f"http://{_shown(settings.host)}:{listener.getsockname()[1]}"
            _Server(config, url, patience).run([listener])


@contextlib.contextmanager
def _stoppable() -> Generator[None]:
    """Let SIGTERM end what runs before the server takes signals over.

    In a container this is process 1, which the system's own answer to SIGTERM spares: without this, stopping it while
    much is read from disk would wait until it is killed.
    """

    def leave(number: int, _: object) -> None:
        raise Failure("stopped before it was ready", 128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _with_kept_key(settings: Settings) -> Settings:
    """Settings with the key of the data directory, which is made and shown where there is none yet."""
    file = settings.data_dir / KEPT_KEY
    try:
        key, is_new = keep_key(settings.data_dir)
        kept = settings.model_copy(update={"api_key": SecretStr(key)})
    except ValueError as error:
        raise Failure(str(error)) from error
    except OSError as error:
        raise Failure(
            f"the API key cannot be kept in {file}: {error.strerror or error}. Set VDB_API_KEY."
        ) from error
    if is_new:
        line(
            f"vdb listens beyond this machine and no API key was given, so it made one:\n\n    {key}\n\n"
            f"It is shown this once and kept in {file}. VDB_API_KEY sets another."
        )
    else:
        line(f"vdb uses the API key in {file}. VDB_API_KEY sets another.")
    return kept


class _Server(uvicorn.Server):
    """Says when it is ready, hangs up on who keeps it waiting, and ends with 0 where a signal asked it to."""

    def __init__(self, config: uvicorn.Config, url: str, patience: Patience) -> None:
        super().__init__(config)
        self._url = url
        self._patience = patience

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            line(f"vdb is ready at {self._url}")

    async def on_tick(self, counter: int) -> bool:
        if counter % _TICKS_A_LOOK == 0:
            look_at(self.server_state.connections, self._patience)
        return await super().on_tick(counter)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        # The base class raises the signal again once everything has stopped, which would end this process before the
        # engine is closed, and with the status of a process that was killed.
        before = {
            number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _listen(host: str, port: int) -> socket.socket:
    name = host.strip("[]")
    try:
        family, _, _, _, address = socket.getaddrinfo(
            name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(address[:2], family=family, backlog=2048)
    except OSError as error:
        raise Failure(
            f"cannot listen on {host} port {port}: {error.strerror or error}. Is the port in use?"
        ) from error


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _name_service() -> None:
    """Call ourselves vdb in traces, unless the standard variables say otherwise."""
    if "service.name" not in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        os.environ.setdefault("OTEL_SERVICE_NAME", "vdb")


def _workers() -> int:
    text = os.environ.get("WEB_CONCURRENCY", "1")
    return int(text) if text.isascii() and text.isdigit() else 1
