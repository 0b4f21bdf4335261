"""The ``vdb`` command. Listing its commands imports neither the engine nor the web framework."""

from __future__ import annotations

import gc
import sys
from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["main"]


def main() -> None:
    """Run the command line."""
    if sys.argv[1:2] == ["serve"]:
        from vdb_server.cli.thread_caches import keep_thread_caches_small

        keep_thread_caches_small()
        # What a start makes, stays: looking for garbage in it takes an eighth of a second. `serve` enables it again.
        gc.disable()
        _import_structlog()
    from vdb_server.cli.commands import app

    app()


def _import_structlog() -> None:
    """Import structlog without rich, which it takes where it finds it, to draw tracebacks: an eighth of all imports."""
    if "rich" not in sys.modules:
        sys.modules["rich"] = cast("ModuleType", cast("object", None))
        try:
            _ = import_module("structlog")
        finally:
            del sys.modules["rich"]
