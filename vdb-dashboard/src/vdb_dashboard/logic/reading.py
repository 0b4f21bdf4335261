"""Reads an uploaded file into records: JSON Lines, CSV, Parquet, plain text; and the ``.npy`` beside it.

Nothing here decides what a column means: `vdb_dashboard.logic.rows` does. What cannot be read is a fault of a row, not
the end of the file.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import math
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import PurePath
from typing import TYPE_CHECKING, Final, cast

import numpy as np

from vdb_dashboard.logic.inputs import InputFault
from vdb_dashboard.logic.splitting import split

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["KINDS", "Fault", "Records", "kind_of", "read", "read_vectors"]

KINDS: Final[Mapping[str, str]] = {
    "jsonl": "JSON Lines",
    "ndjson": "JSON Lines",
    "csv": "CSV",
    "parquet": "Parquet",
    "txt": "text",
    "md": "text",
}
"""Endings of file names and what they stand for."""

_LONGEST_CELL: Final = 16 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is wrong with a row."""

    row: int
    """Its number in the file as an editor counts it: a line of JSON Lines and CSV, else the row, from 1."""

    column: str
    """Where in the row; empty where it is the row itself."""

    text: str
    """What is wrong, and what was expected."""


@dataclass(slots=True, kw_only=True)
class Records:
    """What a file holds."""

    columns: list[str]
    """The columns, or the keys of all rows, in the order in which they come up."""

    rows: list[dict[str, object]]
    """A row each; a missing value is left out."""

    numbers: list[int]
    """The number of each row in the file, as in `Fault`."""

    faults: list[Fault] = field(default_factory=list)
    """Rows that could not be read, which are not among ``rows``."""

    document: str | None = None
    """The document that all rows belong to: the file itself, where it is a text."""

    def add(self, number: int, row: dict[str, object]) -> None:
        """Take in a row; columns that are new are remembered."""
        known = set(self.columns)
        self.columns.extend(key for key in row if key not in known)
        self.rows.append(row)
        self.numbers.append(number)


def kind_of(name: str) -> str:
    """What kind of file a name stands for, by its ending; raises `InputFault`."""
    ending = PurePath(name).suffix.lower().removeprefix(".")
    try:
        return KINDS[ending]
    except KeyError:
        raise InputFault(f"{name}: expected a file that ends in .{', .'.join(KINDS)}.") from None


def read(name: str, content: bytes, *, chunk_size: int = 800, overlap: int = 100) -> Records:
    """Read a file; the last two arguments are for plain text, in characters. Raises `InputFault`."""
    kind = kind_of(name)
    if kind == "Parquet":
        return _parquet(content)
    text = _decoded(name, content)
    if kind == "JSON Lines":
        return _json_lines(text)
    if kind == "CSV":
        return _csv(text)
    return _text(name, text, chunk_size, overlap)


def read_vectors(content: bytes) -> NDArray[np.float32]:
    """A matrix from ``.npy``: float32 ``[rows, dimension]``. Pickle is refused, and a size that is not there."""
    stream = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(stream)
        header = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, _, kind = header(stream)
    except ValueError as error:
        raise InputFault(f"The vectors are no .npy file: {error}.") from error
    if len(shape) != 2 or kind.kind != "f" or kind.itemsize > 8:
        raise InputFault(
            f"The vectors: expected float32 or float16 [rows, dimension]; received {kind} {list(shape)}."
        )
    there = len(content) - stream.tell()
    if math.prod(shape) * kind.itemsize != there:
        raise InputFault(
            f"The vectors: {list(shape)} of {kind} are {math.prod(shape) * kind.itemsize:,} bytes; the file has {there:,}."
        )
    matrix = np.load(io.BytesIO(content), allow_pickle=False)
    return np.ascontiguousarray(matrix, dtype=np.float32)


