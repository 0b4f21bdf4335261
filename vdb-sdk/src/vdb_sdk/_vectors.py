"""Embeddings on the wire: anything array-like to float32, base64 for one, `.npy` for many. NumPy is imported on use."""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias, cast

from vdb_sdk.errors import InvalidArgument

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    MatrixArray: TypeAlias = NDArray[np.float32] | NDArray[np.float16]
    AnyArray: TypeAlias = NDArray[np.generic]

__all__ = ["MatrixLike", "VectorLike", "as_matrix", "as_vector", "npy_parts", "vector_base64"]

VectorLike: TypeAlias = "Sequence[float] | NDArray[np.floating] | NDArray[np.integer]"
"""One embedding, ``[dimension]``: a list of numbers or an array."""

MatrixLike: TypeAlias = "Sequence[VectorLike] | NDArray[np.floating] | NDArray[np.integer]"
"""Several embeddings of the same length, ``[rows, dimension]``."""


def _described(value: object) -> str:
    shape = cast("object", getattr(value, "shape", None))
    if shape is not None:
        return f"{type(value).__name__} of shape {shape}"
    return type(value).__name__


def _array(value: object, where: str) -> AnyArray:
    """Make an array of numbers of ``value``; raise `InvalidArgument` where that is not what it is."""
    import numpy as np

    if isinstance(value, (str, bytes, bytearray)):
        hint = " To search for a text, give it as text=..." if where == "embedding" else ""
        msg = f"{where}: expected numbers, received {type(value).__name__}.{hint}"
        raise InvalidArgument(msg)
    try:
        array = cast("AnyArray", np.asarray(value))
    except (ValueError, TypeError) as error:
        _explain_ragged(value, where)
        msg = f"{where}: expected numbers, received {_described(value)}: {error}"
        raise InvalidArgument(msg) from error
    if array.dtype.kind not in "fiu":
        _explain_ragged(value, where)
        msg = f"{where}: expected an array of numbers, received dtype {array.dtype}. Convert it to float32."
        raise InvalidArgument(msg)
    return array


def _explain_ragged(value: object, where: str) -> None:
    """Raise naming both lengths where the rows of a list differ in length."""
    if not isinstance(value, Sequence) or not value:
        return
    lengths = [len(cast("Sequence[object]", row)) if hasattr(row, "__len__") else None for row in value]
    first = lengths[0]
    for row, length in enumerate(lengths):
        if length != first and length is not None and first is not None:
            msg = f"{where}: rows differ in length: row 0 has {first} numbers, row {row} has {length}."
            raise InvalidArgument(msg)


def as_vector(value: object, where: str = "embedding") -> NDArray[np.float32]:
    """Convert one embedding to contiguous little-endian float32 ``[dimension]``.

    A number beyond float32 becomes infinity here and is refused by the server with its place.
    """
    import numpy as np

    array = _array(value, where)
    if array.ndim != 1:
        hint = " For several queries use search_many()." if array.ndim == 2 and where == "embedding" else ""
        msg = (
            f"{where}: expected one embedding of shape [dimension], received shape {list(array.shape)}.{hint}"
        )
        raise InvalidArgument(msg)
    if array.size == 0:
        msg = f"{where}: expected at least one number, received an empty embedding."
        raise InvalidArgument(msg)
    if array.dtype == "<f4" and array.flags.c_contiguous:
        return cast("NDArray[np.float32]", array)
    with np.errstate(over="ignore"):
        return cast("NDArray[np.float32]", np.ascontiguousarray(array, dtype="<f4"))


def as_matrix(value: object, where: str = "embeddings") -> MatrixArray:
    """Convert embeddings to a contiguous matrix ``[rows, dimension]``: float16 stays, all else becomes float32."""
    import numpy as np

    array = _array(value, where)
    if array.ndim != 2:
        hint = " For a single row use add()." if array.ndim == 1 and where == "embeddings" else ""
        shape = list(array.shape)
        msg = f"{where}: expected a matrix of shape [rows, dimension], received shape {shape}.{hint}"
        raise InvalidArgument(msg)
    if array.shape[1] == 0:
        msg = f"{where}: expected a dimension of at least 1, received shape {list(array.shape)}."
        raise InvalidArgument(msg)
    if array.dtype == np.float16:
        return cast("NDArray[np.float16]", np.ascontiguousarray(array, dtype="<f2"))
    with np.errstate(over="ignore"):
        return cast("NDArray[np.float32]", np.ascontiguousarray(array, dtype="<f4"))


def vector_base64(value: object, where: str = "embedding") -> str:
    """Base64 of one embedding as little-endian float32: a third of the size of JSON, and no rounding."""
    return binascii.b2a_base64(as_vector(value, where).data, newline=False).decode("ascii")


def npy_parts(matrix: MatrixArray) -> tuple[bytes, memoryview]:
    """Header and content of a `.npy` file (format 1.0) that holds ``matrix``; the content is not copied."""
    import io

    from numpy.lib import format as npy_format

    header = io.BytesIO()
    npy_format.write_array_header_1_0(
        header, {"descr": matrix.dtype.str, "fortran_order": False, "shape": matrix.shape}
    )
    return header.getvalue(), matrix.data
