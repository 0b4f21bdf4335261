"""The ``vdb`` command. Listing its commands imports neither the engine nor the web framework."""

from __future__ import annotations

import gc
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line."""
    if sys.argv[1:2] == ["serve"]:
        from vdb_server.cli.thread_caches import keep_thread_caches_small

        keep_thread_caches_small()
        # What a start makes, stays: looking for garbage in it takes an eighth of a second. `serve` enables it again.
        gc.disable()
    from vdb_server.cli.commands import app

    app()
