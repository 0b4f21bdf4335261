"""The exact answer and recall, against sorting every distance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from race.truth import Truth

METRICS = ("cosine", "dot", "l2")


def distances(rows: np.ndarray, queries: np.ndarray, metric: str) -> np.ndarray:
    rows, queries = rows.astype(np.float64), queries.astype(np.float64)
    if metric == "l2":
        return ((queries[:, None, :] - rows[None, :, :]) ** 2).sum(axis=2)
    return -(queries @ rows.T)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    rows=st.integers(1, 60),
    k=st.integers(1, 12),
    metric=st.sampled_from(METRICS),
    share=st.floats(0.05, 1),
)
def test_it_agrees_with_sorting(seed: int, rows: int, k: int, metric: str, share: float) -> None:
    random = np.random.default_rng(seed)
    data = random.standard_normal((rows, 5)).astype(np.float32)
    queries = random.standard_normal((4, 5)).astype(np.float32)
    allowed = random.random(rows) < share
    allowed[int(random.integers(rows))] = True
    truth = Truth.of(data, queries, metric=metric, k=k, allowed=allowed)
    all_distances = np.where(allowed, distances(data, queries, metric), np.inf)
    order = np.argsort(all_distances, axis=1, kind="stable")
    exact = np.full((4, k), 0xFFFFFFFF, dtype=np.uint32)
    exact[:, : min(k, rows)] = order[:, :k]
    exact[:, allowed.sum() :] = 0xFFFFFFFF
    assert truth.k == min(k, allowed.sum())
    assert truth.recall(exact) == 1.0
    assert (truth.hits(exact) == truth.k).all()
    # One hit less is one hit less.
    exact[:, 0] = 0xFFFFFFFF
    assert truth.recall(exact) == pytest.approx(1 - 1 / truth.k)


def test_a_repeated_hit_counts_once_and_padding_not_at_all() -> None:
    rows = np.eye(4, dtype=np.float32)
    truth = Truth.of(rows, rows[:1], metric="dot", k=1)
    wide = Truth.of(rows, rows[:1], metric="l2", k=2)
    assert truth.recall(np.array([[0]])) == 1
    assert wide.recall(np.array([[0, 0]], dtype=np.uint32)) == 0.5
    assert wide.recall(np.array([[0, -1]])) == 0.5
    assert wide.hits(np.array([[0, 4_294_967_295]], dtype=np.uint32)).tolist() == [1]


def test_a_row_that_is_not_allowed_is_no_hit() -> None:
    rows = np.eye(3, dtype=np.float32)
    allowed = np.array([False, True, True])
    truth = Truth.of(rows, rows[:1], metric="l2", k=1, allowed=allowed)
    assert truth.recall(np.array([[0]])) == 0
    assert truth.recall(np.array([[2]])) == 1  # both others are as near
    assert truth.hits(np.array([[0]])).tolist() == [0]


def test_rows_further_than_the_kth_are_no_hits() -> None:
    rows = np.arange(10, dtype=np.float32)[:, None]
    truth = Truth.of(rows, np.zeros((1, 1), np.float32), metric="l2", k=3)
    assert truth.recall(np.array([[0, 1, 9]])) == pytest.approx(2 / 3)


def test_blocks_do_not_change_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    rows = random.standard_normal((50, 3)).astype(np.float32)
    whole = Truth.of(rows, rows[:5], metric="l2", k=7).kth
    monkeypatch.setattr("race.truth._BLOCK", 4)
    np.testing.assert_allclose(Truth.of(rows, rows[:5], metric="l2", k=7).kth, whole)


def test_no_row_at_all_is_refused() -> None:
    rows = np.eye(2, dtype=np.float32)
    with pytest.raises(ValueError, match="one row at least"):
        Truth.of(rows, rows, metric="l2", k=1, allowed=np.zeros(2, bool))
