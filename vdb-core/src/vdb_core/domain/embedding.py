"""Embeddings: from what a caller sends to float32 rows, with the row named where something is wrong with it."""

from __future__ import annotations

import binascii
import math
import struct
import sys
from typing import TYPE_CHECKING, Final, cast, final

import numpy as np

from vdb_core.errors import Fault, ValidationFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from vdb_core.indexes.contract import Metric

__all__ = ["Embedding", "check_matrix", "embedding_from_b64", "normalize", "plain_query", "to_matrix"]

_BLOCK_BYTES: Final = 4 << 20
"""Of float64 that rows are normalised in. Each pass over a block lets go of Python's lock, and waits to get it back where
other requests want it: with blocks of 256 KB that took ten times as long as the work, which does not need the cache."""

_NUMBER_KINDS: Final = "fiu"
_PLAIN_TYPES: Final = frozenset({float, int})
_PLAIN_SQUARES: Final = (1e-30, 1e30)
"""Sums of squares between which no number is infinite or NaN, and one at least is not 0."""


def to_matrix(
    rows: Sequence[object] | NDArray[np.generic],
    pointers: Callable[[int], str],
    *,
    max_dimension: int,
    dimension: int | None = None,
) -> tuple[NDArray[np.float32] | None, list[Fault]]:
    """Make float32 rows, C-contiguous ``[n, dim]``, from lists of numbers or arrays.

    Numbers that float32 cannot hold become infinite, without a fault: :func:`check_matrix` reports them. Strings,
    booleans and nulls are no numbers.

    Args:
        rows: one sequence of numbers or one-dimensional array each, or a two-dimensional array.
        pointers: the JSON Pointer of a row's embedding.
        max_dimension: the largest length accepted.
        dimension: the length that every row must have; ``None`` takes that of the first usable row.

    Returns:
        The matrix and no faults, or ``None`` and a fault for each row that is wrong.
    """
    if len(rows) == 0:
        return np.empty((0, dimension or 0), dtype=np.float32), []
    matrix = _at_once(rows)
    if matrix is not None and 0 < matrix.shape[1] <= max_dimension and dimension in {None, matrix.shape[1]}:
        return matrix, []
    return _one_by_one(rows, pointers, max_dimension, dimension)


def check_matrix(
    matrix: NDArray[np.floating],
    *,
    dimension: int | None,
    metric: Metric,
    pointers: Callable[[int], str],
) -> list[Fault]:
    """Check rows ``[n, dim]`` of any float type and return a fault for every row that cannot be stored.

    A row is wrong when its length is not ``dimension`` (``None``: any), when it holds a NaN or an infinity (also
    one that the cast to float32 makes), or when it is all zeros under cosine (after that cast).
    """
    rows, length = matrix.shape
    if length == 0 or dimension not in {None, length}:
        detail = _wrong_length(dimension, length)
        return [Fault(pointers(row), detail) for row in range(rows)]
    if matrix.dtype == np.float32:
        # What overflows is infinite, and looked at closely like all that is not plain.
        with np.errstate(over="ignore", invalid="ignore"):
            squares = np.einsum("ij,ij->i", matrix, matrix)
        if _PLAIN_SQUARES[0] < squares.min(initial=1.0) and squares.max(initial=1.0) < _PLAIN_SQUARES[1]:
            return []
    cast_rows = _cast(matrix)
    finite = np.isfinite(cast_rows).all(axis=1)
    usable = finite & cast_rows.any(axis=1) if metric == "cosine" else finite
    if usable.all():
        return []
    return [
        Fault(pointers(row), _what_is_wrong(matrix[row], cast_rows[row]))
        for row in np.flatnonzero(~usable).tolist()
    ]


def plain_query(
    row: object, dimension: int, metric: Metric, *, no_booleans: bool = False
) -> NDArray[np.float32] | None:
    """Make float32 ``[1, dim]`` of one embedding that gives no reason to look at it closely; ``None`` for any other.

    What it makes is what :func:`to_matrix` makes, under cosine divided by its length as by :func:`normalize`, and
    :func:`check_matrix` finds nothing in it. It takes a third of their time: a query is one row, and what NumPy does to
    one row costs what the calls cost.

    Args:
        row: any value.
        dimension: the length that it must have.
        metric: of the library.
        no_booleans: a list has none, as somebody knows who has read it: to ask each number takes long.
    """
    if isinstance(row, list):
        numbers = cast("list[float]", row)
        # Quicker than to ask the set for each of them.
        if len(numbers) != dimension or not (no_booleans or set(map(type, numbers)) <= _PLAIN_TYPES):
            return None
        try:
            # In the machine's own form: what float32 cannot hold becomes infinite, or 0, as in NumPy.
            narrow = np.frombuffer(struct.pack(f"{dimension}f", *numbers), dtype=np.float32)
        except (struct.error, OverflowError):
            return None
    elif isinstance(row, np.ndarray) and row.dtype == np.float32 and row.shape == (dimension,):
        narrow = np.ascontiguousarray(cast("NDArray[np.float32]", row))
    else:
        return None
    wide = narrow.astype(np.float64)
    squares = float(np.add.reduce(wide * wide))
    # NaN is not between the two.
    if not _PLAIN_SQUARES[0] < squares < _PLAIN_SQUARES[1]:
        return None
    if metric == "cosine":
        wide /= math.sqrt(squares)
        narrow = wide.astype(np.float32)
    return narrow[np.newaxis]


