"""Reads raw ASGI headers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from starlette.types import Scope

__all__ = ["header", "headers_named"]


_BY_NAME: Final = "vdb.headers"


def header(scope: Scope, name: bytes) -> str | None:
    """The first header of a lower-case name, or ``None``."""
    by_name: dict[bytes, bytes] | None = scope.get(_BY_NAME)
    if by_name is None:
        # Several layers ask; going through all headers for each costs more.
        by_name = scope[_BY_NAME] = dict(reversed(scope["headers"]))
    value = by_name.get(name)
    return None if value is None else value.decode("latin-1")


def headers_named(scope: Scope, name: bytes) -> list[str]:
    """Every header of a lower-case name."""
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]
