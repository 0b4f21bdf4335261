"""Turns what ``upsert`` takes into batches that are ready to send, and adds up the answers. Pure.

Vectors that come as an array or a table travel as `.npy` (``chunks/bulk``); those that come row by row travel as
base64 (``chunks/upsert``). A batch ends at a number of rows or of bytes, whichever comes first.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from vdb_sdk import _chunk_requests
from vdb_sdk._json import check_finite, dumps
from vdb_sdk._progress import Progress
from vdb_sdk._tables import Columns, is_table, table_blocks, table_rows
from vdb_sdk._transport import Repeat
from vdb_sdk._vectors import as_matrix, vector_base64
from vdb_sdk.errors import ApiError, InvalidArgument, UnexpectedResponse, VdbSdkError
from vdb_sdk.models import Chunk, UpsertResult

if TYPE_CHECKING:
    from vdb_sdk._transport import Request

__all__ = ["Batch", "RowLike", "Totals", "UpsertPlan", "chunk_row", "plan_upsert"]

RowLike: TypeAlias = "Mapping[str, object] | Chunk"
"""One row: ``{"id", "embedding", "text", "document_id", "metadata"}``, all but the embedding or text optional."""

_MAX_ROWS: Final = 5_000
"""Rows a batch; half of what a server takes unless told otherwise."""

_MAX_JSON_ROWS: Final = 10_000
"""Rows that a server takes in one JSON body unless told otherwise; a larger ``batch_size`` is cut to it."""

_MAX_TEXTS: Final = 256
"""Rows a batch that the server has to embed, unless a ``batch_size`` is given: a small model on two cores takes seconds for
as many long texts, and an answer is waited for a minute."""

_MAX_BYTES: Final = 16 * 2**20
"""Bytes a batch; a quarter of what a server takes unless told otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Some rows, ready to send."""

    first: int
    """Number of its first row, counted over all batches."""

    rows: int
    """How many rows it has."""

    request: Request
    """What to send."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpsertPlan:
    """The batches of one upsert."""

    batches: Iterator[Batch]
    """Made one at a time, so that only one is in memory."""

    total: int | None
    """Rows in all; ``None`` for an iterator, whose end is not known."""


def chunk_row(row: object, where: str) -> dict[str, object]:
    """One row in the shape of the contract: the embedding as base64, what is ``None`` left out."""
    if isinstance(row, Chunk):
        fields: Mapping[str, object] = {
            "id": row.id,
            "document_id": row.document_id,
            "text": row.text,
            "embedding": row.embedding,
            "metadata": row.metadata,
        }
    elif isinstance(row, Mapping):
        fields = cast("Mapping[str, object]", row)
    else:
        msg = f"{where}: expected a dict or a Chunk, received {type(row).__name__}."
        raise InvalidArgument(msg)
    result: dict[str, object] = {}
    for name, value in fields.items():
        if value is None:
            continue
        if name == "embedding":
            result["embedding_b64"] = vector_base64(value, f"{where}/embedding")
        else:
            if name == "metadata":
                check_finite(value, f"{where}/metadata")
            result[name] = value
    return result


def plan_upsert(
    library_id: str,
    rows: object,
    *,
    ids: object,
    embeddings: object,
    texts: object,
    document_ids: object,
    metadatas: object,
    columns: Mapping[str, str] | None,
    create_documents: bool,
    batch_size: int | None,
) -> UpsertPlan:
    """Decide how the rows travel. Mistakes in the arguments show here; those in a row, when its batch is made."""
    if batch_size is not None and batch_size < 1:
        msg = f"batch_size: expected 1 or more, received {batch_size}."
        raise InvalidArgument(msg)
    writer = _Writer(library_id, create_documents, batch_size or _MAX_ROWS, batch_size or _MAX_TEXTS)
    given = {
        "ids": ids,
        "embeddings": embeddings,
        "texts": texts,
        "document_ids": document_ids,
        "metadatas": metadatas,
    }
    named = [name for name, value in given.items() if value is not None]
    if rows is None:
        if columns is not None:
            msg = "upsert: columns= names the columns of a table, but no table was given."
            raise InvalidArgument(msg)
        block = _columns(given, named)
        return UpsertPlan(batches=writer.columns([block]), total=block.rows)
    if named:
        msg = f"upsert: expected either rows or columns such as ids=, received rows and {named[0]}=."
        raise InvalidArgument(msg)
    if is_table(rows):
        blocks = table_blocks(rows, columns, writer.limit)
        return UpsertPlan(batches=writer.columns(blocks), total=table_rows(rows))
    if columns is not None:
        msg = f"upsert: columns= is for tables, received {type(rows).__name__}."
        raise InvalidArgument(msg)
    if type(rows).__module__ == "numpy":
        msg = "upsert: expected rows, received an array. Write upsert(ids=..., embeddings=array)."
        raise InvalidArgument(msg)
    if isinstance(rows, (str, bytes, Mapping, Chunk)) or not isinstance(rows, Iterable):
        msg = f"upsert: expected a list of rows or a table, received {type(rows).__name__}. For one row, write [row]."
        raise InvalidArgument(msg)
    total = len(rows) if isinstance(rows, Sized) else None
    return UpsertPlan(batches=writer.records(cast("Iterable[RowLike]", rows)), total=total)


