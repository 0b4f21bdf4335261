"""The sweep finds the first value at or above a recall, in few evaluations, whatever the curve."""

from __future__ import annotations

import bisect

from hypothesis import given
from hypothesis import strategies as st
from race.sweep import Sweep

CURVES = st.lists(st.floats(0.01, 1, allow_nan=False), min_size=1, max_size=49).map(
    # Steps above the saturation threshold, so that only the end of the curve is flat.
    lambda steps: [sum(steps[: end + 1]) / sum(steps) for end in range(len(steps))]
)


@given(curve=CURVES, target=st.floats(0.05, 1))
def test_it_finds_the_first_value_that_reaches_the_target(curve: list[float], target: float) -> None:
    found = Sweep(lambda value: curve[value - 1], 1, len(curve)).first(target)
    # Up to 50 the resolution is one step.
    first = bisect.bisect_left(curve, target) + 1
    assert found == (first if first <= len(curve) else None)


def test_it_evaluates_few_values_and_each_once() -> None:
    asked: list[int] = []

    def recall(value: int) -> float:
        asked.append(value)
        return min(1.0, value / 4096)

    sweep = Sweep(recall, 1, 4096)
    found = sweep.firsts([0.95, 0.98, 0.5])
    assert 0 <= found[0.95] - 0.95 * 4096 <= 0.02 * 4096
    assert 0 <= found[0.98] - 0.98 * 4096 <= 0.02 * 4096
    assert found.keys() == {0.5, 0.95, 0.98}
    assert len(asked) == len(set(asked)) < 40
    assert sweep.recalls.keys() == set(asked)


def test_a_curve_that_has_reached_its_end_is_left() -> None:
    asked: list[int] = []

    def recall(value: int) -> float:
        asked.append(value)
        return min(0.9, value / 10)

    assert Sweep(recall, 1, 1 << 20).first(0.95) is None
    assert max(asked) <= 64


def test_a_target_no_value_reaches_is_left_out() -> None:
    sweep = Sweep(lambda value: value / 100, 1, 50)
    assert sweep.firsts([0.2, 0.6]) == {0.2: 20}
