"""From columns that grow to packed ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vdb_core.filters.packed_columns import PackedColumns, PackedField, PackedTexts, SortedValues, group

if TYPE_CHECKING:
    from array import array

    from vdb_core.filters.open_columns import OpenColumns, OpenField, OpenTexts

__all__ = ["pack_field", "pack_texts"]


def pack_field(field: OpenField, rows: int) -> PackedField:
    """Pack a field of ``rows`` rows. The column that grew is left as it was."""
    return PackedField(
        scalars=_pack_columns(field.scalars, rows),
        members=None if field.members is None else _pack_columns(field.members, rows),
        wholes=None if field.wholes is None else pack_texts(field.wholes, rows, datetimes=False),
        rows=rows,
    )


def pack_texts(column: OpenTexts, rows: int, *, datetimes: bool) -> PackedTexts | None:
    """Pack texts; ``None`` where there are none."""
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
    return PackedTexts(texts, *group(codes, slots, len(texts)), rows=rows, datetimes=datetimes)


def _pack_columns(columns: OpenColumns, rows: int) -> PackedColumns:
    def numbers(
        entries: array[int] | array[float], kind: type[np.int64 | np.float64], slots: array[int]
    ) -> SortedValues | None:
        values = np.frombuffer(entries, dtype=kind)
        return SortedValues.of(values, np.frombuffer(slots, dtype=np.uint32), rows=rows)

    constants = np.frombuffer(columns.constants, dtype=np.uint8).astype(np.int64)
    return PackedColumns(
        constants=SortedValues.of(
            constants, np.frombuffer(columns.constant_slots, dtype=np.uint32), rows=rows
        ),
        integers=numbers(columns.integers, np.int64, columns.integer_slots),
        floats=numbers(columns.floats, np.float64, columns.float_slots),
        texts=pack_texts(columns.texts, rows, datetimes=True),
    )
