"""Checks that several services share: bodies with known fields, faults collected and raised together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeGuard

from vdb_core.errors import Fault, RevisionMismatch, ValidationFailed

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

__all__ = [
    "body_of",
    "check_if_match",
    "escaped",
    "is_mapping",
    "known_fields",
    "object_of",
    "raise_faults",
    "text_fault",
]


def is_mapping(value: object) -> TypeGuard[Mapping[str, object]]:
    """Whether a value is a JSON object."""
    return isinstance(value, Mapping)


def escaped(key: object) -> str:
    """Escape a key for a JSON Pointer (RFC 6901)."""
    return str(key).replace("~", "~0").replace("/", "~1").encode("utf-8", "backslashreplace").decode()


def known_fields(body: Mapping[str, object], known: Collection[str], pointer: str) -> list[Fault]:
    """A fault for every field that is not known."""
    return [
        Fault(f"{pointer}/{escaped(key)}", f"unknown field; known: {', '.join(known)}")
        for key in body
        if key not in known
    ]


def object_of(value: object, pointer: str = "") -> Mapping[str, object]:
    """The body, where it is an object; raises ``ValidationFailed``. The caller collects unknown fields."""
    if not is_mapping(value):
        raise ValidationFailed.at(pointer, f"expected an object; received {type(value).__name__}")
    return value


def body_of(value: object, known: Collection[str], pointer: str = "") -> Mapping[str, object]:
    """The body, where it is an object with known fields only; raises ``ValidationFailed``."""
    body = object_of(value, pointer)
    raise_faults(known_fields(body, known, pointer))
    return body


def raise_faults(faults: Sequence[Fault]) -> None:
    """Raise ``ValidationFailed`` where there is a fault."""
    if faults:
        raise ValidationFailed.of(faults)


def text_fault(value: object, pointer: str, *, max_bytes: int) -> list[Fault]:
    """A fault where a value is not text that UTF-8 can carry in so many bytes."""
    if not isinstance(value, str):
        return [Fault(pointer, f"expected a string; received {type(value).__name__}")]
    try:
        size = len(value.encode())
    except UnicodeEncodeError as error:
        return [
            Fault(pointer, f"expected Unicode text; received a lone surrogate at code point {error.start}")
        ]
    if size > max_bytes:
        return [
            Fault(pointer, f"expected at most {max_bytes} bytes of UTF-8 (max_text_bytes); received {size}")
        ]
    return []


def check_if_match(if_match: int | None, revision: int, what: str) -> None:
    """Raise ``RevisionMismatch`` where the caller expects another revision."""
    if if_match is not None and if_match != revision:
        raise RevisionMismatch(
            f"{what} is at revision {revision}; expected {if_match}. Read it again and repeat the change."
        )
