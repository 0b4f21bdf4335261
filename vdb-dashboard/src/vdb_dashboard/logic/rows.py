"""From the records of a file to rows for the server: which column is which field, and what is wrong with a row."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, cast

from vdb_dashboard.logic.inputs import InputFault, check_vector, shorten
from vdb_dashboard.logic.reading import Fault, Records

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["FIELDS", "Mapped", "guess", "typed", "with_fields"]

FIELDS: Final = ("id", "text", "embedding", "document_id", "metadata")
"""What a row may have; every other column becomes a key of its metadata."""

_USUAL: Final[Mapping[str, tuple[str, ...]]] = {
    "id": ("id", "_id", "chunk_id", "key"),
    "text": ("text", "content", "body", "chunk", "passage", "sentence"),
    "embedding": ("embedding", "vector", "embeddings", "emb"),
    "document_id": ("document_id", "document", "doc_id"),
    "metadata": ("metadata", "meta"),
}
_INTEGER: Final = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]{1,2})?")


@dataclass(slots=True, kw_only=True)
class Mapped:
    """Rows that are ready to be sent, and what keeps others from it."""

    rows: list[dict[str, object]] = field(default_factory=list)
    """In the shape of ``vdb_sdk``'s ``upsert``."""

    numbers: list[int] = field(default_factory=list)
    """The number of each row in the file."""

    faults: list[Fault] = field(default_factory=list)
    """By row; rows with a fault are not among ``rows``."""

    embedded: int = 0
    """How many of the rows have an embedding."""


def guess(columns: Iterable[str]) -> dict[str, str]:
    """Which column each field is probably read from: by the usual names, whatever their case."""
    there = {name.casefold(): name for name in columns}
    found = {
        each: next((there[name] for name in names if name in there), None) for each, names in _USUAL.items()
    }
    return {each: column for each, column in found.items() if column is not None}


def with_fields(
    records: Records,
    source: Mapping[str, str],
    *,
    vectors: NDArray[np.float32] | None = None,
    dimension: int | None = None,
    text_cells: bool = False,
) -> Mapped:
    """Make rows of records.

    Args:
        records: What the file holds.
        source: Which column each field is read from; columns that are not named become metadata.
        vectors: The embeddings, row for row, ``[rows, dimension]``.
        dimension: Length of the library's embeddings; without it the first row's.
        text_cells: The cells are all text (CSV): numbers, true and false among the metadata are told from their look,
            column by column.

    Raises:
        InputFault: There are not as many vectors as rows.
    """
    total = len(records.rows) + len(records.faults)
    if vectors is not None and len(vectors) != total:
        raise InputFault(f"There are {len(vectors):,} vectors and {total:,} rows: each row needs one.")
    if vectors is not None and records.faults:
        raise InputFault("Rows that cannot be read would shift the vectors: mend the file first.")
    named = set(source.values())
    extra = [name for name in records.columns if name not in named]
    metadata = typed(records.rows, extra) if text_cells else records.rows
    mapped = Mapped(faults=list(records.faults))
    for place, (number, record) in enumerate(zip(records.numbers, records.rows, strict=True)):
        row: dict[str, object] = {}
        faults: list[Fault] = []
        _read_texts(number, record, source, row, faults)
        _read_metadata(number, record, source, row, faults)
        row_extra = {name: metadata[place][name] for name in extra if name in metadata[place]}
        if row_extra:
            row["metadata"] = {**cast("dict[str, object]", row.get("metadata", {})), **row_extra}
        if records.document is not None:
            row["document_id"] = records.document
        column = source.get("embedding", "")
        given = vectors[place] if vectors is not None else record.get(column)
        if given is not None:
            try:
                vector = check_vector(_numbers(given), dimension)
                row["embedding"], dimension = vector, len(vector)
            except InputFault as fault:
                faults.append(Fault(row=number, column=column or "vectors", text=str(fault)))
        elif "text" not in row and not faults:
            faults.append(Fault(row=number, column="", text="has neither an embedding nor a text"))
        if faults:
            mapped.faults += faults
        else:
            mapped.rows.append(row)
            mapped.numbers.append(number)
            mapped.embedded += given is not None
    mapped.faults.sort(key=lambda fault: fault.row)
    return mapped


def typed(rows: Sequence[Mapping[str, object]], columns: Iterable[str]) -> list[dict[str, object]]:
    """Tell numbers, true and false from text, a column at a time: one word in a column keeps it text."""
    result: list[dict[str, object]] = [{} for _ in rows]
    for column in columns:
        cells = [(place, str(row[column])) for place, row in enumerate(rows) if column in row]
        read = _reader([text for _, text in cells])
        for place, text in cells:
            result[place][column] = read(text)
    return result


def _reader(texts: list[str]) -> type[int | float | str] | _Truth:
    if texts and all(_INTEGER.fullmatch(text) for text in texts):
        return int
    if texts and all(_NUMBER.fullmatch(text) for text in texts):
        return float
    if texts and all(text.casefold() in {"true", "false"} for text in texts):
        return _Truth()
    return str


class _Truth:
    """Reads true and false."""

    def __call__(self, text: str) -> bool:
        return text.casefold() == "true"


def _read_texts(
    number: int,
    record: Mapping[str, object],
    source: Mapping[str, str],
    row: dict[str, object],
    faults: list[Fault],
) -> None:
    for name in ("id", "text", "document_id"):
        column = source.get(name, "")
        value = record.get(column)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            text = f"expected a string; received {shorten(repr(value), 40)}"
            faults.append(Fault(row=number, column=column, text=text))
        else:
            row[name] = str(value)


def _read_metadata(
    number: int,
    record: Mapping[str, object],
    source: Mapping[str, str],
    row: dict[str, object],
    faults: list[Fault],
) -> None:
    column = source.get("metadata", "")
    value = record.get(column)
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if isinstance(value, dict):
        row["metadata"] = cast("dict[str, object]", value)
    elif column in record:
        text = f"expected an object; received {shorten(repr(record[column]), 40)}"
        faults.append(Fault(row=number, column=column, text=text))


def _numbers(value: object) -> object:
    """An embedding as a cell holds it: a list, or its numbers as text."""
    if not isinstance(value, str):
        return value
    words = [word for word in re.split(r"[\s,;]+", value.strip().strip("[]()")) if word]
    try:
        return [float(word) for word in words]
    except ValueError as error:
        raise InputFault(f"expected a list of numbers; received {shorten(value, 40)!r}") from error
