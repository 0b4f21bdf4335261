"""Hits: what an answer shows of the rows that were found, as dictionaries for callers and as JSON for the wire.

Both are made when they are asked for. The JSON is cut from the records, which are JSON: nothing is parsed on the way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, final, overload

import orjson

from vdb_core.engine.records import RecordFile, parse, shown

if TYPE_CHECKING:
    from vdb_core.engine.search import Found
    from vdb_core.engine.state import LibraryState
    from vdb_core.indexes import Metric

__all__ = ["Hits", "hits_of", "read_records", "scores_of"]


def scores_of(distances: list[float], metric: Metric) -> list[tuple[float, float]]:
    """Scores (higher is closer) and distances (smaller is closer) in the form of the REST contract, of ascending ones."""
    if metric == "dot":
        return [(-distance, distance) for distance in distances]
    if metric == "l2":
        roots = map(math.sqrt, distances)
        return [(-root, root) for root in roots]
    if distances and (distances[0] < 0.0 or distances[-1] > 2.0):
        # Rounding of stored unit rows may leave the interval by 1e-7.
        distances = [min(2.0, max(0.0, distance)) for distance in distances]
    return [(1.0 - distance, distance) for distance in distances]


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
        if not self._records:
            return b"[]"
        # All at once: written one by one, numbers would take as long as everything else of an answer.
        written = orjson.dumps([number for pair in self._numbers for number in pair])[1:-1].split(b",")
        pieces: list[bytes] = []
        for at, record in enumerate(self._records):
            pieces += (
                shown(record, text=self._text, metadata=self._metadata),
                b',"score":',
                written[2 * at],
                b',"distance":',
                written[2 * at + 1],
            )
            if self._embeddings is not None:
                pieces += (b',"embedding":', orjson.dumps(self._embeddings[at]))
            pieces.append(b"},")
        pieces[-1] = b"}"
        return b"[" + b"".join(pieces) + b"]"


def read_records(found: Found) -> dict[int, bytes]:
    """The records of all hits of a batch, by candidate, each read once."""
    slots: dict[int, list[int]] = {}
    for one in {one for row in found.candidates for one in row}:
        slots.setdefault(one >> 32, []).append(one & 0xFFFFFFFF)
    records: dict[int, bytes] = {}
    for number, some in slots.items():
        high, held = number << 32, found.blocks[number].records
        read = held.many(some) if isinstance(held, RecordFile) else [held[slot] for slot in some]
        records.update(zip([high | slot for slot in some], read, strict=True))
    return records


def hits_of(
    state: LibraryState,
    found: Found,
    at: int,
    *,
    include: Sequence[str],
    min_score: float | None,
    known: dict[int, bytes] | None,
) -> Hits:
    """The hits of one query of a call. Call under the library's read lock.

    Args:
        state: the library.
        found: what was found.
        at: which query of the call.
        include: what hits show: ``text``, ``metadata``, ``embedding``.
        min_score: cuts off hits below.
        known: records of all candidates, where they were read together.
    """
    numbers = scores_of(found.distances[at], state.info["metric"])
    candidates = found.candidates[at]
    if min_score is not None:
        candidates = candidates[: sum(score >= min_score for score, _ in numbers)]
        numbers = numbers[: len(candidates)]
    rows = [(found.blocks[one >> 32], one & 0xFFFFFFFF) for one in candidates]
    embeddings: list[list[float]] | None = None
    if "embedding" in include:
        embeddings = [state.row(int(block.ids[slot])).embedding().tolist() for block, slot in rows]
    return Hits(
        [block.records[slot] for block, slot in rows]
        if known is None
        else [known[one] for one in candidates],
        numbers,
        text="text" in include,
        metadata="metadata" in include,
        embeddings=embeddings,
    )
