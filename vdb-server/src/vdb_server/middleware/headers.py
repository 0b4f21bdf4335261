"""Reads raw ASGI headers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import Scope

__all__ = ["header", "headers_named"]


def header(scope: Scope, name: bytes) -> str | None:
    """The first header of a lower-case name, or ``None``."""
    for key, value in scope["headers"]:
        if key == name:
            return value.decode("latin-1")
    return None


def headers_named(scope: Scope, name: bytes) -> list[str]:
    """Every header of a lower-case name."""
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]
