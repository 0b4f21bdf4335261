"""Times as they are stored (microseconds since 1970, UTC) and as JSON shows them (RFC 3339 with six digits)."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Final

__all__ = ["format_datetime", "format_time", "now_us", "parse_time", "to_datetime"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def now_us() -> int:
    """Microseconds since 1970-01-01T00:00:00Z."""
    return time.time_ns() // 1000


def to_datetime(microseconds: int) -> datetime:
    """Make a datetime in UTC, to the microsecond (no float is involved)."""
    return _EPOCH + timedelta(microseconds=microseconds)


def format_time(microseconds: int) -> str:
    """Format as ``2026-11-22T07:49:58.123456Z``: always 27 characters, so text order is time order."""
    return format_datetime(to_datetime(microseconds))


def format_datetime(moment: datetime) -> str:
    """Format an aware datetime, as :func:`format_time` does."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def parse_time(text: str) -> int:
    """Read what :func:`format_time` wrote, or any RFC 3339 time with a zone; ``ValueError`` for anything else."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"a time has a zone, such as the Z at the end; received {text!r}")
    return (moment - _EPOCH) // _MICROSECOND
