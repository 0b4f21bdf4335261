"""Hits: what an answer shows of the rows that were found, as dictionaries for callers and as JSON for the wire.

Both are made when they are asked for. The JSON is cut from the records, which are JSON: nothing is parsed on the way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import neg
from typing import TYPE_CHECKING, final, overload

import orjson

from vdb_core.engine.hits_json import hits_json
from vdb_core.engine.records import parse

if TYPE_CHECKING:
    from vdb_core.engine.search import Found
    from vdb_core.engine.state import LibraryState
    from vdb_core.indexes import Accelerator, Metric

__all__ = ["Hits", "hits_of", "read_records", "scores_of"]


def scores_of(distances: list[float], metric: Metric) -> tuple[list[float], list[float]]:
    """Scores (higher is closer) and distances (smaller is closer) in the form of the REST contract, of ascending ones."""
    if metric == "cosine":
        if distances and (distances[0] < 0.0 or distances[-1] > 2.0):
            # Rounding of stored unit rows may leave the interval by 1e-7.
            distances = [min(2.0, max(0.0, distance)) for distance in distances]
        return [1.0 - distance for distance in distances], distances
    if metric == "l2":
        distances = list(map(math.sqrt, distances))
    return list(map(neg, distances)), distances


@final
class Hits(Sequence[dict[str, object]]):
    """The hits of one query, closest first: ``id``, ``document_id``, ``score``, ``distance``, and what was asked for."""

    __slots__ = ("_accelerator", "_distances", "_embeddings", "_metadata", "_records", "_scores", "_text")

    def __init__(
        self,
        records: list[bytes],
        scores: list[float],
        distances: list[float],
        *,
        text: bool,
        metadata: bool,
        accelerator: Accelerator,
        embeddings: list[list[float]] | None = None,
    ) -> None:
        """Hold what was found.

        Args:
            records: of each hit.
            scores: of each hit.
            distances: of each hit.
            text: show it.
            metadata: show it.
            accelerator: writes them out.
            embeddings: of each hit, in the caller's scale, where they are shown.
        """
        self._records = records
        self._scores = scores
        self._distances = distances
        self._text = text
        self._metadata = metadata
        self._accelerator = accelerator
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
        hit: dict[str, object] = {
            "id": record["id"],
            "document_id": record["document_id"],
            "score": self._scores[at],
            "distance": self._distances[at],
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
        if not self._records:
            return b"[]"
        # All at once, column by column: written one by one, numbers would take as long as everything else of an answer.
        scores, distances = orjson.dumps(self._scores), orjson.dumps(self._distances)
        if self._embeddings is None:
            accelerated = self._accelerator.hits(self._records, scores, distances, self._text, self._metadata)
            if accelerated is not None:
                return accelerated
        columns = {"score": scores[1:-1].split(b","), "distance": distances[1:-1].split(b",")}
        if self._embeddings is not None:
            columns["embedding"] = list(map(orjson.dumps, self._embeddings))
        return hits_json(self._records, columns, text=self._text, metadata=self._metadata)


def read_records(found: Found) -> dict[int, bytes]:
    """The records of all hits of a batch, by candidate, each read once."""
    slots: dict[int, list[int]] = {}
    for one in {one for row in found.candidates for one in row}:
        slots.setdefault(one >> 32, []).append(one & 0xFFFFFFFF)
    records: dict[int, bytes] = {}
    for number, some in slots.items():
        high = number << 32
        records.update(
            zip([high | slot for slot in some], found.blocks[number].records.many(some), strict=True)
        )
    return records


def _read(found: Found, candidates: list[int]) -> list[bytes]:
    """The records of the hits of one query, which mostly lie in one block."""
    if not candidates:
        return []
    first = min(candidates) >> 32
    if max(candidates) >> 32 == first:
        slots = [one & 0xFFFFFFFF for one in candidates] if first else candidates
        return found.blocks[first].records.many(slots)
    return [found.blocks[one >> 32].records[one & 0xFFFFFFFF] for one in candidates]


def hits_of(
    state: LibraryState,
    found: Found,
    at: int,
    *,
    include: Sequence[str],
    min_score: float | None,
    known: dict[int, bytes] | None,
    accelerator: Accelerator,
) -> Hits:
    """The hits of one query of a call. Call under the library's read lock.

    Args:
        state: the library.
        found: what was found.
        at: which query of the call.
        include: what hits show: ``text``, ``metadata``, ``embedding``.
        min_score: cuts off hits below.
        known: records of all candidates, where they were read together.
        accelerator: writes the hits out.
    """
    scores, distances = scores_of(found.distances[at], state.info["metric"])
    candidates = found.candidates[at]
    if min_score is not None:
        kept = sum(score >= min_score for score in scores)
        candidates, scores, distances = candidates[:kept], scores[:kept], distances[:kept]
    embeddings: list[list[float]] | None = None
    if "embedding" in include:
        ids = [int(found.blocks[one >> 32].ids[one & 0xFFFFFFFF]) for one in candidates]
        embeddings = [state.row(row).embedding().tolist() for row in ids]
    return Hits(
        _read(found, candidates) if known is None else [known[one] for one in candidates],
        scores,
        distances,
        text="text" in include,
        metadata="metadata" in include,
        accelerator=accelerator,
        embeddings=embeddings,
    )
