"""Hits: what an answer shows of the rows that were found, as dictionaries for callers and as JSON for the wire.

Both are made when they are asked for. The JSON is cut from the records, which are JSON: nothing is parsed on the way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, final, overload

import orjson

from vdb_core.engine.records import parse, shown

if TYPE_CHECKING:
    from vdb_core.indexes import Metric

__all__ = ["Hits", "score_of"]


def score_of(distance: float, metric: Metric) -> tuple[float, float]:
    """Score (higher is closer) and distance (smaller is closer) in the form of the REST contract."""
    if metric == "cosine":
        # Rounding of stored unit rows may leave the interval by 1e-7.
        distance = min(2.0, max(0.0, distance))
        return 1.0 - distance, distance
    if metric == "dot":
        return -distance, distance
    root = math.sqrt(distance)
    return -root, root


@final
class Hits(Sequence[dict[str, object]]):
    """The hits of one query, closest first: ``id``, ``document_id``, ``score``, ``distance``, and what was asked for."""

    __slots__ = ("_embeddings", "_metadata", "_numbers", "_records", "_text")

    def __init__(
        self,
        records: list[bytes],
        numbers: list[tuple[float, float]],
        *,
        text: bool,
        metadata: bool,
        embeddings: list[list[float]] | None = None,
    ) -> None:
        """Hold what was found.

        Args:
            records: of each hit.
            numbers: score and distance of each hit.
            text: show it.
            metadata: show it.
            embeddings: of each hit, in the caller's scale, where they are shown.
        """
        self._records = records
        self._numbers = numbers
        self._text = text
        self._metadata = metadata
        self._embeddings = embeddings

    def __len__(self) -> int:
        return len(self._records)

    @overload
    def __getitem__(self, at: int) -> dict[str, object]: ...
    @overload
    def __getitem__(self, at: slice) -> list[dict[str, object]]: ...
    def __getitem__(self, at: int | slice) -> dict[str, object] | list[dict[str, object]]:
        """A hit, or several."""
        if isinstance(at, slice):
            return [self[one] for one in range(*at.indices(len(self)))]
        record = parse(self._records[at])
        score, distance = self._numbers[at]
        hit: dict[str, object] = {
            "id": record["id"],
            "document_id": record["document_id"],
            "score": score,
            "distance": distance,
        }
        if self._text:
            hit["text"] = record["text"]
        if self._metadata:
            hit["metadata"] = record["metadata"]
        if self._embeddings is not None:
            hit["embedding"] = self._embeddings[at]
        return hit

    def __eq__(self, other: object) -> bool:
        """Equal when every hit is."""
        return isinstance(other, Sequence) and list(self) == list(other)

    def __hash__(self) -> int:
        """Agree with equality of hits; lists are not hashable, and a hit is a dictionary."""
        raise TypeError("hits are not hashable")

    def __repr__(self) -> str:
        """Show the hits."""
        return repr(list(self))

    def to_json(self) -> bytes:
        """The hits as a JSON array."""
        text, metadata, embeddings = self._text, self._metadata, self._embeddings
        pieces: list[bytes] = []
        for at, (record, (score, distance)) in enumerate(zip(self._records, self._numbers, strict=True)):
            head = shown(record, text=text, metadata=metadata)
            if embeddings is None:
                pieces.append(b'%b,"score":%a,"distance":%a}' % (head, score, distance))
            else:
                row = orjson.dumps(embeddings[at])
                pieces.append(b'%b,"score":%a,"distance":%a,"embedding":%b}' % (head, score, distance, row))
        return b"[" + b",".join(pieces) + b"]"
