"""One file a server: how it is started and filled, and which setting it runs at."""

from __future__ import annotations

__all__: list[str] = []
