"""Search parameters that were found to be valid before: callers send the same ones again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast, final

from vdb_core.plugins import validate_params

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["KnownParams"]

_FEW: Final = 8
_KNOWN: Final = 256
_PLAIN: Final = frozenset({int, float, bool, str, type(None)})


@final
class KnownParams:
    """Validates parameters, each set of plain values once; bounded."""

    def __init__(self) -> None:
        self._known: dict[object, tuple[BaseModel, str]] = {}

    def read(self, model: type[BaseModel], given: object, pointer: str) -> tuple[BaseModel, str]:
        """An instance of the model, and it as text; raises as ``validate_params``."""
        key: object = None
        if isinstance(given, dict) and len(given) <= _FEW:
            items = cast("dict[object, object]", given).items()
            if all(type(value) in _PLAIN for _, value in items):
                # With types, for True equals 1 and is no number of probes.
                key = (model, *((name, type(value), value) for name, value in items))
                known = self._known.get(key)
                if known is not None:
                    return known
        made = validate_params(model, given, pointer)
        known = made, repr(made)
        if key is not None:
            if len(self._known) >= _KNOWN:
                self._known.clear()
            self._known[key] = known
        return known
