"""Logging: structlog for our own records and the standard library's through the same formatter, to standard error."""

from __future__ import annotations

import logging
import sys
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

import structlog

from vdb_server.system.tracing import trace_ids

if TYPE_CHECKING:
    from structlog.typing import EventDict, FilteringBoundLogger, Processor

    from vdb_server.settings import Settings

__all__ = ["AUDIT_LOGGER", "REQUEST_ID", "configure_logging", "get_logger"]

AUDIT_LOGGER: Final = "vdb_server.audit"
"""Whose lines are written whatever the level of all others is."""

REQUEST_ID: Final[ContextVar[str | None]] = ContextVar("vdb_request_id", default=None)
"""Id of the request that is being answered, also in the threads that work for it."""


_FIELDS: Final = ("library", "operations", "rows", "seconds", "rows_per_s")
"""What records of the core carry beside their text (see ``vdb_core.engine.recovery``)."""


def get_logger(name: str) -> FilteringBoundLogger:
    """Get a logger that hands structured records to the standard library's logger of the same name."""
    return structlog.wrap_logger(
        logging.getLogger(name),
        processors=[
            structlog.stdlib.filter_by_level,
            *_shared(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def configure_logging(settings: Settings) -> None:
    """Set up the process's logging. Only the command does this; a library that is embedded leaves logging alone."""
    readable = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if readable
        else structlog.processors.JSONRenderer()
    )
    last: list[Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if not readable:
        last.append(structlog.processors.format_exc_info)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(allow=_FIELDS), *_shared()],
            processors=[*last, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    logging.getLogger(AUDIT_LOGGER).setLevel(min(logging.INFO, root.level))
    # Its lines about starting and stopping repeat what the command says itself.
    logging.getLogger("uvicorn").setLevel(max(logging.WARNING, root.level))
    # What callers get wrong is in the answers they get; anybody could fill the log with it.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)


def _shared() -> list[Processor]:
    return [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        _add_request,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _add_request(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Say in which request, and in which trace, something happened."""
    request_id = REQUEST_ID.get()
    if request_id is not None:
        event.setdefault("request_id", request_id)
    event.update(trace_ids())
    return event
