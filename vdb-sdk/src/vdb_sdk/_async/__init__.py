"""The asynchronous client, from which `vdb-sdk/scripts/unasync.py` writes the synchronous one."""

from __future__ import annotations

__all__: list[str] = []
