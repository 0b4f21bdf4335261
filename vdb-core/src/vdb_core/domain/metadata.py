"""Metadata: which values a caller may attach to a library, a document or a chunk, and how a patch changes them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, cast, final

import orjson

from vdb_core.domain.ids import has_lone_surrogate
from vdb_core.errors import Fault, ValidationFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "INT64_MAX",
    "INT64_MIN",
    "MAX_METADATA_BYTES",
    "MAX_METADATA_DEPTH",
    "Metadata",
    "check_metadata",
    "merge_patch",
]

MAX_METADATA_BYTES: Final = 65_536
"""Bytes of JSON text that the metadata of one entity may take."""

MAX_METADATA_DEPTH: Final = 32
"""Levels of objects, the outermost included."""

INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1
_EXPECTED: Final = "a string, number, boolean, null, a list of these, or an object"


def check_metadata(
    value: object,
    pointer: str,
    *,
    max_bytes: int = MAX_METADATA_BYTES,
    max_depth: int = MAX_METADATA_DEPTH,
) -> list[Fault]:
    """Check metadata and return every fault, each with its own pointer below ``pointer``.

    Metadata is an object. Keys are non-empty strings that do not begin with ``$`` (filters use it). Values are
    strings, integers within int64, finite floats, booleans, null, lists of these, and nested objects. Strings hold
    no lone surrogate. Its JSON text takes at most ``max_bytes`` bytes.
    """
    faults: list[Fault] = []
    _check_object(value, pointer, max_depth, faults)
    if not faults:
        size = len(orjson.dumps(value))
        if size > max_bytes:
            faults.append(
                Fault(
                    pointer,
                    f"metadata takes at most {max_bytes} bytes as JSON (max_metadata_bytes); received {size}",
                )
            )
    return faults


def merge_patch(target: Mapping[str, object], patch: Mapping[str, object]) -> dict[str, object]:
    """Apply a JSON merge patch (RFC 7396): null removes a key, an object merges, anything else replaces.

    Neither argument is changed. Recursion follows the depth of ``patch``, which the caller has limited.
    """
    merged = dict(target)
    for key, change in patch.items():
        if change is None:
            _ = merged.pop(key, None)
        elif isinstance(change, Mapping):
            below = merged.get(key)
            merged[key] = merge_patch(
                cast("Mapping[str, object]", below) if isinstance(below, Mapping) else {},
                cast("Mapping[str, object]", change),
            )
        else:
            merged[key] = change
    return merged


@final
class Metadata(Mapping[str, object]):
    """Checked metadata, read-only at its top level; an instance is always valid.

    Raises:
        ValidationFailed: with every fault, pointers relative to the metadata itself.
    """

    __slots__ = ("_values",)

    def __init__(self, value: object = None) -> None:
        checked: object = {} if value is None else value
        faults = check_metadata(checked, "")
        if faults:
            raise ValidationFailed.of(faults)
        self._values = cast("dict[str, object]", checked).copy()

    def __getitem__(self, key: str) -> object:
        """Return the value of a key; ``KeyError`` where it is missing."""
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the keys in the order in which they were given."""
        return iter(self._values)

    def __len__(self) -> int:
        """Count the keys of the top level."""
        return len(self._values)

    def __repr__(self) -> str:
        """Show the values."""
        return f"Metadata({self._values!r})"

    def patched(self, patch: Mapping[str, object]) -> Metadata:
        """Make the metadata that a JSON merge patch turns this one into; raises as the constructor does."""
        return Metadata(merge_patch(self._values, patch))

    def to_json(self) -> dict[str, object]:
        """Make a plain dictionary."""
        return dict(self._values)


def _check_object(value: object, pointer: str, levels: int, faults: list[Fault]) -> None:
    if not isinstance(value, dict):
        faults.append(Fault(pointer, f"expected an object; received a value of type {type(value).__name__}"))
        return
    if levels <= 0:
        faults.append(
            Fault(pointer, "objects are nested deeper than is allowed (max_json_depth); flatten the metadata")
        )
        return
    for key, item in cast("dict[object, object]", value).items():
        if (
            type(key) is not str
            or not key
            or key[0] == "$"
            or not (key.isascii() or not has_lone_surrogate(key))
        ):
            faults.append(Fault(_below(pointer, key), _what_is_wrong_with_key(key)))
            continue
        kind = type(item)
        if kind is str:
            text = cast("str", item)
            if text.isascii() or not has_lone_surrogate(text):
                continue
        elif kind is int:
            if INT64_MIN <= cast("int", item) <= INT64_MAX:
                continue
        elif kind is float:
            if math.isfinite(cast("float", item)):
                continue
        elif item is None or kind is bool:
            continue
        elif kind is dict:
            _check_object(item, _below(pointer, key), levels - 1, faults)
            continue
        elif kind is list:
            _check_list(cast("list[object]", item), _below(pointer, key), faults)
            continue
        faults.append(Fault(_below(pointer, key), _what_is_wrong(item)))


def _check_list(items: list[object], pointer: str, faults: list[Fault]) -> None:
    for position, item in enumerate(items):
        kind = type(item)
        if kind is str:
            text = cast("str", item)
            if text.isascii() or not has_lone_surrogate(text):
                continue
        elif kind is int:
            if INT64_MIN <= cast("int", item) <= INT64_MAX:
                continue
        elif kind is float:
            if math.isfinite(cast("float", item)):
                continue
        elif item is None or kind is bool:
            continue
        detail = (
            "a list holds strings, numbers, booleans and nulls only; received "
            + ("an object" if isinstance(item, dict) else "a list")
            if isinstance(item, (dict, list))
            else _what_is_wrong(item)
        )
        faults.append(Fault(f"{pointer}/{position}", detail))


def _below(pointer: str, key: object) -> str:
    text = str(key).encode("utf-8", "backslashreplace").decode()
    return f"{pointer}/{text.replace('~', '~0').replace('/', '~1')}"


def _what_is_wrong_with_key(key: object) -> str:
    if not isinstance(key, str) or type(key) is not str:
        return f"a key is a string; received a value of type {type(key).__name__}"
    if not key:
        return "a key has at least one character; received an empty string"
    if key[0] == "$":
        return f'a key does not begin with "$", which filters use; received {key!a}'
    return f"a key has no lone surrogate, which UTF-8 cannot carry; received {key!a}"


def _what_is_wrong(item: object) -> str:
    kind = type(item)
    if kind is str:
        return "a string has no lone surrogate, which UTF-8 cannot carry"
    if kind is int:
        return "an integer fits into 64 bits with a sign; send a larger one as a string"
    if kind is float:
        return f"a number is finite; received {item!r}"
    return f"expected {_EXPECTED}; received a value of type {kind.__name__}"
