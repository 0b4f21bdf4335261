"""Embeddings: rows become float32 exactly, a wrong row is named, and unit rows are right for any magnitude."""

from __future__ import annotations

import base64
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vdb_core.domain import Embedding, check_matrix, embedding_from_b64, normalize, plain_query, to_matrix
from vdb_core.errors import ValidationFailed

FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
MATRICES = hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=FLOAT32)


def pointer(row: int) -> str:
    return f"/chunks/{row}/embedding"


@given(MATRICES)
def test_lists_and_arrays_become_the_same_rows(matrix: np.ndarray) -> None:
    for rows in (
        matrix.tolist(),
        list(matrix),
        list(matrix.astype(np.float64)),
        matrix,
        [tuple(r) for r in matrix.tolist()],
    ):
        made, faults = to_matrix(rows, pointer, max_dimension=9)
        assert faults == []
        assert made is not None
        assert made.dtype == np.float32
        assert made.flags.c_contiguous
        np.testing.assert_array_equal(made, matrix)


@pytest.mark.parametrize(
    "bad",
    [
        ["1.5", 2.0],
        [None, 1.0],
        [True, 0.5],
        [0.5, False],
        [np.True_, 0.5],
        [[1.0], [2.0]],
        [1.0, object()],
        [1.0],
        [1.0, 2.0, 3.0],
        [],
        "ab",
        b"ab",
        None,
        7,
        {"a": 1},
        np.array([True, False]),
        np.array(["a", "b"]),
        np.array([1 + 2j, 1]),
        np.zeros((2, 1)),
    ],
    ids=repr,
)
@pytest.mark.parametrize("row", [1, 17])
def test_a_bad_row_is_named_whatever_is_wrong_with_it(bad: Any, row: int) -> None:
    rows: list[Any] = [[0.25, 0.5] for _ in range(20)]
    rows[row] = bad
    made, faults = to_matrix(rows, pointer, max_dimension=8)
    assert made is None
    assert [fault.pointer for fault in faults] == [f"/chunks/{row}/embedding"]


def test_all_rows_of_booleans_or_strings_are_refused() -> None:
    for rows in ([[True, False]], [["1", "2"]], np.array([[True]]), np.array([["1"]])):
        made, faults = to_matrix(rows, pointer, max_dimension=8)
        assert made is None
        assert len(faults) == 1


def test_zeros_and_ones_are_numbers() -> None:
    made, faults = to_matrix([[0, 1], [1.0, 0.0]], pointer, max_dimension=8)
    assert faults == []
    assert made is not None
    assert made.tolist() == [[0, 1], [1, 0]]


def test_the_length_of_a_row_is_that_of_the_library_where_it_is_known() -> None:
    made, faults = to_matrix([[1.0, 2.0], [1.0, 2.0, 3.0]], pointer, max_dimension=8, dimension=3)
    assert made is None
    assert [fault.pointer for fault in faults] == ["/chunks/0/embedding"]
    assert "3 numbers; received 2" in faults[0].detail
    assert to_matrix([[1.0] * 9], pointer, max_dimension=8)[1][0].detail.endswith(
        "at most 8 numbers (max_dimension); received 9"
    )
    empty, faults = to_matrix([], pointer, max_dimension=8, dimension=3)
    assert faults == []
    assert empty is not None
    assert empty.shape == (0, 3)


def test_integers_beyond_every_float_become_infinite_and_are_reported() -> None:
    made, faults = to_matrix([[1, 10**400], [1.0, 1e39]], pointer, max_dimension=8)
    assert faults == []
    assert made is not None
    faults = check_matrix(made, dimension=2, metric="l2", pointers=pointer)
    assert [fault.pointer for fault in faults] == ["/chunks/0/embedding", "/chunks/1/embedding"]


@given(
    MATRICES,
    st.dictionaries(
        st.integers(0, 8), st.sampled_from([math.nan, math.inf, -math.inf, 1e39, -1e300]), max_size=3
    ),
)
def test_every_row_that_is_not_finite_is_found(matrix: np.ndarray, bad: dict[int, float]) -> None:
    wide = matrix.astype(np.float64)
    planted = sorted({row % len(wide) for row in bad})
    for row, value in bad.items():
        wide[row % len(wide), row % wide.shape[1]] = value
    for metric in ("l2", "dot", "cosine"):
        with np.errstate(over="ignore"):
            narrow = wide.astype(np.float32)
        zero = [row for row in range(len(wide)) if metric == "cosine" and not narrow[row].any()]
        faults = check_matrix(wide, dimension=wide.shape[1], metric=metric, pointers=pointer)
        assert [fault.pointer for fault in faults] == [pointer(row) for row in sorted({*planted, *zero})]


def test_a_vector_that_vanishes_in_float32_is_zero_under_cosine() -> None:
    assert (
        "zero vector"
        in check_matrix(np.array([[1e-50]]), dimension=1, metric="cosine", pointers=pointer)[0].detail
    )
    assert check_matrix(np.array([[1e-50]]), dimension=1, metric="l2", pointers=pointer) == []


def test_a_wrong_dimension_is_a_fault_of_every_row() -> None:
    faults = check_matrix(np.ones((2, 3), np.float32), dimension=4, metric="l2", pointers=pointer)
    assert [fault.pointer for fault in faults] == [pointer(0), pointer(1)]
    assert "4 numbers; received 3" in faults[0].detail


@given(hnp.arrays("<f4", st.integers(1, 9), elements=st.floats(width=32)))
def test_base64_brings_back_the_same_bits(row: np.ndarray) -> None:
    made, faults = embedding_from_b64(base64.b64encode(row.tobytes()).decode(), "/embedding_b64")
    assert faults == []
    assert made is not None
    assert made.astype("<f4").tobytes() == row.tobytes()


