# Written by vdb-sdk/scripts/unasync.py from _async/__init__.py: change that file, then run the script.
# fmt: off
# ruff: noqa: I001, UP028, RUF100
"""The synchronous client, from which `vdb-sdk/scripts/unasync.py` writes the synchronous one."""

from __future__ import annotations

__all__: list[str] = []
