"""What the kit calls exact: float64 decides, its own rounding does not, and equal rows come by slot."""

from __future__ import annotations

import numpy as np
import pytest

from vdb_core.indexes import NumpyExactIndex
from vdb_core.testing import PROBLEMS, make_problem
from vdb_core.testing.answers import check_exact
from vdb_core.testing.problems import Problem

METRICS = ("cosine", "dot", "l2")


def oracle(problem: Problem, k: int) -> tuple[np.ndarray, np.ndarray]:
    return NumpyExactIndex(problem.rows, metric=problem.metric).search(problem.queries, k)


def check(problem: Problem, answer: tuple[np.ndarray, np.ndarray]) -> None:
    check_exact(problem, answer, np.arange(len(problem.rows)), distances=False, case="case")


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("name", PROBLEMS)
def test_a_problem_is_what_an_engine_hands_over_and_always_the_same(name: str, metric: str) -> None:
    problem, again = make_problem(name, metric), make_problem(name, metric)
    for array in (problem.rows, problem.queries):
        assert array.dtype == np.float32
        assert array.flags.c_contiguous
        assert not array.flags.writeable
        assert np.isfinite(array).all()
        if metric == "cosine":
            assert np.linalg.norm(array.astype(np.float64), axis=1) == pytest.approx(1, abs=1e-6)
    assert problem.rows.tobytes() == again.rows.tobytes()
    check(problem, oracle(problem, 10))


@pytest.mark.parametrize("metric", METRICS)
def test_an_order_that_only_float64_can_tell_is_demanded(metric: str) -> None:
    problem = make_problem("near_ties", metric)
    slots, distances = oracle(problem, len(problem.rows))
    swapped = slots.copy()
    # First and last: rows whose distances differ by a few units in the last place of float32.
    swapped[:, 0], swapped[:, -1] = slots[:, -1], slots[:, 0]
    with pytest.raises(AssertionError, match="hit 0 is row"):
        check(problem, (swapped, distances))


def test_an_order_that_is_rounding_of_float64_alone_is_free() -> None:
    rows = np.array([[1e8, 1e-9, -1e8], [1e8, -1e8, 1e-9]], np.float32)
    queries = np.ones((1, 3), np.float32)
    problem = Problem(name="sums", metric="dot", rows=rows, queries=queries, integral=False)
    distances = np.zeros((1, 2), np.float32)
    for order in ([0, 1], [1, 0]):
        check(problem, (np.array([order], np.uint32), distances))


@pytest.mark.parametrize("order", [[1, 0], [0, 2], [2, 1]])
def test_equal_rows_are_demanded_in_the_order_of_their_slots(order: list[int]) -> None:
    rows = np.full((3, 2), 0.1, np.float32)
    problem = Problem(name="equal", metric="l2", rows=rows, queries=rows[:1], integral=False)
    with pytest.raises(AssertionError, match="equal row"):
        check(problem, (np.array([order], np.uint32), np.zeros((1, 2), np.float32)))
