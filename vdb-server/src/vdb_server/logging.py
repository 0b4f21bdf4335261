"""Logging: structlog for our own records and the standard library's through the same formatter, to standard error."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger, Processor

    from vdb_server.settings import Settings

__all__ = ["configure_logging", "get_logger"]


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
    # Its lines about starting and stopping repeat what the command says itself.
    logging.getLogger("uvicorn").setLevel(max(logging.WARNING, root.level))
    # What callers get wrong is in the answers they get; anybody could fill the log with it.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)


def _shared() -> list[Processor]:
    return [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
