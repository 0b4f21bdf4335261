"""``python -m vdb_server`` is ``vdb``."""

from __future__ import annotations

from vdb_server.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
