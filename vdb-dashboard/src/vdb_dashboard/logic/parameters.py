"""From the JSON Schema of an index type's parameters to the fields of a form, and from a filled form back.

A plugin describes its parameters by a pydantic model, so its schema holds integers, numbers, booleans, strings,
enumerations, and each of these or null. Whatever else a plugin comes up with is asked for as JSON: no parameter is out
of reach.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast

from vdb_dashboard.logic.inputs import InputFault

__all__ = ["Field", "Kind", "changed", "fields_of", "first_integer", "sweep"]

Kind: TypeAlias = Literal["integer", "number", "boolean", "choice", "text", "json"]
_KINDS: dict[str, Kind] = {
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
    "string": "text",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One parameter, ready to be drawn."""

    name: str
    """Its name in ``params``."""

    label: str
    """Its title for people."""

    help: str
    """What the plugin says about it."""

    kind: Kind
    """Which widget it takes."""

    default: object = None
    """What the plugin takes where nothing is given; ``None`` where it decides by the data."""

    optional: bool = True
    """Whether it may be left empty."""

    minimum: float | None = None
    """Least value, itself included, as far as the schema says."""

    maximum: float | None = None
    """Greatest value, itself included, as far as the schema says."""

    choices: tuple[object, ...] = ()
    """The values of a ``choice``."""


def fields_of(schema: Mapping[str, object]) -> list[Field]:
    """The fields of a parameter model, in its order."""
    properties = _mapping(schema.get("properties"))
    required = _sequence(schema.get("required"))
    return [_field(name, _mapping(raw), schema, name in required) for name, raw in properties.items()]


def changed(fields: Sequence[Field], values: Mapping[str, object]) -> dict[str, object]:
    """The parameters to send: what differs from the defaults, so that a plugin's defaults stay the plugin's.

    Raises:
        InputFault: A required field is empty, or a JSON field holds no JSON.
    """
    params: dict[str, object] = {}
    for field in fields:
        value = values.get(field.name)
        if field.kind == "json" and isinstance(value, str):
            value = _parsed(field, value)
        if value is None or value == "":
            if not field.optional:
                raise InputFault(f"{field.label} ({field.name}) is needed.")
            continue
        # `True == 1`: a type of its own for each, so that 1 in place of True is sent.
        if value == field.default and type(value) is type(field.default):
            continue
        params[field.name] = value
    return params


def first_integer(fields: Sequence[Field]) -> Field | None:
    """The search parameter that trades recall for time: by convention of the index types, the first integer."""
    return next((field for field in fields if field.kind == "integer"), None)


def sweep(field: Field, most: int, count: int = 7) -> list[int]:
    """Values for a parameter that double from its least up to ``most``, spread over the range, ``count`` at most."""
    least = max(1, int(field.minimum or 1))
    top = max(least, min(most, int(field.maximum) if field.maximum is not None else most))
    values = [least]
    while values[-1] * 2 < top:
        values.append(values[-1] * 2)
    if values[-1] != top:
        values.append(top)
    if len(values) <= count:
        return values
    return [values[place * (len(values) - 1) // (count - 1)] for place in range(count)]


def _field(name: str, raw: Mapping[str, object], root: Mapping[str, object], required: bool) -> Field:
    found, nullable = _resolved(raw, root)
    kind: Kind = _KINDS.get(str(found.get("type")), "json")
    choices = tuple(_sequence(found.get("enum")))
    if "const" in found:
        choices = (found["const"],)
    if choices:
        kind = "choice"
    integer = kind == "integer"
    default = raw.get("default", found.get("default"))
    return Field(
        name=name,
        label=str(raw.get("title") or found.get("title") or name),
        help=" ".join(str(raw.get("description") or found.get("description") or "").split()),
        kind=kind,
        default=default,
        optional=nullable or not required,
        minimum=_bound(found, "minimum", "exclusiveMinimum", 1 if integer else 0),
        maximum=_bound(found, "maximum", "exclusiveMaximum", -1 if integer else 0),
        choices=choices,
    )


def _resolved(raw: Mapping[str, object], root: Mapping[str, object]) -> tuple[Mapping[str, object], bool]:
    """The schema behind references and "or null", and whether null is allowed."""
    nullable = False
    found: Mapping[str, object] = raw
    for _ in range(8):  # a reference to itself ends here, and is asked for as JSON
        if isinstance(reference := found.get("$ref"), str):
            found = _referred(reference, root)
        elif len(only := _sequence(found.get("allOf"))) == 1:
            found = _mapping(only[0])
        elif variants := _sequence(found.get("anyOf") or found.get("oneOf")):
            others = [_mapping(each) for each in variants if _mapping(each).get("type") != "null"]
            nullable = nullable or len(others) < len(variants)
            if len(others) != 1:
                return {}, nullable
            found = others[0]
        elif types := _sequence(found.get("type")):
            names = [each for each in types if each != "null"]
            nullable = nullable or len(names) < len(types)
            return ({**found, "type": names[0]} if len(names) == 1 else {}), nullable
        else:
            return found, nullable
    return {}, nullable


def _referred(reference: str, root: Mapping[str, object]) -> Mapping[str, object]:
    place: object = root
    for part in reference.removeprefix("#/").split("/"):
        place = _mapping(place).get(part.replace("~1", "/").replace("~0", "~"))
    return _mapping(place)


def _bound(found: Mapping[str, object], closed: str, opened: str, step: int) -> float | None:
    """A bound with itself included; an open one of an integer is moved by one, that of a number is kept."""
    value = found.get(closed)
    if isinstance(value, (int, float)):
        return value
    value = found.get(opened)
    return value + step if isinstance(value, (int, float)) else None


def _parsed(field: Field, text: str) -> object:
    if not text.strip():
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputFault(f"{field.label} ({field.name}) is not JSON: {error}") from error


def _mapping(value: object) -> Mapping[str, object]:
    return cast("Mapping[str, object]", value) if isinstance(value, Mapping) else {}


def _sequence(value: object) -> Sequence[object]:
    return cast("Sequence[object]", value) if isinstance(value, (list, tuple)) else ()
