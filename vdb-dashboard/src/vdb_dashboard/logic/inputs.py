"""Reads what people type into text fields: a vector, a JSON object, a number of dimensions."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, cast

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["InputFault", "check_vector", "parse_object", "parse_vector", "shorten"]


class InputFault(ValueError):
    """What somebody typed cannot be used; the text says what was expected and what to do."""


def parse_object(text: str, what: str) -> dict[str, object] | None:
    """A JSON object, or ``None`` where nothing was typed."""
    if not text.strip():
        return None
    try:
        value: object = json.loads(text)
    except ValueError as error:
        raise InputFault(f'{what} is not JSON: {error}. Write it as {{"key": "value"}}.') from error
    if not isinstance(value, dict):
        kind = type(value).__name__
        raise InputFault(f'{what}: expected a JSON object such as {{"key": "value"}}; received a {kind}.')
    return cast("dict[str, object]", value)


def parse_vector(text: str, dimension: int | None) -> NDArray[np.float32]:
    """Numbers in any common notation: a JSON list, or separated by commas, semicolons or blanks.

    Returns:
        float32 ``[dimension]``.
    """
    words = [word for word in re.split(r"[\s,;]+", text.strip().strip("[]()")) if word]
    if not words:
        raise InputFault("The vector is empty: paste its numbers, such as [0.1, 0.2, 0.3].")
    numbers: list[float] = []
    for place, word in enumerate(words, 1):
        try:
            numbers.append(float(word))
        except ValueError as error:
            raise InputFault(
                f"Number {place} of the vector is {shorten(word, 40)!r}, which is none."
            ) from error
    return check_vector(np.asarray(numbers, dtype=np.float64), dimension)


def check_vector(values: object, dimension: int | None) -> NDArray[np.float32]:
    """A vector as float32 ``[dimension]``; raises `InputFault` where it is none, not finite or of another length."""
    try:
        vector = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputFault("expected a list of numbers") from error
    if vector.ndim != 1 or not len(vector):
        raise InputFault(f"expected a list of numbers; received the shape {list(vector.shape)}")
    if dimension is not None and len(vector) != dimension:
        raise InputFault(f"expected {dimension} numbers; received {len(vector)}")
    with np.errstate(over="ignore"):
        narrow = vector.astype(np.float32)
    finite = np.isfinite(narrow)
    if not finite.all():
        place = int(np.argmin(finite))
        raise InputFault(f"number {place + 1} is {vector[place]:g}, which is not finite as float32")
    return narrow


def shorten(text: str, most: int) -> str:
    """The text on one line, cut with an ellipsis where it is longer than ``most`` characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1].rstrip()}…"
