"""Numbers, sizes and times as people read them; and text made safe for Markdown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["clock", "count", "duration", "plain", "size"]

_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]()#+\-.!|~>$:<&^=])")


def plain(text: object) -> str:
    """Text that Markdown shows as it is: no emphasis, link, colour, formula, icon or HTML comes of it.

    A blank behind each line break keeps a line from becoming a block of its own.
    """
    line = " ".join(str(text).split())
    return _SPECIAL.sub(r"\\\1", line)


def count(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun: ``1 chunk``, ``12,000 chunks``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def size(number: int) -> str:
    """Bytes in the unit that fits."""
    value = float(number)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            return f"{value:,.0f} {unit}" if unit == "bytes" else f"{value:,.1f} {unit}"
        value /= 1024
    raise AssertionError


def duration(seconds: float) -> str:
    """Seconds in the unit that fits."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def clock(when: datetime | None) -> str:
    """A time to the minute, UTC."""
    return "" if when is None else when.strftime("%Y-%m-%d %H:%M")
