"""The nearest rows by plain NumPy in float64: what the demo and the benchmarks measure every index against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["GroundTruth"]

# Rows of unit length travel as float32, so that two that lie this near each other may change places.
TIE = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class GroundTruth:
    """Every distance between queries and rows, and the k-th smallest a query."""

    place: dict[str, int]
    """Row number of each id."""

    distances: NDArray[np.float64]
    """``[queries, rows]``."""

    k: int
    """How many neighbours are asked for."""

    @classmethod
    def of(
        cls,
        ids: Sequence[str],
        rows: NDArray[np.float32],
        queries: NDArray[np.float32],
        *,
        metric: str,
        k: int,
    ) -> GroundTruth:
        """Compute it: ``[q, n]`` float64, so for small corpora only."""
        products = queries.astype(np.float64) @ rows.astype(np.float64).T
        if metric == "l2":
            squares = np.square(rows, dtype=np.float64).sum(axis=1)
            distances = squares - 2 * products + np.square(queries, dtype=np.float64).sum(axis=1)[:, None]
        else:
            distances = -products
        place = {identifier: number for number, identifier in enumerate(ids)}
        return cls(place=place, distances=distances, k=min(k, len(ids)))

    def recall(self, answers: Sequence[Sequence[str]]) -> float:
        """Recall@k over all queries: the share of hits that are among the k nearest, ties within rounding allowed."""
        kth = np.partition(self.distances, self.k - 1, axis=1)[:, self.k - 1]
        scale = np.maximum(1.0, np.abs(kth))
        found = sum(
            self.distances[query, self.place[identifier]] <= kth[query] + TIE * scale[query]
            for query, answer in enumerate(answers)
            for identifier in set(answer[: self.k])
        )
        return float(found) / (self.k * len(answers))
