"""Rows are what the options say: generated the same each time, or read and checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from race.data import generate, load
from race.options import Case, parse

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_generated_rows_are_the_same_for_the_same_seed(metric: str) -> None:
    case = Case(rows=300, dimension=8, metric=metric)
    one, two, other = (generate(case, n_queries=20, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.rows, two.rows)
    np.testing.assert_array_equal(one.queries, two.queries)
    assert not np.array_equal(one.rows, other.rows)
    for matrix, count in ((one.rows, 300), (one.queries, 20)):
        assert matrix.shape == (count, 8)
        assert matrix.dtype == np.float32
        assert matrix.flags.c_contiguous
        assert not matrix.flags.writeable
    unit = np.allclose(np.linalg.norm(one.rows, axis=1), 1, atol=1e-6)
    assert unit == (metric == "cosine")


def test_queries_are_held_out(tmp_path: Path) -> None:
    rows = np.arange(400, dtype=np.float16).reshape(200, 2)
    np.save(tmp_path / "rows.npy", rows)
    workload = load(tmp_path / "rows.npy", None, metric="l2", n_queries=1000, seed=0)
    assert len(workload.queries) == 20
    assert len(workload.rows) == 180
    kept = np.concatenate([workload.rows, workload.queries])
    np.testing.assert_array_equal(kept[np.argsort(kept[:, 0])], rows.astype(np.float32))


def test_what_is_no_matrix_of_rows_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "flat.npy", np.zeros(3, dtype=np.float32))
    np.save(tmp_path / "rows.npy", np.ones((30, 3), dtype=np.float32))
    np.save(tmp_path / "narrow.npy", np.ones((3, 2), dtype=np.float32))
    np.save(tmp_path / "zero.npy", np.eye(4, 3, dtype=np.float32))

    def read(rows: str, queries: str | None = None) -> None:
        load(
            tmp_path / rows,
            tmp_path / queries if queries else None,
            metric="cosine",
            n_queries=5,
            seed=0,
        )

    with pytest.raises(SystemExit, match="expected a matrix of floats"):
        read("flat.npy")
    with pytest.raises(SystemExit, match="expected 3 dimensions"):
        read("rows.npy", "narrow.npy")
    with pytest.raises(SystemExit, match="row 3 is zero"):
        read("zero.npy", "rows.npy")
    with pytest.raises(SystemExit, match=r"expected a \.npy file"):
        read("none.npy")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--case", "10"],
        ["--case", "10x4:hamming"],
        ["--case", "0x4"],
        ["--rounds", "0"],
        ["--targets", "95"],
        ["--queries", "q.npy"],
        ["--data", "a.npy", "--case", "10x4"],
    ],
)
def test_options_that_make_no_sense_are_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(arguments)
    assert caught.value.code == 2
    assert "expected" in (told := capsys.readouterr().err) or "needs" in told or "exclude" in told


def test_a_full_run_covers_the_sizes_and_metrics_that_the_goals_name() -> None:
    cases = parse(["--full"]).cases
    assert {case.dimension for case in cases} == {96, 128, 384, 768, 1536}
    assert {case.metric for case in cases} == {"cosine", "dot", "l2"}
    assert {min(case.rows for case in cases), max(case.rows for case in cases)} == {1_000, 1_000_000}
