"""Pages: limits, and cursors that say nothing to the caller."""

from __future__ import annotations

import base64
import binascii
from typing import Final, cast

import orjson

from vdb_core.errors import ValidationFailed

__all__ = ["check_limit", "decode_cursor", "encode_cursor"]

_MAX_LIMIT: Final = 1_000


def check_limit(limit: object) -> int:
    """The limit of a page; raises ``ValidationFailed`` unless it is 1 to 1,000."""
    if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= _MAX_LIMIT:
        raise ValidationFailed.at(
            "/limit", f"expected a whole number from 1 to {_MAX_LIMIT}; received {limit!r}"
        )
    return limit


def encode_cursor(kind: str, after: str | int) -> str:
    """Make a cursor that continues a list of a kind after an item."""
    return base64.urlsafe_b64encode(orjson.dumps([kind, after])).decode().rstrip("=")


def decode_cursor(kind: str, cursor: str | None, expected: type[str | int]) -> str | int | None:
    """Read a cursor; raises ``ValidationFailed`` where it was not made for this list."""
    if cursor is None:
        return None
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        found_kind, after = cast("tuple[object, object]", orjson.loads(raw))
    except (ValueError, TypeError, binascii.Error):
        found_kind, after = None, None
    if found_kind != kind or not isinstance(after, expected) or isinstance(after, bool):
        raise ValidationFailed.at(
            "/cursor",
            f"this is no cursor of this list; give back next_cursor as it came. Received {cursor!r}",
        )
    return after
