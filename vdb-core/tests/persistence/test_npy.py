"""Reading and writing .npy: NumPy is the oracle; damage is an error or changes nothing."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vdb_core.errors import SnapshotDamaged, StorageFailed, ValidationFailed
from vdb_core.persistence import map_npy, read_npy_bytes, write_npy
from vdb_core.persistence.npy import ArrayBlocks, npy_chunks, npy_header

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

DTYPES = ["bool", "int8", "uint8", "int16", "uint32", "int64", "uint64", "float16", "float32", "float64"]

reuse_path = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200
)


@st.composite
def arrays(draw: st.DrawFn) -> NDArray[np.generic]:
    dtype = np.dtype(draw(st.sampled_from(DTYPES))).newbyteorder(draw(st.sampled_from("<>")))
    array = draw(hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5)))
    way = draw(st.sampled_from(["as is", "fortran", "strided", "transposed"]))
    if way == "fortran":
        return np.asfortranarray(array)
    if way == "strided" and array.ndim:
        return array[::2]
    return array.T if way == "transposed" else array


def saved(array: NDArray[np.generic], version: tuple[int, int] | None = None) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, version=version, allow_pickle=False)
    return stream.getvalue()


@reuse_path
@given(array=arrays())
def test_numpy_reads_what_is_written_and_the_mapping_equals_it(
    tmp_path: Path, array: NDArray[np.generic]
) -> None:
    path = tmp_path / "a.npy"
    path.unlink(missing_ok=True)
    assert write_npy(path, array) == path.stat().st_size
    loaded = np.load(path, allow_pickle=False)
    mapped = map_npy(path)
    for read in (loaded, mapped):
        np.testing.assert_array_equal(read, array)
        assert read.shape == array.shape
        assert read.dtype == array.dtype.newbyteorder("<")
    assert mapped.flags.c_contiguous
    assert mapped.flags.aligned
    assert not mapped.flags.writeable


@reuse_path
@given(array=arrays(), version=st.sampled_from([(1, 0), (2, 0), (3, 0)]))
def test_what_numpy_saves_is_read_in_each_version_of_the_format(
    tmp_path: Path, array: NDArray[np.generic], version: tuple[int, int]
) -> None:
    array = array.astype(array.dtype.newbyteorder("<"))
    data = saved(array, version)
    read = read_npy_bytes(data, allowed_dtypes=DTYPES, ndim=array.ndim)
    np.testing.assert_array_equal(read, array)
    assert read.flags.c_contiguous
    assert not read.flags.writeable
    path = tmp_path / "b.npy"
    path.write_bytes(data)
    if array.flags.c_contiguous:
        np.testing.assert_array_equal(map_npy(path), array)


@reuse_path
@given(data=st.data())
def test_a_flipped_or_cut_file_is_an_error_or_still_an_array_of_its_size(
    tmp_path: Path, data: st.DataObject
) -> None:
    array = np.arange(12, dtype=np.float32).reshape(4, 3)
    content = bytearray(saved(array))
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, 140) | st.integers(0, len(content) - 1)) % len(content)] ^= (
            1 << data.draw(st.integers(0, 7))
        )
    content = content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))]
    content += data.draw(st.binary(max_size=4))
    path = tmp_path / "c.npy"
    path.write_bytes(content)
    told = ""
    try:
        mapped = map_npy(path)
    except SnapshotDamaged as error:
        told = str(error)
    else:
        # A header that still says the same amount of data is a header that nobody can tell from a true one: the
        # checksum in the manifest is what finds it.
        assert mapped.nbytes <= len(content)
        assert mapped.tobytes() == bytes(content[len(content) - mapped.nbytes :])
    assert told == "" or str(path) in told
    pointer = "/vectors"
    try:
        read = read_npy_bytes(bytes(content), allowed_dtypes={"float32"}, ndim=2, pointer=pointer)
    except ValidationFailed as error:
        pointer = error.faults[0].pointer
    else:
        assert read.dtype == np.float32
        assert read.size == 12
    assert pointer == "/vectors"


@settings(max_examples=500, deadline=None)
@given(text=st.text(max_size=60) | st.from_regex(r"\{'descr': '[<>|][a-zO]\d', 'shape': \([0-9, ]*\).*\}"))
@example("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}")
@example("{'descr': '<f4', 'fortran_order': False, 'shape': (3)}")
@example("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 3)}")
@example("{'descr': '<f4', 'fortran_order': False, 'shape': (1e3,)}")
@example("{'descr': '<f4', 'fortran_order': False, 'shape': (,)}")
@example("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999, 99999999999999999, 0)}")
@example("{'descr': '<f4', 'fortran_order': 'False', 'shape': (0,)}")
@example("{'descr': True, 'fortran_order': False, 'shape': (0,)}")
@example("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (0,)}")
@example("{'descr': '<f4', 'fortran_order': False, 'shape': (0,), 'more': True}")
@example("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (0,)}")
def test_no_header_is_evaluated_or_believed(text: str) -> None:
    header = text.encode("utf-8")
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with pytest.raises(ValidationFailed, match="npy"):
        read_npy_bytes(content, allowed_dtypes=DTYPES, ndim=1)


def test_an_object_array_is_refused_without_unpickling(tmp_path: Path) -> None:
    path = tmp_path / "o.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(SnapshotDamaged, match=r"o\.npy.*'\|O'"):
        map_npy(path)
    with pytest.raises(ValueError, match="object"):
        npy_header(np.dtype(object), (1,))


def test_a_missing_file_and_a_fortran_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(SnapshotDamaged, match=r"gone\.npy is missing"):
        map_npy(tmp_path / "gone.npy")
    np.save(tmp_path / "f.npy", np.asfortranarray(np.ones((2, 3))))
    with pytest.raises(SnapshotDamaged, match="Fortran"):
        map_npy(tmp_path / "f.npy")
    (tmp_path / "d.npy").mkdir()
    with pytest.raises(StorageFailed, match="directory"):
        map_npy(tmp_path / "d.npy")


def test_uploads_are_held_to_type_axes_and_rows() -> None:
    data = saved(np.zeros((3, 2), dtype=np.float64))
    with pytest.raises(ValidationFailed, match="float16 or float32, received float64"):
        read_npy_bytes(data, allowed_dtypes={"float32", "float16"}, ndim=2)
    with pytest.raises(ValidationFailed, match="1 axes, received 2"):
        read_npy_bytes(data, allowed_dtypes={"float64"}, ndim=1)
    with pytest.raises(ValidationFailed, match="at most 2 rows, received 3"):
        read_npy_bytes(data, allowed_dtypes={"float64"}, ndim=2, max_rows=2)
    with pytest.raises(ValidationFailed, match="'>f4'"):
        read_npy_bytes(saved(np.zeros((3, 2), dtype=">f4")), allowed_dtypes={"float32"}, ndim=2)


def test_uploads_are_views_of_what_came() -> None:
    array = np.arange(6, dtype=np.float32).reshape(3, 2)
    content = bytearray(saved(array))
    read = read_npy_bytes(memoryview(content), allowed_dtypes={"float32"}, ndim=2, max_rows=3)
    content[-4:] = np.float32(7).tobytes()
    assert read[2, 1] == 7


def test_blocks_are_one_array(tmp_path: Path) -> None:
    whole = np.arange(30, dtype=np.float32).reshape(10, 3)
    blocks = [whole[:4], whole[4:4], whole[4:]]
    write_npy(tmp_path / "b.npy", ArrayBlocks(dtype=whole.dtype, shape=whole.shape, blocks=blocks))
    np.testing.assert_array_equal(np.load(tmp_path / "b.npy"), whole)
    assert b"".join(npy_chunks(whole)) == (tmp_path / "b.npy").read_bytes()


@pytest.mark.parametrize(
    "blocks",
    [
        [np.zeros((4, 3), np.float32)],
        [np.zeros((11, 3), np.float32)],
        [np.zeros((10, 3))],
        [np.zeros(30, np.float32)],
    ],
)
def test_blocks_that_do_not_add_up_leave_no_file(tmp_path: Path, blocks: list[NDArray[np.generic]]) -> None:
    with pytest.raises(ValueError, match="block"):
        write_npy(tmp_path / "b.npy", ArrayBlocks(dtype=np.dtype(np.float32), shape=(10, 3), blocks=blocks))
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_not_overwritten(tmp_path: Path) -> None:
    write_npy(tmp_path / "a.npy", np.ones(3))
    with pytest.raises(StorageFailed, match=r"a\.npy.*exists"):
        write_npy(tmp_path / "a.npy", np.zeros(3))
    assert map_npy(tmp_path / "a.npy").sum() == 3


def test_large_arrays_are_written_in_pieces() -> None:
    array = np.zeros((3_000_000, 2), dtype=np.float32)
    sizes = [len(chunk) for chunk in npy_chunks(array)]
    assert sum(sizes[1:]) == array.nbytes
    assert max(sizes) <= 8 << 20
