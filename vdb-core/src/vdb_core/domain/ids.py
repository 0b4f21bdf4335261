"""Ids: what may name a library, a document or a chunk, and how a new id is made.

Every function here is on the ingest path: a fine id costs a few hundred nanoseconds.
"""

from __future__ import annotations

import os
import re
import time
from typing import Final, Self

from vdb_core.errors import Fault, ValidationFailed

__all__ = ["ID", "MAX_ID_LENGTH", "RESERVED_IDS", "LibraryID", "check_id", "check_library_id", "new_id"]

MAX_ID_LENGTH: Final = 256
"""Code points that an id may have."""

RESERVED_IDS: Final = frozenset({".", ".."})
_LIBRARY_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def check_id(value: object, pointer: str) -> list[Fault]:
    """Check the id of a document or chunk: 1 to 256 code points, not ``.`` or ``..``, no NUL, no lone surrogate.

    Returns the faults, each at ``pointer``; none for a fine id.
    """
    if (
        isinstance(value, str)
        and 0 < len(value) <= MAX_ID_LENGTH
        and "\0" not in value
        and value not in RESERVED_IDS
        and (value.isascii() or not has_lone_surrogate(value))
    ):
        return []
    return [Fault(pointer, _what_is_wrong(value))]


def check_library_id(value: object, pointer: str) -> list[Fault]:
    """Check the id of a library: ``[A-Za-z0-9][A-Za-z0-9._-]{0,127}``, as it also names a directory.

    Returns the faults, each at ``pointer``; none for a fine id.
    """
    if isinstance(value, str) and _LIBRARY_ID.fullmatch(value):
        return []
    expected = (
        "a library id is 1 to 128 of the characters A-Z a-z 0-9 . _ - and begins with a letter or a digit"
    )
    return [Fault(pointer, f"{expected}; received {_shown(value)}")]


def new_id() -> str:
    """Make an id: a version 7 UUID (RFC 9562), so that ids made later sort later.

    The 12 bits behind the milliseconds hold a fraction of a millisecond (section 6.2, method 3), 62 bits come
    from the operating system. No state is kept: it is safe between threads and after a fork.
    """
    ticks = time.time_ns() * 4096 // 1_000_000
    high = (ticks >> 12 << 16) | 0x7000 | (ticks & 0xFFF)
    low = int.from_bytes(os.urandom(8), "big") & 0x3FFF_FFFF_FFFF_FFFF | 0x8000_0000_0000_0000
    digits = f"{high:016x}{low:016x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


class ID(str):
    """The id of a document or chunk; an instance is always a valid one.

    Raises:
        ValidationFailed: the value is no id; the fault's pointer is empty.
    """

    __slots__: tuple[str, ...] = ()

    def __new__(cls, value: object) -> Self:
        """Check, then make."""
        faults = check_id(value, "")
        if faults:
            raise ValidationFailed.of(faults)
        return super().__new__(cls, value)


class LibraryID(str):
    """The id of a library; an instance is always a valid one.

    Raises:
        ValidationFailed: the value is no library id; the fault's pointer is empty.
    """

    __slots__: tuple[str, ...] = ()

    def __new__(cls, value: object) -> Self:
        """Check, then make."""
        faults = check_library_id(value, "")
        if faults:
            raise ValidationFailed.of(faults)
        return super().__new__(cls, value)

    @property
    def folded(self) -> str:
        """What must be unique among libraries: some file systems do not tell letters by case."""
        return self.lower()


def has_lone_surrogate(text: str) -> bool:
    """Tell whether a string holds half of a surrogate pair, which no UTF-8 can carry."""
    try:
        _ = text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _shown(value: object) -> str:
    if isinstance(value, str):
        return ascii(value) if len(value) <= 40 else f"{value[:40]!a} and {len(value) - 40} more"
    return f"a value of type {type(value).__name__}"


def _what_is_wrong(value: object) -> str:
    if not isinstance(value, str):
        return f"an id is a string; received {_shown(value)}"
    if not value:
        return "an id has 1 to 256 code points; received an empty string"
    if len(value) > MAX_ID_LENGTH:
        return f"an id has 1 to 256 code points; received {len(value)}"
    if value in RESERVED_IDS:
        return f'an id is not "." or "..", which clients drop from a path; received {_shown(value)}'
    if "\0" in value:
        return f"an id has no NUL character; received {_shown(value)}"
    return f"an id has no lone surrogate, which UTF-8 cannot carry; received {_shown(value)}"
