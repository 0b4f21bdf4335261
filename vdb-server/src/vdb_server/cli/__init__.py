"""The ``vdb`` command. Listing its commands imports neither the engine nor the web framework."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line."""
    if sys.argv[1:2] == ["serve"]:
        from vdb_server.cli.thread_caches import keep_thread_caches_small

        keep_thread_caches_small()
    from vdb_server.cli.commands import app

    app()
