"""The metadata index as JSON, one element a line, for ``meta_index.json``.

::

    {"format": "vdb-metadata-index", "version": 1, "rows": 4}
    {"path": "lang", "part": "scalars", "type": "string", "values": ["de", "en"], "counts": [1, 3], "rows": [2, 0, 1, 3]}
    {"path": "$document_id", "part": "documents", "type": "string", ...}

A column is one element or several that follow each other. ``values`` ascend; ``counts[i]`` of the ``rows`` belong to
``values[i]`` (left out where each has one); a value that ends one element may begin the next. ``part`` is
``scalars``, ``members`` (of lists) or ``wholes`` (whole lists and objects, by canonical text or digest).
"""

from __future__ import annotations

from operator import lt
from typing import TYPE_CHECKING, Final, Literal, TypedDict, cast

import numpy as np
import orjson

from vdb_core.errors import FormatUnsupported, SnapshotDamaged
from vdb_core.filters.packed_columns import PackedColumns, PackedField, PackedTexts, SortedValues
from vdb_core.filters.runs import NumberRun, TextRun

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

__all__ = ["read_rows", "write_rows"]

_FORMAT: Final = "vdb-metadata-index"
_VERSION: Final = 1
_ENTRIES_A_LINE: Final = 1 << 16
_DOCUMENTS: Final = "$document_id"
_CONSTANTS: Final = (None, False, True)
_INT64: Final = np.dtype(np.int64)

Part = Literal["scalars", "members", "wholes", "documents"]
Type = Literal["constant", "integer", "float", "string"]
_Key = tuple[str, Part, Type]


class _Line(TypedDict):
    path: str
    part: Part
    type: Type
    values: list[object]
    counts: list[int]
    rows: list[int]


def write_rows(
    rows: int, fields: Iterable[tuple[str, PackedField]], documents: PackedTexts | None
) -> Iterator[bytes]:
    """Write a packed index, one JSON element at a time."""
    yield orjson.dumps({"format": _FORMAT, "version": _VERSION, "rows": rows})
    if documents is not None:
        yield from _write_column((_DOCUMENTS, "documents", "string"), documents)
    for path, field in fields:
        yield from _write_columns(path, "scalars", field.scalars)
        if field.members is not None:
            yield from _write_columns(path, "members", field.members)
        if field.wholes is not None:
            yield from _write_column((path, "wholes", "string"), field.wholes)


def _write_columns(path: str, part: Part, columns: PackedColumns) -> Iterator[bytes]:
    typed: tuple[tuple[Type, SortedValues | PackedTexts | None], ...] = (
        ("constant", columns.constants),
        ("integer", columns.integers),
        ("float", columns.floats),
        ("string", columns.texts),
    )
    for kind, column in typed:
        if column is not None:
            yield from _write_column((path, part, kind), column)


def _write_column(key: _Key, column: SortedValues | PackedTexts) -> Iterator[bytes]:
    path, part, kind = key
    counts, slots = column.table.lists()
    ends = np.cumsum(counts)
    begins = ends - counts
    for first in range(0, len(slots), _ENTRIES_A_LINE):
        end = min(first + _ENTRIES_A_LINE, len(slots))
        codes = slice(int(np.searchsorted(ends, first, side="right")), int(np.searchsorted(begins, end)))
        held = np.minimum(ends[codes], end) - np.maximum(begins[codes], first)
        if isinstance(column, PackedTexts):
            values: list[object] = [*column.texts(codes.start, codes.stop)]
        elif kind == "constant":
            values = [_CONSTANTS[code] for code in column.values[codes].tolist()]
        else:
            values = column.values[codes].tolist()
        line: dict[str, object] = {"path": path, "part": part, "type": kind, "values": values}
        if int(held.max()) > 1:
            line["counts"] = held.tolist()
        line["rows"] = slots[first:end]
        yield orjson.dumps(line, option=orjson.OPT_SERIALIZE_NUMPY)


def read_rows(lines: Iterable[bytes]) -> tuple[int, dict[str, PackedField], PackedTexts | None]:
    """Read what ``write_rows`` wrote: the number of rows, the fields and the documents.

    Raises:
        FormatUnsupported: a newer version wrote it.
        SnapshotDamaged: it is not what was written.
    """
    try:
        return _Reader().read(lines)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise SnapshotDamaged(f"the metadata index is not what was written: {error}") from error


