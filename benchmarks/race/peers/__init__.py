"""One adapter each; :mod:`race.peers.catalog` knows them all."""

from __future__ import annotations

__all__: list[str] = []
