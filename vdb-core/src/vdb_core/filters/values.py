"""What filters compare: scalars, instants, and the thresholds that make comparisons between types of numbers exact.

Kinds never mix: a boolean is not a number, a number is not a string. Within a kind equality is that of meaning:
``1`` is ``1.0``, and two RFC 3339 strings that name the same instant are equal whatever their zone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import date
from hashlib import blake2b
from json.encoder import encode_basestring
from typing import Final

__all__ = [
    "INT64_MAX",
    "INT64_MIN",
    "Instant",
    "Scalar",
    "below_float",
    "below_instant",
    "below_integer",
    "canonical_text",
    "fold_number",
    "is_scalar",
    "parse_instant",
    "whole_key",
]

Scalar = str | int | float | bool | None
"""A JSON value that is neither a list nor an object."""

Instant = tuple[int, int]
"""Microseconds since 1970-01-01T00:00:00Z, and nanoseconds (0 to 999) beyond them."""

INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1

_EPOCH: Final = date(1970, 1, 1).toordinal()
_DAYS_IN_400_YEARS: Final = 146_097
_WHOLE_TEXT_MAX: Final = 48

_RFC3339: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))?)?"
)


def is_scalar(value: object) -> bool:
    """Tell whether a JSON value is neither a list nor an object."""
    return value is None or isinstance(value, (str, int, float))


def parse_instant(text: str) -> Instant | None:
    """Read an RFC 3339 datetime, or tell with ``None`` that the text is not one.

    A datetime without a zone is UTC; a date alone (``2024-05-01``) is its midnight UTC. A space may stand for
    the ``T``. Up to nine digits of a second's fraction are kept exactly; a text with more is a plain string.
    Second 60 is the first of the next minute.
    """
    # Most strings are no datetimes, and this runs for every distinct one that is stored.
    if len(text) < 10 or text[4] != "-" or text[7] != "-":
        return None
    match = _RFC3339.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, sign, zone_hour, zone_minute = match.groups()
    try:
        # `date` begins with year 1, RFC 3339 with year 0; the calendar repeats after 400 years.
        if year == "0000":
            days = date(400, int(month), int(day)).toordinal() - _DAYS_IN_400_YEARS - _EPOCH
        else:
            days = date(int(year), int(month), int(day)).toordinal() - _EPOCH
    except ValueError:
        return None
    if hour is None:
        return days * 86_400_000_000, 0
    hours, minutes, seconds = int(hour), int(minute), int(second)
    if hours > 23 or minutes > 59 or seconds > 60:
        return None
    total = days * 86_400 + hours * 3_600 + minutes * 60 + seconds
    if sign is not None:
        away_hours, away_minutes = int(zone_hour), int(zone_minute)
        if away_hours > 23 or away_minutes > 59:
            return None
        away = away_hours * 3_600 + away_minutes * 60
        total += away if sign == "-" else -away
    nanoseconds = int(fraction.ljust(9, "0")) if fraction else 0
    return total * 1_000_000 + nanoseconds // 1_000, nanoseconds % 1_000


def fold_number(value: float) -> int | float:
    """Give equal numbers one form: an ``int`` where the value is a whole number within int64, else a ``float``.

    An ``int`` that is neither within int64 nor a float's value stays as it is; it equals nothing that is stored.
    """
    if isinstance(value, int):
        value = int(value)
        if INT64_MIN <= value <= INT64_MAX:
            return value
        try:
            near = float(value)
        except OverflowError:
            return value
        return near if near == value else value
    if value.is_integer() and INT64_MIN <= value <= INT64_MAX:
        return int(value)
    return value


def below_integer(value: float, *, inclusive: bool) -> int:
    """The integer ``t`` for which ``stored < t`` says exactly ``stored < value`` (``<=`` where inclusive)."""
    return math.floor(value) + 1 if inclusive else math.ceil(value)


def below_float(value: float, *, inclusive: bool) -> float:
    """The float ``t`` for which ``stored < t`` says exactly ``stored < value`` (``<=`` where inclusive).

    ``value`` may be an integer that no float represents: the nearest float then lies on one side of it, and no
    stored float lies in between.
    """
    try:
        near = float(value)
    except OverflowError:
        near = math.inf if value > 0 else -math.inf
    if near > value:
        return near
    if near < value or inclusive:
        return math.nextafter(near, math.inf)
    return near


def below_instant(value: Instant, *, inclusive: bool) -> Instant:
    """The pair ``t`` for which ``stored < t`` says exactly ``stored < value`` (``<=`` where inclusive)."""
    return (value[0], value[1] + 1) if inclusive else value


def canonical_text(value: object) -> str:
    """Write a JSON value so that two values have the same text exactly where they are equal in a filter."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(fold_number(value))
        case str():
            instant = parse_instant(value)
            return encode_basestring(value) if instant is None else f"@{instant[0]}.{instant[1]:03}"
        case Mapping():
            members = sorted(
                (encode_basestring(str(key)), canonical_text(item)) for key, item in value.items()
            )
            return "{" + ",".join(f"{key}:{text}" for key, text in members) + "}"
        case list() | tuple():
            return "[" + ",".join(map(canonical_text, value)) + "]"
        case _:
            raise TypeError(f"expected a JSON value, received {type(value).__name__}")


def whole_key(value: object) -> str:
    """The key under which a whole list or object is found: its canonical text, or a digest where that is long."""
    text = canonical_text(value)
    if len(text) <= _WHOLE_TEXT_MAX:
        return text
    # A canonical text begins with a bracket, so the two forms cannot meet.
    return "#" + blake2b(text.encode(), digest_size=16).hexdigest()
