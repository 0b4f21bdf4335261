"""Flags that several commands have, and how a command fails."""

from __future__ import annotations

from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ParamSpec

import typer

from vdb_server.cli.output import Failure, fail

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["AsJson", "DataDir", "LibraryArgument", "Url", "command"]

P = ParamSpec("P")

Url = Annotated[
    str | None,
    typer.Option("--url", help="URL of a running server (VDB_URL). Default: http://127.0.0.1:8000."),
]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Open this data directory in place of talking to a server."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
LibraryArgument = Annotated[str, typer.Argument(help="Id of the library.", metavar="LIBRARY")]


def command(function: Callable[P, None]) -> Callable[P, None]:
    """Turn failures into messages and exit codes."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except Failure as failure:
            fail(str(failure), failure.code)
        except KeyboardInterrupt:
            fail("interrupted", 130)

    return run
