r"""Reads and writes ``.npy`` files: streamed on the way out, mapped read-only and checked on the way in.

The format is NumPy's (NEP 1), restricted to what vdb stores: plain little-endian numbers, never pickled objects.
The header is read by a parser of its own that evaluates nothing, because a file may come from anybody::

    \x93NUMPY  major minor  header length  {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }  \n  data
"""

from __future__ import annotations

import math
import mmap
import os
import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from vdb_core.errors import SnapshotDamaged, ValidationFailed
from vdb_core.persistence.durable import Disk, told

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from io import FileIO
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["ArrayBlocks", "NpyHeader", "map_npy", "npy_chunks", "npy_header", "read_npy_bytes", "write_npy"]

_MAGIC: Final = b"\x93NUMPY"
_ALIGNMENT: Final = 64
_MAX_HEADER: Final = 65_536
_MAX_NDIM: Final = 32
_MAX_ELEMENTS: Final = 1 << 48
_BLOCK_BYTES: Final = 8 << 20

_DTYPES: Final = (
    "|b1",
    "|i1",
    "|u1",
    *(f"<{kind}" for kind in ("i2", "i4", "i8", "u2", "u4", "u8", "f2", "f4", "f8")),
)

_ITEM: Final = re.compile(
    r"""\s*(?P<q>['"])(?P<key>[a-z_]{1,20})(?P=q)\s*:\s*
        (?:(?P<r>['"])(?P<text>[^'"\\]{1,20})(?P=r)|(?P<flag>True|False)|\((?P<tuple>[0-9,\ ]{0,1000})\))\s*""",
    re.VERBOSE,
)


class _BadNpy(Exception):
    """The bytes are not a ``.npy`` file that can be read here; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NpyHeader:
    """What the header of a ``.npy`` file says."""

    dtype: np.dtype[np.generic]
    """A plain little-endian number or bool."""

    shape: tuple[int, ...]
    """Lengths by axis."""

    fortran_order: bool
    """Whether the first axis varies fastest."""

    offset: int
    """Where the data begin, in bytes from the start."""

    @property
    def nbytes(self) -> int:
        """Bytes of the data."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayBlocks:
    """An array that comes in blocks of rows, so that it need never be in memory as a whole."""

    dtype: np.dtype[np.generic]
    """Type of every block."""

    shape: tuple[int, ...]
    """Shape of the whole."""

    blocks: Iterable[NDArray[np.generic]]
    """Consecutive blocks along the first axis; together they have ``shape``."""


def _parse_header(start: bytes, total: int) -> NpyHeader:
    """Parse the first bytes of a file of ``total`` bytes, and check that its data fit it exactly."""
    if len(start) < 10 or not start.startswith(_MAGIC):
        raise _BadNpy(f"it does not begin with the {len(_MAGIC)} magic bytes of a .npy file")
    major, minor = start[6], start[7]
    if (major, minor) not in {(1, 0), (2, 0), (3, 0)}:
        raise _BadNpy(f"its .npy version is {major}.{minor}; expected 1.0, 2.0 or 3.0")
    width = 2 if major == 1 else 4
    length = int.from_bytes(start[8 : 8 + width], "little")
    offset = 8 + width + length
    if length > _MAX_HEADER:
        raise _BadNpy(f"its header claims {length} bytes; expected at most {_MAX_HEADER}")
    if offset > len(start):
        raise _BadNpy(f"its header claims to end at byte {offset}, but only {total} bytes are there")
    dtype, shape, fortran = _parse_fields(start[8 + width : offset].decode("latin-1"))
    header = NpyHeader(dtype=dtype, shape=shape, fortran_order=fortran, offset=offset)
    if total - offset != header.nbytes:
        raise _BadNpy(
            f"shape {shape} of {dtype.str} takes {header.nbytes} bytes after the header, but {total - offset} are there"
        )
    return header


