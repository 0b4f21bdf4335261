"""From columns that grow to packed ones, and from several to one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vdb_core.filters.packed_columns import PackedColumns, PackedField, PackedTexts, SortedValues
from vdb_core.filters.runs import NumberRun, TextRun, group, merge_numbers, merge_texts

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from vdb_core.filters.open_columns import OpenColumns, OpenField, OpenTexts

__all__ = ["Piece", "merge_fields", "merge_text_columns", "pack_field", "pack_texts"]

Piece = tuple["OpenField | PackedField", "NDArray[np.int64]"]
"""A field of some rows, and the place of each row among those of the whole (``GONE`` where it is left out)."""


def pack_field(field: OpenField, rows: int) -> PackedField:
    """Pack a field of ``rows`` rows. The column that grew is left as it was."""
    return PackedField(
        scalars=_pack_columns(field.scalars, rows) or PackedColumns(),
        members=None if field.members is None else _pack_columns(field.members, rows),
        wholes=None if field.wholes is None else pack_texts(field.wholes, rows, datetimes=False),
        rows=rows,
    )


def pack_texts(column: OpenTexts, rows: int, *, datetimes: bool) -> PackedTexts | None:
    """Pack texts; ``None`` where there are none."""
    run = _text_run(column)
    return None if run is None else PackedTexts(run, rows=rows, datetimes=datetimes)


def _pack_columns(columns: OpenColumns, rows: int) -> PackedColumns | None:
    return _columns(_number_runs(columns), pack_texts(columns.texts, rows, datetimes=True), rows)


def merge_fields(pieces: Sequence[Piece], rows: int) -> PackedField | None:
    """Pack one field out of several; ``None`` where no row is left that has it.

    Args:
        pieces: the field as each index has it, in the order of their rows.
        rows: how many rows there are in the whole.
    """
    scalars = _merge_columns([(field.scalars, places) for field, places in pieces], rows)
    members = [(field.members, places) for field, places in pieces if field.members is not None]
    wholes = merge_text_columns(
        [(field.wholes, places) for field, places in pieces], rows=rows, datetimes=False
    )
    if scalars is None and wholes is None:
        return None
    return PackedField(
        scalars=scalars or PackedColumns(),
        members=_merge_columns(members, rows),
        wholes=wholes,
        rows=rows,
    )


def merge_text_columns(
    pieces: Sequence[tuple[OpenTexts | PackedTexts | None, NDArray[np.int64]]], *, rows: int, datetimes: bool
) -> PackedTexts | None:
    """Pack one column of texts out of several; ``None`` where no row is left that has one."""
    runs: list[TextRun] = []
    for column, places in pieces:
        run = None if column is None else _text_run(column)
        moved = None if run is None else run.moved(places)
        if moved is not None:
            runs.append(moved)
    merged = merge_texts(runs)
    return None if merged is None else PackedTexts(merged, rows=rows, datetimes=datetimes)


def _merge_columns(
    pieces: Sequence[tuple[OpenColumns | PackedColumns, NDArray[np.int64]]], rows: int
) -> PackedColumns | None:
    moved: tuple[list[NumberRun], ...] = ([], [], [])
    for columns, places in pieces:
        for kind, run in zip(moved, _number_runs(columns), strict=True):
            left = None if run is None else run.moved(places)
            if left is not None:
                kind.append(left)
    texts = [(columns.texts, places) for columns, places in pieces]
    return _columns(map(merge_numbers, moved), merge_text_columns(texts, rows=rows, datetimes=True), rows)


def _columns(
    numbers: Iterable[NumberRun | None], texts: PackedTexts | None, rows: int
) -> PackedColumns | None:
    """Put the columns of constants, integers, floats and texts together; ``None`` where there are none."""
    constants, integers, floats = (None if run is None else SortedValues(run, rows=rows) for run in numbers)
    if constants is None and integers is None and floats is None and texts is None:
        return None
    return PackedColumns(constants=constants, integers=integers, floats=floats, texts=texts)


def _number_runs(columns: OpenColumns | PackedColumns) -> tuple[NumberRun | None, ...]:
    """Unpack constants, integers and floats."""
    if isinstance(columns, PackedColumns):
        packed = (columns.constants, columns.integers, columns.floats)
        return tuple(None if column is None else column.unpack() for column in packed)

    def run(values: NDArray[np.int64 | np.float64], slots: array[int]) -> NumberRun | None:
        return NumberRun.of(values, np.frombuffer(slots, dtype=np.uint32))

    return (
        run(np.frombuffer(columns.constants, dtype=np.uint8).astype(np.int64), columns.constant_slots),
        run(np.frombuffer(columns.integers, dtype=np.int64), columns.integer_slots),
        run(np.frombuffer(columns.floats, dtype=np.float64), columns.float_slots),
    )


def _text_run(column: OpenTexts | PackedTexts) -> TextRun | None:
    """Unpack texts; ``None`` where there are none."""
    if isinstance(column, PackedTexts):
        return column.unpack()
    known = column.known
    if not known:
        return None
    texts = sorted(known)
    ranks = np.empty(len(texts), dtype=np.uint32)
    ranks[np.fromiter(map(known.__getitem__, texts), dtype=np.int64, count=len(texts))] = np.arange(
        len(texts)
    )
    codes = ranks[np.frombuffer(column.codes, dtype=np.uint32)]
    slots = np.frombuffer(column.slots, dtype=np.uint32)
    return TextRun.of(texts, *group(codes, slots, len(texts)))
