"""The ``vdb-dashboard`` command; ``vdb dashboard`` and ``python -m vdb_dashboard`` are the same."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from vdb_dashboard.launch import environment, free_port, streamlit_arguments

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the dashboard until it is interrupted."""
    parser = argparse.ArgumentParser(prog="vdb dashboard", description="A dashboard for a vdb server.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8501, help="port; 0 takes a free one (default: 8501)")
    parser.add_argument(
        "--url",
        default=os.environ.get("VDB_URL") or "http://127.0.0.1:8000",
        help="URL of the server (VDB_URL; default: http://127.0.0.1:8000)",
    )
    parser.add_argument(
        "--allowed-host",
        action="append",
        default=[],
        help="a name by which browsers reach the dashboard, against DNS rebinding; may be repeated",
    )
    given = parser.parse_args(arguments)
    if not given.url.startswith(("http://", "https://")):
        parser.error(f"--url: expected http://... or https://..., received {given.url!r}")
    try:
        port = given.port or free_port(given.host)
    except OSError as error:
        parser.error(f"--host: cannot listen on {given.host}: {error.strerror or error}")
    mine = environment(given.url, given.host)
    os.environ.clear()
    os.environ.update(mine)
    from streamlit.web.cli import main as streamlit

    sys.argv = ["streamlit", *streamlit_arguments(given.host, port, given.allowed_host)]
    streamlit(prog_name="streamlit")
    return 0


if __name__ == "__main__":
    sys.exit(main())