@pytest.mark.parametrize(
    "value", ["", "AAA=", "AAAA", "!!!!", "AAAAAA==\n", "AAAAAA", "é", 7, None, b"AAAAAA=="]
)
def test_what_is_not_base64_of_float32_is_refused(value: object) -> None:
    made, faults = embedding_from_b64(value, "/embedding_b64")
    assert made is None
    assert [fault.pointer for fault in faults] == ["/embedding_b64"]


@given(MATRICES, st.sampled_from([1.0, 1e-30, 1e30]))
def test_unit_rows_agree_with_exact_arithmetic(matrix: np.ndarray, factor: float) -> None:
    with np.errstate(over="ignore", under="ignore"):
        scaled = (matrix * np.float32(factor)).astype(np.float32)
    matrix = np.where(np.isfinite(scaled), scaled, matrix)
    unit, norms = normalize(matrix)
    for row, made, norm in zip(matrix, unit, norms, strict=True):
        squares = sum((Fraction(float(number)) ** 2 for number in row), Fraction(0))
        if squares == 0:
            assert norm == 0
            assert not made.any()
            continue
        # |norm**2 / squares - 1| is a few units of float64.
        assert abs(Fraction(float(norm)) ** 2 / squares - 1) < Fraction(1, 10**14)
        for number, one in zip(row, made, strict=True):
            exact = float(number) / float(norm)
            assert abs(float(one) - exact) <= 2**-24 * abs(exact) + 2**-149


@pytest.mark.parametrize("magnitude", [5e-324, 1e-300, 1.0, 1e300])
def test_lengths_of_float64_rows_neither_overflow_nor_vanish(magnitude: float) -> None:
    unit, norms = normalize(np.array([[3.0 * magnitude, 4.0 * magnitude]]))
    assert norms[0] == pytest.approx(5.0 * magnitude, rel=1e-9)
    assert unit[0].tolist() == pytest.approx([0.6, 0.8])


@given(MATRICES, st.integers(0, 8))
def test_a_row_has_the_same_unit_row_wherever_it_stands(matrix: np.ndarray, shift: int) -> None:
    rolled = np.roll(matrix, shift, axis=0)
    unit, norms = normalize(matrix)
    rolled_unit, rolled_norms = normalize(rolled)
    assert np.roll(unit, shift, axis=0).tobytes() == rolled_unit.tobytes()
    assert np.roll(norms, shift).tobytes() == rolled_norms.tobytes()


def test_the_value_object() -> None:
    one = Embedding([3.0, 4.0])
    assert one.dimension == 2
    assert one.norm == 5.0
    assert one.normalized() == Embedding(np.array([0.6, 0.8]))
    assert hash(Embedding([0.0, 1.0])) == hash(Embedding([-0.0, 1.0]))
    assert len({hash(Embedding([1.0, float(number)])) for number in range(50)}) == 50
    assert Embedding([1.0, 2.0]) != Embedding([1.0, 3.0])
    assert repr(Embedding([1.0] * 4)) == "Embedding(4: 1, 1, 1, ...)"
    with pytest.raises(ValueError, match="read-only"):
        one.values[0] = 1
    for bad in ([], [math.nan], [1e39], [0.0, 0.0], ["a"]):
        with pytest.raises(ValidationFailed):
            Embedding(bad)  # type: ignore[arg-type]


ODD_NUMBERS = st.sampled_from(
    [0, 1, 0.0, -0.0, 1.0, 1e300, 1e20, 1e-200, 10**400, math.nan, math.inf, True, False, None, "1", [1.0]]
)


@given(st.lists(st.floats(-1e4, 1e4) | st.integers(-9, 9) | ODD_NUMBERS, min_size=0, max_size=6))
@example([1.0, True, 2.0])
@example([1.0, 1e39, 2.0])
@example([0.0, 1e-50, 0.0])
def test_a_query_is_plain_only_where_nobody_would_object(row: list[Any]) -> None:
    made, unit = plain_query(row, 3, "dot"), plain_query(row, 3, "cosine")
    expected, faults = to_matrix([row], pointer, max_dimension=9, dimension=3)
    if not any(isinstance(number, bool) for number in row):
        sure = plain_query(row, 3, "dot", no_booleans=True)
        assert (sure is None) == (made is None)
    if made is None:
        assert unit is None
        return
    assert unit is not None
    assert unit.tobytes() == normalize(made)[0].tobytes()
    assert faults == []
    assert expected is not None
    assert made.dtype == np.float32
    assert made.tobytes() == expected.tobytes()
    assert check_matrix(expected, dimension=3, metric="cosine", pointers=pointer) == []


def test_ordinary_queries_are_plain() -> None:
    row = np.random.default_rng(0).standard_normal(384)
    for given_row in (row.tolist(), [*row.tolist()[:-2], 0, 1], row.astype(np.float32)):
        assert plain_query(given_row, 384, "cosine") is not None
    assert plain_query(row.tolist(), 383, "cosine") is None
    assert plain_query(tuple(row.tolist()), 384, "cosine") is None


@given(MATRICES)
def test_one_row_is_normalized_as_many_are(matrix: np.ndarray) -> None:
    units, norms = normalize(np.concatenate([matrix, matrix]))
    for at, row in enumerate(matrix):
        unit, norm = normalize(row[np.newaxis])
        assert unit[0].tobytes() == units[at].tobytes()
        assert norm[0] == norms[at]