def embedding_from_b64(value: object, pointer: str) -> tuple[NDArray[np.float32] | None, list[Fault]]:
    """Decode base64 (RFC 4648 section 4, padded) of little-endian float32 into one row ``[dim]``.

    Returns the row and no faults, or ``None`` and one fault. Whether the numbers are finite is for
    :func:`check_matrix` to say.
    """
    if not isinstance(value, str):
        detail = f"expected base64 of little-endian float32; received a value of type {type(value).__name__}"
        return None, [Fault(pointer, detail)]
    try:
        raw = binascii.a2b_base64(value, strict_mode=True)
    except ValueError as error:
        return None, [Fault(pointer, f"expected base64 of little-endian float32; it is not base64: {error}")]
    if not raw or len(raw) % 4:
        detail = f"expected 4 bytes a number and at least one number; received {len(raw)} bytes"
        return None, [Fault(pointer, detail)]
    row = np.frombuffer(raw, dtype="<f4")
    return row if sys.byteorder == "little" else row.astype(np.float32), []


def normalize(matrix: NDArray[np.floating]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Divide each row ``[n, dim]`` by its length.

    Computed in float64, which holds the square of every float32: no square overflows or vanishes. Rows of float64 are
    scaled by their largest magnitude first. The same row gives the same bits wherever it stands: squares are summed row by
    row and pairwise, and not by BLAS, which sums in another order on another CPU.

    Returns:
        Unit rows, float32 ``[n, dim]``, and lengths, float64 ``[n]``. A row of zeros stays one, with length 0.
    """
    rows, length = matrix.shape
    unit = np.empty((rows, length), dtype=np.float32)
    norms = np.zeros(rows, dtype=np.float64)
    if length == 0:
        return unit, norms
    if rows == 1 and matrix.dtype != np.float64:
        norms[0] = _normalize_row(matrix[0], unit[0])
        return unit, norms
    step = max(1, min(rows, _BLOCK_BYTES // (8 * length)))
    wide, squares = np.empty((step, length)), np.empty((step, length))
    for begin in range(0, rows, step):
        end = min(begin + step, rows)
        block = wide[: end - begin]
        block[:] = matrix[begin:end]
        scale = np.ones(len(block))
        if matrix.dtype == np.float64:
            scale = np.abs(block).max(axis=1)
            block /= np.where(scale > 0, scale, 1.0)[:, np.newaxis]
        scaled = np.sqrt(np.add.reduce(np.multiply(block, block, out=squares[: end - begin]), axis=1))
        norms[begin:end] = scaled * scale
        divisor = np.where(scaled > 0, scaled, 1.0)[:, np.newaxis]
        _ = np.divide(block, divisor, out=unit[begin:end], casting="same_kind")
    return unit, norms


def _normalize_row(row: NDArray[np.floating], unit: NDArray[np.float32]) -> float:
    """Write one row's unit vector and return its length: the same steps, and bits, without the arrays around them."""
    wide = row.astype(np.float64)
    norm = math.sqrt(np.add.reduce(wide * wide))
    if norm > 0:
        wide /= norm
    unit[:] = wide
    return norm


@final
class Embedding:
    """One embedding: float32, not empty, finite, and not all zeros, so that it has a direction.

    Raises:
        ValidationFailed: the values are none of these; the fault's pointer is empty.
    """

    __slots__ = ("_values",)

    def __init__(self, values: Sequence[float] | NDArray[np.floating]) -> None:
        matrix, faults = to_matrix([values], _nowhere, max_dimension=sys.maxsize)
        if matrix is not None:
            faults = check_matrix(matrix, dimension=None, metric="cosine", pointers=_nowhere)
        if matrix is None or faults:
            raise ValidationFailed.of(faults)
        self._values: NDArray[np.float32] = matrix[0].copy()
        self._values.flags.writeable = False

    @property
    def values(self) -> NDArray[np.float32]:
        """The numbers, float32 ``[dim]``, read-only."""
        return self._values

    @property
    def dimension(self) -> int:
        """How many numbers."""
        return len(self._values)

    @property
    def norm(self) -> float:
        """Euclidean length."""
        return float(normalize(self._values[np.newaxis])[1][0])

    def normalized(self) -> Embedding:
        """Make the embedding of unit length with the same direction."""
        return Embedding(normalize(self._values[np.newaxis])[0][0])

    def __eq__(self, other: object) -> bool:
        """Equal when every number is."""
        return isinstance(other, Embedding) and np.array_equal(self._values, other._values)

    def __hash__(self) -> int:
        """Agree with equality; adding 0 makes the two zeros one."""
        return hash((self._values + np.float32(0)).tobytes())

    def __repr__(self) -> str:
        """Show the dimension and the first numbers."""
        shown = ", ".join(f"{number:g}" for number in cast("list[float]", self._values[:3].tolist()))
        return f"Embedding({self.dimension}: {shown}{', ...' if self.dimension > 3 else ''})"


def _nowhere(_row: int) -> str:
    return ""


def _cast(values: NDArray[np.generic]) -> NDArray[np.float32]:
    with np.errstate(over="ignore", invalid="ignore"):
        return np.ascontiguousarray(values, dtype=np.float32)


def _at_once(rows: Sequence[object] | NDArray[np.generic]) -> NDArray[np.float32] | None:
    """Convert all rows in one call; ``None`` where anything looks odd."""
    try:
        wide: NDArray[np.generic] = np.asarray(rows)
    except (ValueError, TypeError, OverflowError):
        return None
    if wide.ndim != 2 or wide.dtype.kind not in _NUMBER_KINDS:
        return None
    if not isinstance(rows, np.ndarray):
        # NumPy takes True for 1 and False for 0, so only rows that hold one of these need a closer look.
        numbers = cast("NDArray[np.float64]", wide)
        suspects = np.flatnonzero(((numbers == 0) | (numbers == 1)).any(axis=1))
        if any(_has_boolean(rows[row]) for row in suspects.tolist()):
            return None
    return _cast(wide)


def _has_boolean(row: object) -> bool:
    if isinstance(row, np.ndarray):
        return bool(row.dtype.kind == "b")
    return not {bool, np.bool_}.isdisjoint(map(type, cast("Sequence[object]", row)))


def _one_by_one(
    rows: Sequence[object] | NDArray[np.generic],
    pointers: Callable[[int], str],
    max_dimension: int,
    dimension: int | None,
) -> tuple[NDArray[np.float32] | None, list[Fault]]:
    converted: list[NDArray[np.float32]] = []
    faults: list[Fault] = []
    for position, row in enumerate(rows):
        values, detail = _convert(row)
        if values is not None:
            if len(values) == 0:
                detail = _wrong_length(dimension, 0)
            elif len(values) > max_dimension:
                detail = f"an embedding has at most {max_dimension} numbers (max_dimension); received {len(values)}"
            elif dimension is None:
                dimension = len(values)
            elif len(values) != dimension:
                detail = _wrong_length(dimension, len(values))
            converted.append(values)
        if detail:
            faults.append(Fault(pointers(position), detail))
    return (None, faults) if faults else (np.stack(converted), [])


def _convert(row: object) -> tuple[NDArray[np.float32] | None, str]:
    """Convert one row, or say what is wrong with it."""
    if isinstance(row, np.ndarray):
        if row.ndim != 1 or row.dtype.kind not in _NUMBER_KINDS:
            return (
                None,
                f"expected a one-dimensional array of numbers; received {row.dtype} {list(row.shape)}",
            )
        return _cast(cast("NDArray[np.generic]", row)), ""
    if not isinstance(row, (list, tuple)):
        return None, f"expected a list of numbers; received a value of type {type(row).__name__}"
    numbers: list[float] = []
    for position, number in enumerate(cast("Sequence[object]", row)):
        if isinstance(number, (bool, np.bool_)) or not isinstance(
            number, (int, float, np.integer, np.floating)
        ):
            kind = "null" if number is None else f"a value of type {type(number).__name__}"
            return None, f"expected a list of numbers; number {position} is {kind}"
        try:
            numbers.append(float(number))
        except OverflowError:
            numbers.append(float("inf"))
    return _cast(np.asarray(numbers, dtype=np.float64)), ""


def _wrong_length(dimension: int | None, received: int) -> str:
    expected = "at least one number" if dimension is None else f"{dimension} numbers"
    return f"expected an embedding of {expected}; received {received}"


def _what_is_wrong(original: NDArray[np.floating], row: NDArray[np.float32]) -> str:
    finite = np.isfinite(row)
    if finite.all():
        return (
            "a zero vector has no direction, so cosine cannot rank it; store another vector or use dot or l2"
        )
    position = int(np.argmin(finite))
    if np.isnan(row[position]):
        return f"numbers are finite; number {position} is NaN"
    if np.isfinite(original[position]):
        return f"numbers fit into float32; number {position} is {float(original[position])!r}"
    return f"numbers are finite and fit into float32; number {position} is infinite"