def _decoded(name: str, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputFault(
            f"{name} is not UTF-8: line {line} has the byte 0x{content[error.start]:02x}."
        ) from error


def _json_lines(text: str) -> Records:
    records = Records(columns=[], rows=[], numbers=[])
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            value: object = json.loads(line, parse_constant=_no_constant)
        except ValueError as error:
            records.faults.append(Fault(row=number, column="", text=f"is not JSON: {error}"))
            continue
        except RecursionError:
            records.faults.append(Fault(row=number, column="", text="is nested too deeply"))
            continue
        if isinstance(value, dict):
            row = cast("dict[str, object]", value)
            records.add(number, {key: item for key, item in row.items() if item is not None})
        else:
            text_ = f"expected a JSON object; received a {type(value).__name__}"
            records.faults.append(Fault(row=number, column="", text=text_))
    return records


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no number in JSON")


def _csv(text: str) -> Records:
    before = csv.field_size_limit(_LONGEST_CELL)
    try:
        return _csv_rows(text)
    finally:
        csv.field_size_limit(before)


def _csv_rows(text: str) -> Records:
    """Rows of text; a cell that is empty is missing."""
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    records = Records(columns=[], rows=[], numbers=[])
    header: list[str] | None = None
    while True:
        number = lines.line_num + 1
        try:
            cells = next(lines)
        except StopIteration:
            break
        except csv.Error as error:
            records.faults.append(Fault(row=number, column="", text=f"is not CSV: {error}"))
            continue
        if not any(cells):
            continue
        if header is None:
            header = [cell.strip() for cell in cells]
            _check_header(header)
            records.columns = list(header)
        elif len(cells) != len(header):
            what = f"has {len(cells)} cells; the first line names {len(header)} columns"
            records.faults.append(Fault(row=number, column="", text=what))
        else:
            records.add(number, {key: cell for key, cell in zip(header, cells, strict=True) if cell})
    if header is None:
        raise InputFault("The file is empty: the first line of a CSV file names its columns.")
    return records


def _check_header(header: Sequence[str]) -> None:
    twice = sorted({name for name in header if header.count(name) > 1})
    if "" in header or twice:
        what = f"names {', '.join(twice)} twice" if twice else "has a column without a name"
        raise InputFault(f"The first line of the CSV file {what}; each column needs a name of its own.")


def _parquet(content: bytes) -> Records:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(io.BytesIO(content))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputFault(f"The file is no Parquet: {error}") from error
    columns = [_arrow_values(table.column(name)) for name in table.column_names]
    records = Records(columns=list(table.column_names), rows=[], numbers=[])
    for number in range(table.num_rows):
        row: dict[str, object] = {}
        fault = None
        for name, values in zip(table.column_names, columns, strict=True):
            try:
                value = _plain_value(values[number])
            except InputFault as error:
                fault = Fault(row=number + 1, column=name, text=str(error))
                break
            if value is not None:
                row[name] = value
        if fault is None:
            records.add(number + 1, row)
        else:
            records.faults.append(fault)
    return records


def _arrow_values(column: object) -> Sequence[object]:
    """The values of a column; lists of numbers stay arrays, for a million numbers as Python objects are slow."""
    import pyarrow as pa

    values = cast("pa.ChunkedArray", column).combine_chunks()
    kind = values.type
    lists = pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if lists and len(values) and not values.null_count and pa.types.is_floating(kind.value_type):
        flat = values.flatten().to_numpy(zero_copy_only=False)
        ends = np.cumsum(values.value_lengths().to_numpy(zero_copy_only=False))
        return np.split(flat, ends[:-1].astype(np.int64))
    return cast("list[object]", values.to_pylist())


def _plain_value(value: object) -> object:
    """A value as JSON has it; missing numbers are missing."""
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, (dt.datetime, dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, (bytes, dt.timedelta)):
        raise InputFault(f"a value of type {type(value).__name__} has no form in JSON")
    if isinstance(value, dict):
        return {key: _plain_value(item) for key, item in cast("dict[str, object]", value).items()}
    if isinstance(value, list):
        return [_plain_value(item) for item in cast("list[object]", value)]
    return value


def _text(name: str, text: str, size: int, overlap: int) -> Records:
    records = Records(columns=["id", "text", "part"], rows=[], numbers=[], document=name)
    pieces = split(text, size=size, overlap=overlap)
    width = len(str(len(pieces)))
    stem = PurePath(name).stem
    for part, piece in enumerate(pieces, 1):
        records.add(part, {"id": f"{stem}-{part:0{width}}", "text": piece, "part": part})
    return records
