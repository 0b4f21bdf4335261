from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vdb_sdk._vectors import as_matrix, as_vector, npy_parts
from vdb_sdk.errors import InvalidArgument

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(deadline=None)
@given(st.lists(FLOATS, min_size=1, max_size=20))
def test_a_list_and_any_array_give_the_same_vector(values: list[float]) -> None:
    expected = np.array(values, dtype=np.float32)
    strided = np.repeat(expected, 2)[::2]
    for given_ in (
        values,
        tuple(values),
        expected,
        expected.astype(np.float64),
        expected.astype(">f4"),
        strided,
    ):
        vector = as_vector(given_)
        assert vector.dtype == np.dtype("<f4")
        assert vector.flags.c_contiguous
        assert np.array_equal(vector, expected)


def test_integers_and_halves_are_numbers() -> None:
    assert as_vector(np.array([1, 2], dtype=np.int8)).tolist() == [1.0, 2.0]
    assert as_matrix(np.ones((2, 2), dtype=np.float16)).dtype == np.float16
    assert as_matrix([[1, 2], [3, 4]]).dtype == np.float32


def test_a_number_beyond_float32_becomes_infinity_without_a_warning() -> None:
    assert np.isinf(as_vector([1e300])[0])


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([], "empty"),
        (3.5, "shape"),
        ([[1.0, 2.0]], "search_many"),
        ("words", "text="),
        (b"1234", "expected numbers"),
        ([1.0, None], "dtype object"),
        ([1.0, "2"], "dtype"),
        ([True, False], "dtype bool"),
        ([1.0, [2.0]], "expected numbers"),
        ([1j], "dtype complex"),
    ],
)
def test_what_is_no_vector_is_refused_in_plain_words(value: object, words: str) -> None:
    with pytest.raises(InvalidArgument, match="embedding") as caught:
        as_vector(value)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([1.0, 2.0], "add()"),
        (np.zeros((2, 2, 2)), "[2, 2, 2]"),
        (np.zeros((2, 0)), "dimension of at least 1"),
        ([[1.0, 2.0], [3.0]], "row 0 has 2 numbers, row 1 has 1"),
        ([np.zeros(3), np.zeros(4)], "row 0 has 3 numbers, row 1 has 4"),
    ],
)
def test_what_is_no_matrix_is_refused_in_plain_words(value: object, words: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        as_matrix(value)
    assert words in str(caught.value)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_npy_is_what_numpy_reads(dtype: type[np.float32]) -> None:
    matrix = as_matrix(np.arange(12).reshape(4, 3).astype(dtype).T)
    loaded = np.load(io.BytesIO(b"".join(npy_parts(matrix))), allow_pickle=False)
    assert loaded.dtype == dtype
    assert np.array_equal(loaded, matrix)