def _parse_fields(text: str) -> tuple[np.dtype[np.generic], tuple[int, ...], bool]:
    body = text.strip()
    if not (body.startswith("{") and body.endswith("}")):
        raise _BadNpy("its header is not a dictionary")
    body = body[1:-1]
    fields: dict[str, str | bool | tuple[int, ...]] = {}
    at = 0
    while at < len(body) and body[at:].strip():
        item = _ITEM.match(body, at)
        if item is None or item["key"] in fields:
            raise _BadNpy(f"its header cannot be read at {body[at : at + 40]!r}")
        fields[item["key"]] = _value(item)
        at = item.end()
        if at < len(body):
            if body[at] != ",":
                raise _BadNpy(f"its header cannot be read at {body[at : at + 40]!r}")
            at += 1
    if set(fields) != {"descr", "fortran_order", "shape"}:
        raise _BadNpy(f"its header has the fields {sorted(fields)}; expected descr, fortran_order, shape")
    descr, fortran, shape = fields["descr"], fields["fortran_order"], fields["shape"]
    if not isinstance(fortran, bool) or not isinstance(shape, tuple):
        raise _BadNpy("its header gives fortran_order or shape a value of another type")
    if descr not in _DTYPES:
        raise _BadNpy(f"its dtype is {descr!r}; expected one of {', '.join(_DTYPES)}")
    if len(shape) > _MAX_NDIM or math.prod(max(length, 1) for length in shape) > _MAX_ELEMENTS:
        raise _BadNpy(f"its shape {shape} is beyond anything that fits")
    return np.dtype(descr), shape, fortran


def _value(item: re.Match[str]) -> str | bool | tuple[int, ...]:
    if item["text"] is not None:
        return item["text"]
    if item["flag"] is not None:
        return item["flag"] == "True"
    parts = [part.strip() for part in item["tuple"].split(",")]
    if parts[-1] == "":
        parts.pop()
    elif len(parts) == 1:
        raise _BadNpy(f"its shape ({item['tuple']}) is not a tuple")
    if not all(part.isdigit() and len(part) <= 18 for part in parts):
        raise _BadNpy(f"its shape ({item['tuple']}) is not made of lengths")
    return tuple(int(part) for part in parts)


