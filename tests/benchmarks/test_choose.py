"""Ratios at equal recall: who must reach what, who is best, and how sure a ratio is."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from race.choose import EQUAL, best, frontier, ratio, required, shortlist


@dataclass(frozen=True)
class Run:
    seconds: float
    recall: float


RUNS = st.lists(st.builds(Run, seconds=st.floats(0.001, 10), recall=st.floats(0, 1)), max_size=20)


@given(target=st.floats(0.5, 1), over=st.floats(0, 0.5))
def test_ours_never_finds_less_than_the_target_nor_notably_less_than_the_peer(
    target: float, over: float
) -> None:
    peer = target + over
    least = required(target, peer)
    assert least >= target
    assert peer - least <= EQUAL + 1e-12
    assert least == target or over > EQUAL


@given(runs=RUNS, least=st.floats(0, 1))
def test_the_best_is_the_cheapest_that_finds_enough(runs: list[Run], least: float) -> None:
    found = best(runs, lambda run: run.seconds, lambda run: run.recall, least)
    enough = [run for run in runs if run.recall >= least]
    if found is None:
        assert not enough
    else:
        assert found in enough
        assert found.seconds == min(run.seconds for run in enough)


@given(runs=RUNS, places=st.integers(1, 5))
def test_a_shortlist_leaves_out_nobody_cheaper(runs: list[Run], places: int) -> None:
    chosen = shortlist(runs, lambda run: run.seconds, places)
    assert [run.seconds for run in chosen] == sorted(run.seconds for run in runs)[:places]


def test_a_ratio_is_that_of_the_medians_with_its_extremes() -> None:
    compared = ratio([4.0, 100.0, 6.0], [2.0, 4.0, 3.0])
    assert (compared.value, compared.low, compared.high) == (2.0, 2.0, 25.0)


@pytest.mark.parametrize(("peer", "ours"), [([], []), ([1.0], [1.0, 2.0])])
def test_rounds_that_do_not_pair_are_refused(peer: list[float], ours: list[float]) -> None:
    with pytest.raises(ValueError, match="as many rounds of both"):
        ratio(peer, ours)


@given(runs=RUNS)
def test_the_frontier_holds_the_points_that_none_beats(runs: list[Run]) -> None:
    points = [{"recall": run.recall, "seconds": run.seconds} for run in runs]
    kept = frontier(points, "seconds")
    assert [point["recall"] for point in kept] == sorted(point["recall"] for point in kept)
    for point in points:
        assert any(each["recall"] >= point["recall"] and each["seconds"] <= point["seconds"] for each in kept)
    for each in kept:
        assert not any(
            point["recall"] > each["recall"] and point["seconds"] < each["seconds"] for point in points
        )
