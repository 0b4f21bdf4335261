"""Reads pandas, polars and Arrow tables block by block into columns. None of the three is imported unless it is there.

A table is recognised by the package its type comes from; any other that speaks the Arrow C stream (DuckDB, Ibis,
...) is read through pa.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, cast

from vdb_sdk._vectors import as_matrix
from vdb_sdk.errors import InvalidArgument

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from vdb_sdk._vectors import MatrixArray

__all__ = ["Columns", "TableLike", "is_table", "table_blocks", "table_rows"]

_FIELDS: Final = ("id", "embedding", "text", "document_id", "metadata")


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Some rows, column by column; a column that is ``None`` is absent."""

    rows: int
    embeddings: MatrixArray | None = None
    ids: Sequence[str | None] | None = None
    texts: Sequence[str | None] | None = None
    document_ids: Sequence[str | None] | None = None
    metadatas: Sequence[Mapping[str, object] | None] | None = None


class TableLike(Protocol):
    """A table as a caller may hand it in: a DataFrame of pandas or polars, or whatever else speaks Arrow."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Hand out the table as an Arrow stream (the Arrow PyCapsule interface)."""
        ...


class _Table(Protocol):
    """What the three kinds of table have in common, once wrapped."""

    names: list[str]
    rows: int

    def block(self, start: int, stop: int) -> _Table:
        """Some of its rows."""
        ...

    def values(self, name: str) -> list[object]:
        """A column as Python values; a missing value is ``None``."""
        ...

    def matrix(self, name: str) -> MatrixArray:
        """A column of embeddings."""
        ...


def _package(value: object) -> str:
    return type(value).__module__.partition(".")[0]


def is_table(value: object) -> bool:
    """Whether ``value`` is a table of any kind rather than a sequence of rows."""
    return hasattr(value, "__arrow_c_stream__") or _package(value) in {"pandas", "polars", "pyarrow"}


def table_rows(value: object) -> int:
    """How many rows a table has."""
    return _wrap(value).rows


def table_blocks(value: object, columns: Mapping[str, str] | None, size: int) -> Iterator[Columns]:
    """Read a table in blocks of at most ``size`` rows; ``columns`` says which column a field is read from."""
    table = _wrap(value)
    source = _sources(table.names, columns)
    extra = [name for name in table.names if name not in source.values()]
    for start in range(0, table.rows, size):
        yield _read(table.block(start, min(start + size, table.rows)), source, extra, start)


def _sources(names: list[str], columns: Mapping[str, str] | None) -> dict[str, str]:
    """Which column each field is read from."""
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        msg = f"upsert: the table has two columns of one name: {', '.join(twice)}. Rename one."
        raise InvalidArgument(msg)
    wanted = dict(columns or {})
    unknown = [field for field in wanted if field not in _FIELDS]
    if unknown:
        msg = f"columns: no field named {unknown[0]!r}. Fields: {', '.join(_FIELDS)}."
        raise InvalidArgument(msg)
    for field, name in wanted.items():
        if name not in names:
            msg = f"columns: {field!r} is to be read from {name!r}, which the table has not. It has: {', '.join(names)}."
            raise InvalidArgument(msg)
    for field in _FIELDS:
        if field in names and field not in wanted and field not in wanted.values():
            wanted[field] = field
    if "embedding" not in wanted and "text" not in wanted:
        msg = (
            "upsert: the table has neither a column 'embedding' nor 'text'. It has: "
            f"{', '.join(names) or 'none'}. Say which to use: columns={{'embedding': 'name of the column'}}."
        )
        raise InvalidArgument(msg)
    return wanted


def _read(table: _Table, source: Mapping[str, str], extra: list[str], first: int) -> Columns:
    return Columns(
        rows=table.rows,
        embeddings=_matrix(table, source["embedding"], first) if "embedding" in source else None,
        ids=_strings(table, source.get("id"), first),
        texts=_strings(table, source.get("text"), first),
        document_ids=_strings(table, source.get("document_id"), first),
        metadatas=_metadatas(table, source.get("metadata"), extra, first),
    )


def _matrix(table: _Table, name: str, first: int) -> MatrixArray:
    for row, missing in enumerate(_missing(table, name)):
        if missing:
            msg = f"column {name!r}: row {first + row} has no embedding. Leave such rows out, or upsert them apart."
            raise InvalidArgument(msg)
    return table.matrix(name)


def _missing(table: _Table, name: str) -> Iterator[bool]:
    if isinstance(table, _Arrow):
        nulls = table.table.column(name).is_null().to_pylist()
    elif isinstance(table, _Polars):
        nulls = table.frame.get_column(name).is_null().to_list()
    else:
        nulls = [value is None for value in table.values(name)]
    return iter(nulls)


def _strings(table: _Table, name: str | None, first: int) -> Sequence[str | None] | None:
    if name is None:
        return None
    values = table.values(name)
    for row, value in enumerate(values):
        if value is not None and not isinstance(value, str):
            kind = type(value).__name__
            msg = f"column {name!r}: row {first + row}: expected a string, received {kind} {value!r}. Convert the column."
            raise InvalidArgument(msg)
    return cast("list[str | None]", values)