def npy_header(dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> bytes:
    """Make the header of a C-ordered array, so that its data begin at a multiple of 64 bytes.

    Raises:
        ValueError: the dtype is not a plain number or bool.
    """
    stored = _stored_dtype(dtype)
    lengths = ", ".join(str(int(length)) for length in shape) + ("," if len(shape) == 1 else "")
    text = f"{{'descr': '{stored.str}', 'fortran_order': False, 'shape': ({lengths}), }}"
    padding = -(len(_MAGIC) + 4 + len(text) + 1) % _ALIGNMENT
    encoded = (text + " " * padding + "\n").encode("ascii")
    return _MAGIC + b"\x01\x00" + struct.pack("<H", len(encoded)) + encoded


def _stored_dtype(dtype: np.dtype[np.generic]) -> np.dtype[np.generic]:
    stored = np.dtype(dtype).newbyteorder("<")
    if stored.str not in _DTYPES:
        raise ValueError(f"An array of dtype {dtype} cannot be stored. Expected one of {', '.join(_DTYPES)}.")
    return stored


def npy_chunks(array: NDArray[np.generic] | ArrayBlocks) -> Iterator[bytes | memoryview]:
    """Give the bytes of a ``.npy`` file piece by piece: the header, then the data in C order, little-endian.

    The pieces of a contiguous array are views of it; anything else is copied a few megabytes at a time.

    Raises:
        ValueError: the dtype is not a plain number or bool, or blocks do not add up to their shape.
    """
    dtype, shape = array.dtype, array.shape
    yield npy_header(dtype, shape)
    stored = _stored_dtype(dtype)
    if not isinstance(array, ArrayBlocks):
        yield from _block_bytes(array, stored)
        return
    rows = 0
    for block in array.blocks:
        if block.dtype != dtype or block.shape[1:] != shape[1:] or block.ndim != len(shape):
            raise ValueError(
                f"A block is {block.dtype}{block.shape}; expected {dtype} rows of shape {shape[1:]}."
            )
        rows += block.shape[0]
        if rows > shape[0]:
            break
        yield from _block_bytes(block, stored)
    if rows != shape[0]:
        raise ValueError(f"The blocks hold {rows} rows or more; the shape {shape} says {shape[0]}.")


def _block_bytes(block: NDArray[np.generic], stored: np.dtype[np.generic]) -> Iterator[memoryview]:
    if block.size == 0:
        return
    if block.ndim == 0:
        block = block.reshape(1)
    step = max(1, _BLOCK_BYTES * block.shape[0] // max(1, block.nbytes))
    for start in range(0, block.shape[0], step):
        part = np.ascontiguousarray(block[start : start + step], dtype=stored)
        yield part.reshape(-1).view(np.uint8).data


def write_npy(path: Path, array: NDArray[np.generic] | ArrayBlocks, *, disk: Disk | None = None) -> int:
    """Write a new ``.npy`` file and wait until its bytes are on the device; returns its size in bytes.

    The name is durable only once the caller has synced the directory. A file that could not be written whole is
    removed.

    Raises:
        StorageFull: there is no room.
        StorageFailed: the storage refused, or the file exists.
        ValueError: the dtype is not a plain number or bool, or blocks do not add up to their shape.
    """
    disk = disk or Disk()
    size = 0
    with told(f"write {path}"):
        file = disk.create(path)
        try:
            with file:
                for chunk in npy_chunks(array):
                    disk.write(file, chunk)
                    size += len(chunk)
                disk.sync_file(file)
        except BaseException:
            disk.remove_file(path)
            raise
    return size


def map_npy(path: Path) -> NDArray[np.generic]:
    """Map a ``.npy`` file read-only: a C-contiguous array whose rows come from the disk when they are touched.

    Header and size are checked before anything is mapped. An array without elements is an ordinary one, for an
    empty range cannot be mapped.

    Raises:
        SnapshotDamaged: it is missing, truncated, longer than it says, or no plain C-ordered array.
        StorageFailed: the operating system refused to open it.
    """
    with told(f"map {path}"):
        try:
            with path.open("rb", buffering=0) as file:
                return _map(file)
        except _BadNpy as error:
            raise SnapshotDamaged(
                f"{path} is not a usable .npy file: {error}. Restore it or rebuild it."
            ) from None
        except FileNotFoundError:
            raise SnapshotDamaged(f"{path} is missing. Restore it or rebuild it.") from None


def _map(file: FileIO) -> NDArray[np.generic]:
    total = os.fstat(file.fileno()).st_size
    header = _parse_header(_read_start(file), total)
    if header.fortran_order:
        raise _BadNpy("it is in Fortran order; expected C order")
    if header.nbytes == 0:
        return _empty(header)
    mapping = mmap.mmap(file.fileno(), total, access=mmap.ACCESS_READ)
    return _view(mapping, header)


def _read_start(file: FileIO) -> bytes:
    start = b""
    while len(start) < _MAX_HEADER + 12:
        more = file.read(_MAX_HEADER + 12 - len(start))
        if not more:
            break
        start += more
    return start


def _empty(header: NpyHeader) -> NDArray[np.generic]:
    array = np.empty(header.shape, dtype=header.dtype)
    array.flags.writeable = False
    return array


def _view(data: mmap.mmap | memoryview, header: NpyHeader) -> NDArray[np.generic]:
    count = math.prod(header.shape)
    flat = np.frombuffer(data, dtype=header.dtype, count=count, offset=header.offset)
    if (
        not flat.flags.aligned
    ):  # Some writers do not pad their header; unaligned rows would be slow or fatal later.
        flat = flat.copy()
    if header.fortran_order:
        flat = np.ascontiguousarray(flat.reshape(header.shape[::-1]).T).reshape(-1)
    array = flat.reshape(header.shape)
    array.flags.writeable = False
    return array


def read_npy_bytes(
    data: bytes | bytearray | memoryview,
    *,
    allowed_dtypes: Collection[str],
    ndim: int,
    max_rows: int | None = None,
    pointer: str = "",
) -> NDArray[np.generic]:
    """Read a ``.npy`` file that a caller sent; the answer is C-contiguous, read-only, and a view of ``data``.

    Only a Fortran-ordered or an unaligned array is copied.

    Args:
        data: the whole file.
        allowed_dtypes: names such as ``{"float32", "float16"}``.
        ndim: how many axes it must have.
        max_rows: the most rows that are accepted; ``None`` sets no limit.
        pointer: where the fault is said to be.

    Raises:
        ValidationFailed: it is not such an array, or not a ``.npy`` file at all.
    """
    view = memoryview(data).cast("B")
    try:
        header = _parse_header(bytes(view[: _MAX_HEADER + 12]), view.nbytes)
    except _BadNpy as error:
        raise ValidationFailed.at(
            pointer,
            f"Expected a .npy file as numpy.save writes it, but {error}. Send what numpy.save wrote, whole.",
        ) from None
    if header.dtype.name not in allowed_dtypes:
        expected = " or ".join(sorted(allowed_dtypes))
        raise ValidationFailed.at(
            pointer,
            f"Expected an array of {expected}, received {header.dtype.name}. Convert it with .astype(...).",
        )
    if len(header.shape) != ndim:
        raise ValidationFailed.at(
            pointer, f"Expected an array of {ndim} axes, received {len(header.shape)}: shape {header.shape}."
        )
    if max_rows is not None and header.shape[0] > max_rows:
        raise ValidationFailed.at(
            pointer,
            f"Expected at most {max_rows} rows, received {header.shape[0]}. Send them in several requests.",
        )
    if header.nbytes == 0:
        return _empty(header)
    return _view(view, header)
