"""Index builds, snapshots, and the jobs that do them."""

from __future__ import annotations

__all__: list[str] = []