def _columns(given: Mapping[str, object], named: list[str]) -> Columns:
    """Columns from the keyword arguments, of which every one must have the same length."""
    if "embeddings" not in named and "texts" not in named:
        msg = "upsert: expected rows, or embeddings= (an array), or texts= (which an embedder turns into embeddings)."
        raise InvalidArgument(msg)
    lists = {name: _listed(given[name], name) for name in named if name != "embeddings"}
    matrix = as_matrix(given["embeddings"]) if "embeddings" in named else None
    lengths = {name: len(values) for name, values in lists.items()}
    if matrix is not None:
        lengths = {"embeddings": len(matrix), **lengths}
    reference, rows = next(iter(lengths.items()))
    for name, length in lengths.items():
        if length != rows:
            msg = (
                f"upsert: {reference} has {rows} rows, {name} has {length}. They must be of the same length."
            )
            raise InvalidArgument(msg)
    return Columns(
        rows=rows,
        embeddings=matrix,
        ids=cast("Sequence[str | None] | None", lists.get("ids")),
        texts=cast("Sequence[str | None] | None", lists.get("texts")),
        document_ids=cast("Sequence[str | None] | None", lists.get("document_ids")),
        metadatas=cast("Sequence[Mapping[str, object] | None] | None", lists.get("metadatas")),
    )


def _listed(value: object, name: str) -> Sequence[object]:
    """A column as a list; arrays and series become lists of Python values."""
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        msg = f"{name}: expected a list with one value a row, received {type(value).__name__}."
        raise InvalidArgument(msg)
    for method in ("tolist", "to_list", "to_pylist"):
        convert = getattr(value, method, None)
        if convert is not None:
            return cast("Sequence[object]", convert())
    if isinstance(value, Sequence):
        return value
    return list(value)


class _Writer:
    """Writes rows as JSON and closes a batch when it is full."""

    def __init__(self, library_id: str, create_documents: bool, limit: int, texts: int) -> None:
        self.library_id: str = library_id
        self.create_documents: bool = create_documents
        self.limit: int = limit
        self.texts: int = min(texts, _MAX_JSON_ROWS)

    def records(self, rows: Iterable[RowLike]) -> Iterator[Batch]:
        """Batches of rows that carry their embedding themselves."""
        limit = min(self.limit, _MAX_JSON_ROWS)
        first, size, texts, explicit = 0, 0, 0, True
        pending: list[bytes] = []
        for number, row in enumerate(rows):
            where = f"row {number}"
            fields = chunk_row(row, where)
            line = dumps(fields, where)
            full = len(pending) == limit or texts == self.texts
            if pending and (full or size + len(line) > _MAX_BYTES):
                yield self._upsert(first, pending, explicit)
                first, size, texts, explicit, pending = number, 0, 0, True, []
            pending.append(line)
            size += len(line) + 1
            texts += _EMBEDDING.isdisjoint(fields)
            explicit = explicit and "id" in fields
        if pending:
            yield self._upsert(first, pending, explicit)

    def columns(self, blocks: Iterable[Columns]) -> Iterator[Batch]:
        """Batches of rows that come as columns."""
        offset = 0
        for block in blocks:
            width = 0 if block.embeddings is None else block.embeddings[:1].nbytes
            limit = self.texts if block.embeddings is None else self.limit
            first, size, explicit = 0, 0, True
            pending: list[bytes] = []
            for number in range(block.rows):
                fields = _row_of(block, number, offset)
                line = dumps(fields, f"row {offset + number}")
                if pending and (len(pending) == limit or size + len(line) + width > _MAX_BYTES):
                    yield self._block(block, first, offset, pending, explicit)
                    first, size, explicit, pending = number, 0, True, []
                pending.append(line)
                size += len(line) + 1 + width
                explicit = explicit and "id" in fields
            if pending:
                yield self._block(block, first, offset, pending, explicit)
            offset += block.rows

    def _block(self, block: Columns, first: int, offset: int, lines: list[bytes], explicit: bool) -> Batch:
        if block.embeddings is None:
            return self._upsert(offset + first, lines, explicit)
        request = _chunk_requests.bulk(
            self.library_id,
            lines,
            block.embeddings[first : first + len(lines)],
            create_documents=self.create_documents,
            boundary=uuid.uuid4().hex,
            repeat=Repeat.ALWAYS if explicit else Repeat.UNSENT,
        )
        return Batch(first=offset + first, rows=len(lines), request=request)

    def _upsert(self, first: int, lines: list[bytes], explicit: bool) -> Batch:
        request = _chunk_requests.upsert(
            self.library_id,
            lines,
            create_documents=self.create_documents,
            repeat=Repeat.ALWAYS if explicit else Repeat.UNSENT,
        )
        return Batch(first=first, rows=len(lines), request=request)