def _metadatas(
    table: _Table, name: str | None, extra: list[str], first: int
) -> Sequence[Mapping[str, object]] | None:
    """Metadata of each row: the column of objects, then the other columns; a missing value leaves its key out."""
    if name is None and not extra:
        return None
    metadatas: list[dict[str, object]] = [{} for _ in range(table.rows)]
    if name is not None:
        for row, (metadata, value) in enumerate(zip(metadatas, table.values(name), strict=True)):
            if isinstance(value, Mapping):
                given = cast("Mapping[str, object]", value)
                metadata.update((key, item) for key, item in given.items() if item is not None)
            elif value is not None:
                kind = type(value).__name__
                msg = f"column {name!r}: row {first + row}: expected an object, received {kind}."
                raise InvalidArgument(msg)
    for column in extra:
        for metadata, value in zip(metadatas, table.values(column), strict=True):
            if value is not None:
                metadata[column] = value
    return metadatas


def _wrap(value: object) -> _Table:
    package = _package(value)
    if package == "pandas":
        import pandas as pd

        if isinstance(value, pd.DataFrame):
            return _Pandas(value)
    elif package == "polars":
        import polars as pl

        if isinstance(value, pl.DataFrame):
            return _Polars(value)
        if isinstance(value, pl.LazyFrame):
            msg = "upsert: expected a DataFrame, received a LazyFrame. Call .collect() on it."
            raise InvalidArgument(msg)
    elif package == "pyarrow":
        import pyarrow as pa

        if isinstance(value, pa.Table):
            return _Arrow(value)
        if isinstance(value, pa.RecordBatch):
            return _Arrow(pa.Table.from_batches([value]))
    if hasattr(value, "__arrow_c_stream__") and package not in {"pandas", "polars"}:
        try:
            import pyarrow as pa
        except ImportError as error:
            msg = f"upsert: a {type(value).__name__} is read through Arrow: pip install pyarrow"
            raise InvalidArgument(msg) from error
        return _Arrow(cast("pa.Table", pa.table(value)))
    msg = f"upsert: expected rows or a table, received {package}.{type(value).__name__}. Pass a DataFrame."
    raise InvalidArgument(msg)


class _Pandas:
    """A pandas DataFrame; its index is not read."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame: pd.DataFrame = frame
        labels = cast("list[object]", frame.columns.tolist())
        for label in labels:
            if not isinstance(label, str):
                msg = (
                    f"upsert: expected columns named by strings, received {label!r} ({type(label).__name__})."
                )
                raise InvalidArgument(msg)
        self.names: list[str] = cast("list[str]", labels)
        self.rows: int = len(frame)

    def block(self, start: int, stop: int) -> _Pandas:
        return _Pandas(self.frame.iloc[start:stop])

    def values(self, name: str) -> list[object]:
        series = self.frame[name]
        missing = cast("list[bool]", series.isna().tolist())
        values = cast("list[object]", series.tolist())
        return [None if gone else value for gone, value in zip(missing, values, strict=True)]

    def matrix(self, name: str) -> MatrixArray:
        return as_matrix(self.frame[name].tolist(), f"column {name!r}")


class _Polars:
    """A polars DataFrame."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self.frame: pl.DataFrame = frame
        self.names: list[str] = frame.columns
        self.rows: int = frame.height

    def block(self, start: int, stop: int) -> _Polars:
        return _Polars(self.frame.slice(start, stop - start))

    def values(self, name: str) -> list[object]:
        series = self.frame.get_column(name)
        if series.dtype.is_float():
            series = series.fill_nan(None)
        return cast("list[object]", series.to_list())

    def matrix(self, name: str) -> MatrixArray:
        import polars as pl

        series = self.frame.get_column(name)
        if isinstance(series.dtype, pl.List):
            widths = series.list.len().unique()
            width = cast("int", widths[0])
            if len(widths) == 1 and width > 0:
                series = series.cast(pl.Array(series.dtype.inner, width))
        values = series.to_numpy() if isinstance(series.dtype, pl.Array) else series.to_list()
        return as_matrix(values, f"column {name!r}")


class _Arrow:
    """A pyarrow table."""

    def __init__(self, table: pa.Table) -> None:  # pyright: ignore[reportUnknownParameterType]  # untyped
        self.table: pa.Table = table
        self.names: list[str] = table.column_names
        self.rows: int = table.num_rows

    def block(self, start: int, stop: int) -> _Arrow:
        return _Arrow(self.table.slice(start, stop - start))

    def values(self, name: str) -> list[object]:
        values = cast("list[object]", self.table.column(name).to_pylist())
        # value != value: NaN is how many writers spell a missing number.
        return [None if isinstance(value, float) and value != value else value for value in values]  # noqa: PLR0124

    def matrix(self, name: str) -> MatrixArray:
        import pyarrow as pa

        column = self.table.column(name).combine_chunks()
        kind = column.type
        where = f"column {name!r}"
        if pa.types.is_fixed_size_list(kind):
            flat = column.flatten().to_numpy(zero_copy_only=False)
            return as_matrix(flat.reshape(self.rows, kind.list_size), where)
        if pa.types.is_list(kind) or pa.types.is_large_list(kind):
            flat = column.flatten().to_numpy(zero_copy_only=False)
            widths = set(cast("list[int]", column.value_lengths().to_pylist()))
            if len(widths) == 1:
                return as_matrix(flat.reshape(self.rows, widths.pop()), where)
        return as_matrix(column.to_pylist(), where)
