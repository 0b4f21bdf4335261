"""JSON in and out: strict about what JSON cannot say, and about what would silently become something else."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import orjson

from vdb_sdk.errors import InvalidArgument, UnexpectedResponse

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["check_finite", "dumps", "loads", "utc_text"]

_OPTIONS = orjson.OPT_PASSTHROUGH_DATETIME


def utc_text(value: datetime.datetime | datetime.date) -> str:
    """RFC 3339 text of an instant; a time without a zone is UTC, a date is its midnight in UTC.

    The server compares such a text as an instant, so that datetimes work in metadata and in filters alike.
    """
    if not isinstance(value, datetime.datetime):
        value = datetime.datetime(value.year, value.month, value.day, tzinfo=datetime.UTC)
    elif value.tzinfo is None:
        value = value.replace(tzinfo=datetime.UTC)
    return value.astimezone(datetime.UTC).isoformat().replace("+00:00", "Z")


def _default(value: object) -> object:
    """Encode what orjson does not know: instants, and the scalars and arrays of NumPy."""
    if isinstance(value, datetime.date):
        return utc_text(value)
    if type(value).__module__ == "numpy":
        import numpy as np

        if isinstance(value, np.datetime64):
            if np.isnat(value):
                return None
            return utc_text(cast("datetime.datetime", value.astype("datetime64[us]").item()))
        if isinstance(value, np.generic):
            item: object = value.item()
            if isinstance(item, float) and not math.isfinite(item):
                msg = f"{item} cannot be written as JSON"
                raise ValueError(msg)
            return item
        if isinstance(value, np.ndarray):
            return cast("object", value.tolist())
    if isinstance(value, Mapping):
        return dict(cast("Mapping[object, object]", value))
    msg = f"a value of type {type(value).__name__} cannot be written as JSON"
    raise TypeError(msg)


def check_finite(value: object, where: str) -> None:
    """Refuse NaN and infinity anywhere in ``value``: JSON has no word for them, and null means something else."""
    kind = type(value)
    if kind is str or kind is int:
        return
    if isinstance(value, float):
        if not math.isfinite(value):
            msg = f"{where}: expected a finite number, received {value}. JSON cannot carry it: leave the key out."
            raise InvalidArgument(msg)
    elif isinstance(value, Mapping):
        for key, item in cast("Mapping[object, object]", value).items():
            check_finite(item, f"{where}/{key}")
    elif isinstance(value, (list, tuple)):
        for position, item in enumerate(cast("Sequence[object]", value)):
            check_finite(item, f"{where}/{position}")


def dumps(value: object, where: str = "") -> bytes:
    """Serialise, or raise `InvalidArgument` that starts with ``where``."""
    try:
        return orjson.dumps(value, _default, _OPTIONS)
    except TypeError as error:  # orjson.JSONEncodeError is a TypeError
        cause = error.__cause__ or error
        prefix = f"{where}: " if where else ""
        msg = f"{prefix}cannot be sent as JSON: {cause}"
        raise InvalidArgument(msg) from error


def loads(body: bytes) -> object:
    """Parse, or raise `UnexpectedResponse`."""
    try:
        return cast("object", orjson.loads(body))
    except ValueError as error:
        excerpt = body[:80].decode("utf-8", "replace")
        msg = f"The answer is not JSON, so it is not from a vdb server (a proxy in between?): {excerpt!r}"
        raise UnexpectedResponse(msg) from error