_EMBEDDING: Final = frozenset({"embedding_b64", "embedding"})


def _row_of(block: Columns, number: int, offset: int) -> dict[str, object]:
    fields: dict[str, object] = {}
    if block.ids is not None and block.ids[number] is not None:
        fields["id"] = block.ids[number]
    if block.document_ids is not None and block.document_ids[number] is not None:
        fields["document_id"] = block.document_ids[number]
    if block.texts is not None and block.texts[number] is not None:
        fields["text"] = block.texts[number]
    if block.metadatas is not None and block.metadatas[number] is not None:
        metadata = block.metadatas[number]
        check_finite(metadata, f"row {offset + number}/metadata")
        fields["metadata"] = metadata
    return fields


class Totals:
    """Adds up the answers to the batches, and tells in an error how far the upsert had come."""

    def __init__(self) -> None:
        self.created: int = 0
        self.updated: int = 0
        self.ids: list[str] = []
        self.revision: int | None = None
        self.batches: int = 0
        self.warnings: list[str] = []

    def add(self, batch: Batch, answer: UpsertResult) -> None:
        """Count one batch in."""
        if len(answer.ids) != batch.rows:
            msg = (
                f"The server answered {len(answer.ids)} ids for {batch.rows} rows. Is it of another version?"
            )
            raise UnexpectedResponse(msg)
        self.created += answer.created
        self.updated += answer.updated
        self.ids.extend(answer.ids)
        self.revision = answer.revision
        self.batches += 1
        self.warnings.extend(_shifted_warning(one, batch.first) for one in answer.warnings)

    def result(self) -> UpsertResult:
        """What was done so far."""
        return UpsertResult(
            created=self.created,
            updated=self.updated,
            ids=tuple(self.ids),
            revision=self.revision,
            warnings=tuple(self.warnings),
        )

    def progress(self, total: int | None, elapsed: float, *, finished: bool) -> Progress:
        """How far the upsert is."""
        done = len(self.ids)
        known = bool(total) and bool(done)
        return Progress(
            phase="upsert",
            done=done,
            total=total,
            fraction=done / total if total else None,
            elapsed_s=elapsed,
            eta_s=elapsed * (total - done) / done if known and total else None,
            finished=finished,
        )

    def failure(self, error: VdbSdkError, first: int) -> VdbSdkError:
        """The error as the caller should see it: rows counted over all batches, and what was acknowledged."""
        if isinstance(error, ApiError) and first:
            error = _shifted(error, first)
        error.acknowledged = self.result()
        if self.batches:
            rows = len(self.ids)
            error.add_note(
                f"{rows} rows in {self.batches} batches before this one were acknowledged and are durable."
            )
        return error


def _shifted(error: ApiError, first: int) -> ApiError:
    problem = error.problem
    faults = tuple([replace(fault, pointer=_shift(fault.pointer, first)) for fault in problem.errors])
    if len(faults) == 0:
        return error
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    detail = f"{faults[0].pointer}: {faults[0].detail}{more}"
    return type(error)(replace(problem, errors=faults, detail=detail))


def _shifted_warning(warning: str, first: int) -> str:
    """A warning that begins with a pointer, with that pointer counted over all batches."""
    pointer, colon, text = warning.partition(": ")
    return f"{_shift(pointer, first)}{colon}{text}" if pointer.startswith("/") else warning


def _shift(pointer: str, first: int) -> str:
    """``/chunks/17/metadata`` of a batch that begins at row 5000 is ``/chunks/5017/metadata`` of the upsert."""
    parts = pointer.split("/")
    if len(parts) > 2 and parts[1] in {"chunks", "vectors"} and parts[2].isdecimal():
        parts[2] = str(int(parts[2]) + first)
    return "/".join(parts)
