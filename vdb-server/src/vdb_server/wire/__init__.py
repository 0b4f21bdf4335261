"""HTTP as this server speaks it: bodies, replies, parameters, preconditions, and their description in OpenAPI."""

from __future__ import annotations

__all__: list[str] = []
