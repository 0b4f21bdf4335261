"""How a quantity grows over time, with an error: a slope that a few odd samples do not move."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Trend", "trend_of"]

_BLOCKS = 60
_Z = 1.96


@dataclass(frozen=True, slots=True)
class Trend:
    """A slope an hour, and the interval that holds the true one 19 times of 20."""

    slope: float
    low: float
    high: float

    def __str__(self) -> str:
        """The slope and its error."""
        return f"{self.slope:+.2f} an hour ({self.low:+.2f} to {self.high:+.2f})"


def trend_of(seconds: Sequence[float], values: Sequence[float]) -> Trend:
    """The slope of values over time by Theil and Sen, the interval by Sen's ranks (1968).

    Samples that follow each other resemble each other, which would make any interval too narrow: they are cut into 60
    stretches of time, of each of which the lowest value counts. What is lost for good lifts the lowest as much as any.
    """
    times, numbers = np.asarray(seconds, dtype=np.float64) / 3600.0, np.asarray(values, dtype=np.float64)
    if len(times) < 4:
        raise ValueError(f"expected at least 4 samples; received {len(times)}")
    blocks = min(_BLOCKS, len(times) // 2)
    edges = np.linspace(times[0], times[-1], blocks + 1)
    at = np.clip(np.searchsorted(edges, times, side="right") - 1, 0, blocks - 1)
    lowest = [np.flatnonzero(at == block) for block in range(blocks)]
    chosen = np.array([rows[np.argmin(numbers[rows])] for rows in lowest if len(rows)])
    x, y = times[chosen], numbers[chosen]
    count = len(x)
    first, second = np.triu_indices(count, 1)
    slopes = np.sort((y[second] - y[first]) / (x[second] - x[first]))
    spread = _Z * math.sqrt(count * (count - 1) * (2 * count + 5) / 18.0)
    below = max(0, int((len(slopes) - spread) / 2))
    above = min(len(slopes) - 1, math.ceil((len(slopes) + spread) / 2))
    return Trend(float(np.median(slopes)), float(slopes[below]), float(slopes[above]))