class _Reader:
    """Collects the lines of a column, then packs it."""

    def __init__(self) -> None:
        self._rows = 0
        self._key: _Key | None = None
        self._values: list[object] = []
        self._counts: list[NDArray[np.int64]] = []
        self._slots: list[NDArray[np.uint32]] = []
        self._columns: dict[_Key, SortedValues | PackedTexts] = {}
        self._paths: dict[str, None] = {}

    def read(self, lines: Iterable[bytes]) -> tuple[int, dict[str, PackedField], PackedTexts | None]:
        remaining = iter(lines)
        self._read_header(next(remaining, b""))
        for text in remaining:
            self._read_line(cast("_Line", orjson.loads(text)))
        self._finish()
        fields = {path: self._field(path) for path in self._paths}
        documents = self._texts((_DOCUMENTS, "documents", "string"))
        if self._columns:
            raise ValueError(f"unknown columns {sorted(self._columns)[:3]}")
        return self._rows, fields, documents

    def _read_header(self, text: bytes) -> None:
        header = cast("Mapping[str, object]", orjson.loads(text))
        if header["format"] != _FORMAT:
            raise ValueError(f"expected the format {_FORMAT}, found {header['format']!r}")
        version, rows = header["version"], header["rows"]
        if type(version) is not int or type(rows) is not int or not 0 <= rows < 2**32:
            raise ValueError("the header's version and rows must be whole numbers")
        if version > _VERSION:
            raise FormatUnsupported(
                f"the metadata index has version {version}; this vdb reads up to {_VERSION}"
            )
        self._rows = rows

    def _read_line(self, line: _Line) -> None:
        key: _Key = (line["path"], line["part"], line["type"])
        if type(key[0]) is not str:
            raise ValueError(f"the path {key[0]!r} is no string")
        values = line["values"]
        slots = _whole_numbers(line["rows"])
        counts = _whole_numbers(line["counts"]) if "counts" in line else np.ones(len(values), dtype=np.int64)
        if (
            not values
            or len(counts) != len(values)
            or int(counts.min()) < 1
            or int(counts.sum()) != len(slots)
        ):
            raise ValueError(f"the counts of {key} do not fit its values and rows")
        if int(slots.min()) < 0 or int(slots.max()) >= self._rows:
            raise ValueError(f"{key} names rows beyond {self._rows - 1}")
        if key != self._key:
            self._finish()
            if key in self._columns:
                raise ValueError(f"{key} is there twice")
            self._key = key
        elif _same(values[0], self._values[-1]):
            self._counts[-1][-1] += counts[0]
            values, counts = values[1:], counts[1:]
        self._values.extend(values)
        if len(counts):
            self._counts.append(counts)
        self._slots.append(slots.astype(np.uint32))

    def _finish(self) -> None:
        key = self._key
        if key is None:
            return
        path, part, kind = key
        counts, slots = np.concatenate(self._counts), np.concatenate(self._slots)
        self._check_ascending(counts, slots)
        if kind == "string":
            texts = self._texts_read()
            datetimes = part in {"scalars", "members"}
            column: SortedValues | PackedTexts = PackedTexts(
                TextRun.of(texts, counts, slots), rows=self._rows, datetimes=datetimes
            )
        else:
            column = SortedValues(NumberRun(self._numbers_read(kind), counts, slots), rows=self._rows)
        self._columns[key] = column
        if part != "documents":
            self._paths[path] = None
        self._key = None
        self._values, self._counts, self._slots = [], [], []

    def _check_ascending(self, counts: NDArray[np.int64], slots: NDArray[np.uint32]) -> None:
        begins_value = np.zeros(len(slots), dtype=np.bool_)
        begins_value[(np.cumsum(counts) - counts)] = True
        if not (begins_value[1:] | (slots[1:] > slots[:-1])).all():
            raise ValueError(f"the rows of {self._key} do not ascend within a value")

    def _texts_read(self) -> list[str]:
        values = self._values
        if not all(type(value) is str for value in values):
            raise ValueError(f"{self._key} holds values that are no strings")
        texts = cast("list[str]", values)
        if not all(map(lt, texts, texts[1:])):
            raise ValueError(f"the values of {self._key} do not ascend")
        return texts

    def _numbers_read(self, kind: Type) -> NDArray[np.int64 | np.float64]:
        values = self._values
        if kind == "constant":
            codes = [code for value in values for code, one in enumerate(_CONSTANTS) if one is value]
            if len(codes) != len(values):
                raise ValueError(f"{self._key} holds values that are neither null nor booleans")
            numbers: NDArray[np.int64 | np.float64] = np.array(codes, dtype=np.int64)
        elif kind == "integer":
            numbers = _whole_numbers(values)
        elif kind == "float" and all(type(value) is float for value in values):
            numbers = np.array(values, dtype=np.float64)
        else:
            raise ValueError(f"{self._key} has an unknown type, or values of another")
        if not (numbers[1:] > numbers[:-1]).all():
            raise ValueError(f"the values of {self._key} do not ascend")
        return numbers

    def _field(self, path: str) -> PackedField:
        members = self._scalars(path, "members")
        return PackedField(
            scalars=self._scalars(path, "scalars") or PackedColumns(),
            members=members,
            wholes=self._texts((path, "wholes", "string")),
            rows=self._rows,
        )

    def _scalars(self, path: str, part: Part) -> PackedColumns | None:
        constants = self._numbers((path, part, "constant"))
        integers = self._numbers((path, part, "integer"))
        floats = self._numbers((path, part, "float"))
        texts = self._texts((path, part, "string"))
        if constants is None and integers is None and floats is None and texts is None:
            return None
        return PackedColumns(constants=constants, integers=integers, floats=floats, texts=texts)

    def _numbers(self, key: _Key) -> SortedValues | None:
        column = self._columns.pop(key, None)
        return column if isinstance(column, SortedValues) else None

    def _texts(self, key: _Key) -> PackedTexts | None:
        column = self._columns.pop(key, None)
        return column if isinstance(column, PackedTexts) else None


def _same(left: object, right: object) -> bool:
    return type(left) is type(right) and left == right


def _whole_numbers(values: list[object] | list[int]) -> NDArray[np.int64]:
    numbers = np.array(values)
    if numbers.dtype != _INT64 or numbers.ndim != 1:
        raise ValueError("expected a list of whole numbers within int64")
    return numbers
