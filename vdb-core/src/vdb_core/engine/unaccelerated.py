"""What the engine does for one query beside the search, in Python and NumPy: what an accelerator has to be like."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import numpy as np
import orjson

from vdb_core.domain import plain_query
from vdb_core.engine.distances import row_distances

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vdb_core.indexes import Metric

__all__ = ["Unaccelerated"]


@final
class Unaccelerated:
    """See :class:`vdb_core.indexes.Accelerator`."""

    def query_row(self, row: object, dimension: int, metric: Metric) -> NDArray[np.float32] | None:
        """Make a row of an embedding."""
        return plain_query(row, dimension, metric)

    def read_row(self, text: bytes, dimension: int, metric: Metric) -> NDArray[np.float32] | None:
        """Make a row of a JSON array."""
        # Neither true nor false, which would pass for numbers.
        if b"t" in text or b"f" in text:
            return None
        try:
            row = orjson.loads(text)
        except orjson.JSONDecodeError:
            return None
        return plain_query(row, dimension, metric, no_booleans=True)

    def nearest(
        self,
        query: NDArray[np.float32],
        vectors: NDArray[np.float32],
        slots: NDArray[np.uint32],
        allowed: NDArray[np.uint64] | None,
        metric: Metric,
        want: int,
    ) -> tuple[list[int], list[float]]:
        """Order rows by their distance from a query."""
        rows = len(vectors)
        usable: list[int] = slots.ravel().tolist()
        # Padding is a number beyond all rows. One look at the largest costs less than one at each.
        if usable and max(usable) >= rows:
            usable = [slot for slot in usable if slot < rows]
        if allowed is not None:
            usable = [slot for slot in usable if int(allowed[slot >> 6]) >> (slot & 63) & 1]
        known = sorted(set(usable))
        chosen = vectors.take(np.array(known, dtype=np.int64), axis=0)
        ranked = sorted(zip(row_distances(query, chosen, metric).tolist(), known, strict=True))[:want]
        return [slot for _, slot in ranked], [distance for distance, _ in ranked]

    def hits(
        self, records: Sequence[bytes], scores: bytes, distances: bytes, text: bool, metadata: bool
    ) -> bytes | None:
        """Leave it to ``hits_json``."""
        del records, scores, distances, text, metadata
        return None
