"""Queries as JSON text, many of which differ in their embeddings alone: what the others share is read and checked once.

::

    {"embedding":[0.1, …, 0.3],"k":10,"filter":{…}}        {"embedding_b64":"zczMPQ…","k":10}
                 ╰─ numbers ─╯                                              ╰─ numbers ─╯
    ╰─ frame: all but the numbers, which say nothing but where the nearest rows are ─╯

Whether such a cut is one is not guessed. The first query with a frame is read as a whole; then two other values in place of
its numbers have to come out as the query's embedding. In JSON, what a text means around a value does not depend on it, so
that every other value comes out as the embedding too. An embedding that is not plain numbers is read as ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, TypeVar, final

import orjson

from vdb_core.domain import embedding_from_b64

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vdb_core.indexes import Accelerator, Metric

__all__ = ["CutQuery", "Frames", "cut"]

T = TypeVar("T")

_LONGEST: Final = 4096
"""Bytes of a frame; a longer one has a filter that hardly comes again."""
_MOST: Final = 256
_FORMS: Final = ((b'"embedding":', b"[", b"]"), (b'"embedding_b64":', b'"', b'"'))
_OTHERS: Final = {b"[": (b"[0]", b"[1]"), b'"': (b'"AAAAAA=="', b'"AACAPw=="')}


@final
class CutQuery:
    """A query in two pieces."""

    __slots__ = ("_after", "_before", "_numbers", "frame")

    def __init__(self, before: bytes, numbers: bytes, after: bytes) -> None:
        self._before = before
        self._numbers = numbers
        self._after = after
        # No JSON text holds this character.
        self.frame = before + b"\0" + after

    def is_one(self) -> bool:
        """Whether the numbers are the query's embedding; asked of a text that is a JSON object."""
        opens = self._numbers[:1]
        name = "embedding" if opens == b"[" else "embedding_b64"
        for other in _OTHERS[opens]:
            try:
                body = orjson.loads(self._before + other + self._after)
            except orjson.JSONDecodeError:
                return False
            if not isinstance(body, dict) or body.get(name) != orjson.loads(other):
                return False
        return True

    def row(self, accelerator: Accelerator, dimension: int, metric: Metric) -> NDArray[np.float32] | None:
        """The embedding as a row, float32 ``[1, dim]``; none where that takes a closer look."""
        if self._numbers[:1] == b"[":
            return accelerator.read_row(self._numbers, dimension, metric)
        row = embedding_from_b64(self._numbers[1:-1].decode("latin-1"), "")[0]
        return None if row is None else accelerator.query_row(row, dimension, metric)


def cut(text: bytes) -> CutQuery | None:
    """Cut a query; none where it has no embedding, or is written in an unusual way."""
    for name, opens, closes in _FORMS:
        at = text.find(name)
        if at < 0:
            continue
        begin = text.find(opens, at + len(name), at + len(name) + 2)
        end = text.find(closes, begin + 1) + 1
        if begin < 0 or end == 0 or len(text) - (end - begin) > _LONGEST:
            return None
        return CutQuery(text[:begin], text[begin:end], text[end:])
    return None


@final
class Frames(Generic[T]):
    """What is known of frames. Bounded: when there are too many, all are forgotten."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, bytes], T] = {}

    def get(self, kind: object, query: CutQuery) -> T | None:
        """What was kept of a query's frame for this kind of library."""
        return self._known.get((kind, query.frame))

    def keep(self, kind: object, query: CutQuery, known: T) -> None:
        """Keep it, of a text that was read as a whole."""
        if query.is_one():
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[kind, query.frame] = known
