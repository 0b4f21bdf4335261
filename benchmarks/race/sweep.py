"""Finding the smallest value of a search parameter that reaches a recall, with few evaluations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Sweep"]

# A value twice as great that adds no more than this share to recall: another parameter keeps recall down.
_SATURATED: Final = 0.001
# Steps finer than this share of a value change its time less than the clocks can tell.
_RESOLUTION: Final = 0.02


class Sweep:
    """The recalls of one parameter's values, each evaluated once.

    Recall rises with the value, but for noise of the last few hits; bisection then ends at a value that reaches the
    target while its lower neighbour does not, which is the first one up to that noise.
    """

    def __init__(self, evaluate: Callable[[int], float], low: int, high: int) -> None:
        self._evaluate = evaluate
        self._low = low
        self._high = high
        self.recalls: dict[int, float] = {}

    def climb(self, ceiling: float) -> None:
        """Double the value until recall reaches ``ceiling`` or rises no more."""
        value, last, flat = self._low, 0.0, 0
        while True:
            recall = self.at(value)
            flat = flat + 1 if 0 < recall <= last * (1 + _SATURATED) else 0
            if recall >= ceiling or value == self._high or flat == 2:
                return
            value, last = min(2 * value, self._high), recall

    def first(self, target: float) -> int | None:
        """The first value at or above a target, ``None`` where none reaches it."""
        self.climb(target)
        above = min((value for value, recall in self.recalls.items() if recall >= target), default=None)
        if above is None:
            return None
        below = max((value for value in self.recalls if value < above), default=self._low - 1)
        while above - below > max(1, int(above * _RESOLUTION)):
            middle = (above + below) // 2
            if self.at(middle) >= target:
                above = middle
            else:
                below = middle
        return above

    def firsts(self, targets: Iterable[float]) -> dict[float, int]:
        """The first value of each target that can be reached."""
        found = {target: self.first(target) for target in sorted(targets)}
        return {target: value for target, value in found.items() if value is not None}

    def at(self, value: int) -> float:
        """The recall at a value."""
        if value not in self.recalls:
            self.recalls[value] = self._evaluate(value)
        return self.recalls[value]
