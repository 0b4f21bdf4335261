"""Who meets whom: the best of a sweep, the recall an opponent must reach, the ratio and how sure it is."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    T = TypeVar("T")

__all__ = ["EQUAL", "Ratio", "best", "frontier", "ratio", "required", "shortlist"]

EQUAL: Final = 0.002
"""Recalls no further apart than this are equal."""


def required(target: float, peer: float) -> float:
    """The recall vdb must reach beside a peer that reached ``peer`` for a target.

    Both take their first setting at or above the target; nothing is interpolated. Where a peer's settings are so
    coarse that it overshoots, vdb has to follow it to within :data:`EQUAL`; where vdb overshoots, that is its loss.
    """
    return max(target, peer - EQUAL)


def shortlist(candidates: Iterable[T], cost: Callable[[T], float], places: int) -> list[T]:
    """The cheapest by a quick measurement: several, for it is noisy."""
    return sorted(candidates, key=cost)[:places]


def best(
    candidates: Sequence[T], cost: Callable[[T], float], recall: Callable[[T], float], least: float
) -> T | None:
    """The cheapest that reaches a recall, ``None`` where none does."""
    return min((each for each in candidates if recall(each) >= least), key=cost, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """How many times as long the peer takes."""

    value: float
    """Of the medians over all rounds."""

    low: float
    high: float
    """The smallest and greatest of a single round: how noisy the machine was."""


def ratio(peer: Sequence[float], ours: Sequence[float]) -> Ratio:
    """Compare seconds of the same rounds; above 1, ours is faster.

    Raises:
        ValueError: the numbers of rounds differ, or there are none.
    """
    if len(peer) != len(ours) or not peer:
        raise ValueError(
            f"expected as many rounds of both, one at least; received {len(peer)} and {len(ours)}"
        )
    each = [theirs / own if own else math.inf for theirs, own in zip(peer, ours, strict=True)]
    return Ratio(value=statistics.median(peer) / statistics.median(ours), low=min(each), high=max(each))


def frontier(points: Iterable[Mapping[str, Any]], cost: str) -> list[Mapping[str, Any]]:
    """The points that no other beats in both recall and cost, by ascending recall."""
    kept: list[Mapping[str, Any]] = []
    for point in sorted(points, key=lambda each: (-each["recall"], each[cost])):
        if not kept or point[cost] < kept[-1][cost]:
            kept.append(point)
    return kept[::-1]
