"""What a query says beside its embedding: k, filter, search parameters, what to show."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, cast, final

from vdb_core.errors import Fault, ValidationFailed
from vdb_core.filters import parse_filter
from vdb_core.services.checks import known_fields, raise_faults
from vdb_core.services.known_params import KnownParams

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic import BaseModel

    from vdb_core.filters import Filter
    from vdb_core.services.settings import Limits

__all__ = ["QUERY_FIELDS", "OptionsReader", "QueryOptions"]

QUERY_FIELDS: Final = (
    "embedding",
    "embedding_b64",
    "text",
    "k",
    "filter",
    "params",
    "include",
    "min_score",
    "explain",
)
_KNOWN_FIELDS: Final = frozenset(QUERY_FIELDS)
_INCLUDABLE: Final = ("text", "metadata", "embedding")
_DEFAULT_INCLUDE: Final = ("text", "metadata")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class QueryOptions:
    """What a query says beside its embedding, checked."""

    k: int
    filter: Filter | None
    params: BaseModel | None = field(compare=False)
    params_text: str | None
    """The parameters as text, by which they are told apart."""
    include: tuple[str, ...]
    min_score: float | None
    explain: bool


@final
class OptionsReader:
    """Checks options."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._known_params = KnownParams()

    def read(
        self, body: Mapping[str, object], pointer: str, model: type[BaseModel] | None, faults: list[Fault]
    ) -> QueryOptions:
        """Check everything of a query but its embedding.

        Args:
            body: the query.
            pointer: where it is in the request.
            model: of the search parameters; none where the index type is not installed: then they cannot be checked, and
                the answer carries a warning.
            faults: what was found before; all are raised together.

        Raises:
            ValidationFailed: there are faults, these or others.
        """
        limits = self._limits
        if not body.keys() <= _KNOWN_FIELDS:
            faults.extend(known_fields(body, QUERY_FIELDS, pointer))
        k = body.get("k", 10)
        if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= limits.max_k:
            faults.append(
                Fault(
                    f"{pointer}/k",
                    f"expected a whole number from 1 to {limits.max_k} (max_k); received {k!r}",
                )
            )
        include = _include(body.get("include", _DEFAULT_INCLUDE), f"{pointer}/include", faults)
        min_score = body.get("min_score")
        if min_score is not None and (isinstance(min_score, bool) or not isinstance(min_score, (int, float))):
            faults.append(Fault(f"{pointer}/min_score", f"expected a number; received {min_score!r}"))
        explain = body.get("explain", False)
        if not isinstance(explain, bool):
            faults.append(Fault(f"{pointer}/explain", f"expected true or false; received {explain!r}"))
        wanted = None
        params: BaseModel | None = None
        params_text: str | None = None
        try:
            if body.get("filter") is not None:
                wanted = parse_filter(
                    body["filter"],
                    pointer=f"{pointer}/filter",
                    max_depth=limits.max_filter_depth,
                    max_nodes=limits.max_filter_nodes,
                )
        except ValidationFailed as error:
            faults.extend(error.faults)
        try:
            if body.get("params") is not None and model is not None:
                params, params_text = self._known_params.read(model, body["params"], f"{pointer}/params")
        except ValidationFailed as error:
            faults.extend(error.faults)
        raise_faults(faults)
        return QueryOptions(
            k=cast("int", k),
            filter=None if wanted is None or wanted.matches_everything else wanted,
            params=params,
            params_text=params_text,
            include=include,
            min_score=cast("float | None", min_score),
            explain=explain is True,
        )


def _include(value: object, pointer: str, faults: list[Fault]) -> tuple[str, ...]:
    """What a hit shows; adds to the faults where that is not acceptable."""
    if not isinstance(value, (list, tuple)):
        faults.append(Fault(pointer, f"expected a list; received {type(value).__name__}"))
        return ()
    chosen = cast("Sequence[object]", value)
    faults.extend(
        Fault(f"{pointer}/{at}", f"unknown value {one!r}; known: {', '.join(_INCLUDABLE)}")
        for at, one in enumerate(chosen)
        if one not in _INCLUDABLE
    )
    return tuple(cast("Sequence[str]", chosen))
