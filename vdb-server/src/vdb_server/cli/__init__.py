"""The ``vdb`` command. Listing its commands imports neither the engine nor the web framework."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Run the command line."""
    from vdb_server.cli.commands import app

    app()
