"""Parameters of a type: checks that a model is usable, and turns a caller's mapping into an instance of it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar, cast

import orjson
from pydantic import BaseModel, ValidationError

from vdb_core.errors import Fault, ValidationFailed

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["closest", "params_schema", "problem_with_model", "validate_params"]

ModelT = TypeVar("ModelT", bound=BaseModel)


def validate_params(model: type[ModelT], value: object, pointer: str) -> ModelT:
    """Make an instance of a params model from what a caller sent.

    JSON types are taken strictly: ``"16"`` is no integer. Missing parameters have their defaults.

    Raises:
        ValidationFailed: a fault for every parameter that is unknown (naming the known ones) or unusable, with
            pointers below ``pointer``.
    """
    if isinstance(value, model):
        return value
    if not isinstance(value, Mapping):
        raise ValidationFailed.at(
            pointer, f"expected an object of parameters; received a value of type {type(value).__name__}"
        )
    try:
        text = orjson.dumps(dict(cast("Mapping[str, object]", value)), option=orjson.OPT_SERIALIZE_NUMPY)
    except (TypeError, ValueError) as error:
        raise ValidationFailed.at(pointer, f"expected parameters that are JSON; {error}") from None
    try:
        return model.model_validate_json(text, strict=True)
    except ValidationError as error:
        raise ValidationFailed.of(_faults(model, error, orjson.loads(text), pointer)) from None


def params_schema(model: type[BaseModel]) -> dict[str, object]:
    """Make the JSON schema of what a caller may send."""
    return cast("dict[str, object]", model.model_json_schema())


def problem_with_model(model: object) -> str:
    """Say why a class cannot serve as a params model; empty when it can."""
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return f"expected a subclass of pydantic.BaseModel; received {model!r}"
    if model.model_config.get("extra") != "forbid":
        return f'{model.__name__} needs model_config = ConfigDict(extra="forbid"), or typing errors pass unnoticed'
    required = [name for name, info in model.model_fields.items() if info.is_required()]
    if required:
        return f"every field of {model.__name__} needs a default; these have none: {', '.join(required)}"
    try:
        _ = model.model_validate_json(b"{}", strict=True)
        schema = params_schema(model)
    # A model may run a stranger's validators; whatever they raise, the model is unusable.
    except Exception as error:  # noqa: BLE001
        return f"{model.__name__} has unusable defaults or no JSON schema ({type(error).__name__}: {error})"
    open_parts = _open_parts(schema)
    if open_parts:
        return f'models nested in {model.__name__} need extra="forbid" too: {", ".join(open_parts)}'
    return ""


def closest(name: str, known: Iterable[str]) -> str | None:
    """Find the known name that was probably meant."""
    found = difflib.get_close_matches(name, list(known), n=1)
    return found[0] if found else None


def _open_parts(schema: dict[str, object]) -> list[str]:
    definitions = cast("dict[str, dict[str, object]]", schema.get("$defs", {}))
    return sorted(
        name
        for name, part in definitions.items()
        if "properties" in part and part.get("additionalProperties") is not False
    )


def _faults(model: type[BaseModel], error: ValidationError, value: object, pointer: str) -> list[Fault]:
    """Translate pydantic's errors; several at one place (the members of a union) become one fault."""
    details: dict[str, list[str]] = {}
    for line in error.errors(include_url=False, include_context=False):
        location = line["loc"]
        if line["type"] == "extra_forbidden":
            parent = location[:-1]
            where = pointer + _existing(value, parent) + _escaped(location[-1])
            detail = _unknown(model, str(location[-1])) if not parent else "there is no such field"
        else:
            where = pointer + _existing(value, location)
            detail = f"{_sentence(line['msg'])}; received {_shown(line['input'])}"
        details.setdefault(where, []).append(detail)
    return [Fault(where, ", or: ".join(dict.fromkeys(parts))) for where, parts in details.items()]


def _unknown(model: type[BaseModel], name: str) -> str:
    known = sorted(info.alias or field for field, info in model.model_fields.items())
    if not known:
        return f"no parameter named {name!a}: there are no parameters here"
    meant = closest(name, known)
    hint = f" Did you mean {meant!r}?" if meant else ""
    return f"no parameter named {name!a}.{hint} Available: {', '.join(known)}"


def _existing(value: object, location: Sequence[int | str]) -> str:
    """Point along a location, leaving out the steps that pydantic adds for the members of unions."""
    pointer = ""
    for step in location:
        if isinstance(value, Mapping) and step in value:
            value = cast("Mapping[object, object]", value)[step]
        elif isinstance(value, list) and isinstance(step, int) and step < len(cast("list[object]", value)):
            value = cast("list[object]", value)[step]
        else:
            continue
        pointer += _escaped(step)
    return pointer


def _escaped(step: int | str) -> str:
    return "/" + str(step).replace("~", "~0").replace("/", "~1")


def _sentence(message: str) -> str:
    return message[:1].lower() + message[1:]


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
