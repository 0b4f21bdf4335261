"""What services answer, beside the entities."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar, final

import orjson

from vdb_core.errors import VdbError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from vdb_core.services.hits import Hits

__all__ = ["DeleteResult", "Export", "Page", "SearchAnswer", "UpsertResult", "WouldBlock"]

T = TypeVar("T")


class WouldBlock(VdbError):
    """The call was made with ``wait=False`` and would have to wait, or to compute for long."""

    code: ClassVar[str] = "would_block"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """Part of a list."""

    items: Sequence[T]
    next_cursor: str | None
    """Give it back to get what follows; none at the end."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class UpsertResult:
    """What an upsert did."""

    created: int
    updated: int
    ids: list[str]
    revision: int
    warnings: list[str] = field(default_factory=list)
    """Such as a text that is longer than its embedder reads."""

    def to_json(self) -> dict[str, object]:
        """The result in the form of the REST API."""
        return {
            "created": self.created,
            "updated": self.updated,
            "ids": self.ids,
            "revision": self.revision,
            "warnings": self.warnings,
        }


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteResult:
    """What a delete did."""

    deleted: int
    """Chunks that are gone."""
    revision: int

    def to_json(self) -> dict[str, object]:
        """The result in the form of the REST API."""
        return {"deleted": self.deleted, "revision": self.revision}


@final
@dataclass(slots=True, kw_only=True)
class SearchAnswer:
    """The hits of one query."""

    hits: Hits
    """``id``, ``document_id``, ``score``, ``distance``, and what ``include`` asked for; closest first."""
    index: dict[str, object]
    """``type``: the active index; ``exact``: whether this answer is."""
    revision: int
    warnings: list[str] = field(default_factory=list)
    took_ms: float = 0.0
    explain: dict[str, object] | None = None
    route: Sequence[str] = ()
    """Where was looked, as ``explain`` shows it: for whoever counts searches, no part of the JSON."""

    def to_json(self) -> bytes:
        """The answer as JSON, in the form of the REST API."""
        explain = b"" if self.explain is None else b',"explain":' + orjson.dumps(self.explain)
        return b'{"hits":%b,"index":%b,"revision":%d,"warnings":%b,"took_ms":%a%b}' % (
            self.hits.to_json(),
            orjson.dumps(self.index),
            self.revision,
            orjson.dumps(self.warnings) if self.warnings else b"[]",
            self.took_ms,
            explain,
        )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """A library as it was at one moment; writes go on beside it."""

    library: dict[str, object]
    documents: Iterator[bytes]
    """JSON text of each document."""
    rows: int
    dimension: int
    chunks: Iterator[bytes]
    """JSON text of each chunk, without its embedding."""
    vectors: Iterator[NDArray[np.float32]]
    """float32 ``[m, dim]`` as stored (unit rows under cosine), in the order of the chunks; ``rows`` in all."""
    norms: Iterator[NDArray[np.float64]] | None
    """float64 ``[m]``, under cosine: the length of each row."""
    row_ids: Iterator[NDArray[np.int64]]
    """int64 ``[m]``, rising: where each chunk stands in lists."""
