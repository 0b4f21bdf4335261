"""Libraries as a whole: what an export gives, and how an import becomes the operations of one write.

An import makes a new library of an archive's contents. With ``Kept`` it makes the old one: rows as they were stored,
bit for bit, each entity at its revision and with its times, so that it answers as the exported library did.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, cast, final

import numpy as np

from vdb_core.domain import check_id, format_time, parse_time
from vdb_core.engine.documents import document_record
from vdb_core.engine.operations import PutDocuments, PutLibrary, Upsert
from vdb_core.engine.records import finish
from vdb_core.errors import Fault, ValidationFailed
from vdb_core.indexes import bitmap
from vdb_core.services.checks import known_fields, raise_faults
from vdb_core.services.chunks import plan_upsert
from vdb_core.services.results import Export
from vdb_core.services.rows import prepare_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from vdb_core.engine.embedders import Embedded
    from vdb_core.engine.operations import Operation
    from vdb_core.engine.overlay import Overlay
    from vdb_core.engine.state import LibraryInfo, View
    from vdb_core.services.rows import Rows
    from vdb_core.services.settings import Limits

__all__ = ["DERIVED", "Imported", "Kept", "PreparedImport", "export_of", "keep_stamps"]

DERIVED: Final = frozenset({"revision", "created_at", "updated_at", "documents", "chunks"})
"""Fields of an entity that only an export has."""

_EXPORT_ROWS: Final = 1_024
_UNIT_TOLERANCE: Final = 2.0**-22
"""A float32 row that was divided by its length is this close to unit length, four times over."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What makes an import the very library that was exported."""

    norms: NDArray[np.float64] | None
    """float64 ``[n]``, under cosine: the length of each row, of which the vectors are the unit rows then."""

    row_ids: NDArray[np.int64]
    """int64 ``[n]``, ascending: where each row stands in lists, so that cursors stay good."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an archive holds, parsed and not yet checked."""

    library: Mapping[str, object]
    """The body of ``create``, and what only an export has."""

    documents: Sequence[Mapping[str, object]]
    """Bodies of documents, likewise."""

    chunks: Sequence[Mapping[str, object]]
    """Bodies of chunks without embeddings, likewise."""

    vectors: NDArray[np.generic]
    """float32 or float16 ``[n, dim]``; the rows as stored where there is ``kept``, which float32 alone can hold."""

    kept: Kept | None = None
    """With it, revisions, times and bits are those of the archive; without it, the library begins anew."""


def export_of(view: View, library: Mapping[str, object]) -> Export:
    """What an export gives of a view, of which ``library`` is what REST shows."""
    return Export(
        library=dict(library),
        documents=iter(view.documents),
        rows=view.live,
        dimension=view.info["dimension"] or 0,
        chunks=_records_of(view),
        vectors=_vectors_of(view),
        norms=_norms_of(view) if view.info["metric"] == "cosine" else None,
        row_ids=_row_ids_of(view),
    )


def _records_of(view: View) -> Iterator[bytes]:
    for part in view.parts:
        for slot in bitmap.to_slots(part.alive).tolist():
            yield part.block.records[slot]


def _vectors_of(view: View) -> Iterator[NDArray[np.float32]]:
    for part in view.parts:
        slots = bitmap.to_slots(part.alive)
        for begin in range(0, len(slots), _EXPORT_ROWS):
            yield part.block.vectors[slots[begin : begin + _EXPORT_ROWS]]


def _norms_of(view: View) -> Iterator[NDArray[np.float64]]:
    for part in view.parts:
        norms = part.block.norms
        if norms is not None:
            yield norms[bitmap.to_slots(part.alive)]


def _row_ids_of(view: View) -> Iterator[NDArray[np.int64]]:
    for part in view.parts:
        yield part.block.ids[bitmap.to_slots(part.alive)]


def keep_stamps(info: LibraryInfo, library: Mapping[str, object]) -> None:
    """Give a library that begins anew the revision and the times of the exported one."""
    faults: list[Fault] = []
    revision = library.get("revision")
    if not isinstance(revision, int) or isinstance(revision, bool) or not 1 <= revision < 2**53:
        faults.append(Fault("/library/revision", f"expected a whole number from 1; received {revision!r}"))
    times = [_time(library.get(name), f"/library/{name}", faults) for name in ("created_at", "updated_at")]
    raise_faults(faults)
    info["revision"] = cast("int", revision)
    info["created_at"], info["updated_at"] = times


@final
class PreparedImport:
    """An import whose every value was checked; it becomes operations on the committer's thread."""

    def __init__(
        self,
        imported: Imported,
        info: LibraryInfo,
        *,
        limits: Limits,
        metadata_faults: Callable[[object, str], list[Fault]],
    ) -> None:
        """Check everything; raises ``ValidationFailed`` with the faults.

        Args:
            imported: what came.
            info: the library, with the revision and the times that it will have.
            limits: what is accepted.
            metadata_faults: what is wrong with an entity's metadata.
        """
        self._info = info
        self._kept = imported.kept
        self._stamps: list[tuple[int, str, str]] = []
        self._records = self._document_records(imported.documents, metadata_faults)
        self._rows: Rows | None = None
        if imported.chunks or len(imported.vectors):
            self._rows = self._chunk_rows(imported, limits)

    @property
    def nbytes(self) -> int:
        """Bytes that the rows carry."""
        return 0 if self._rows is None else self._rows.nbytes

    def operations(self, fresh: Overlay) -> list[Operation]:
        """What follows the library's own operation, given an empty overlay of it."""
        info = self._info
        more: list[Operation] = []
        fresh.add(PutLibrary(info=info, created=True))
        if self._records:
            put = PutDocuments(
                revision=info["revision"],
                time=info["updated_at"],
                ids=list(self._records),
                records=list(self._records.values()),
            )
            fresh.add(put)
            more.append(put)
        if self._rows is not None:
            for operation in plan_upsert(fresh, self._rows, {}, create_documents=False):
                kept = self._kept_upsert(operation)
                fresh.add(kept)
                more.append(kept)
        return more

    def _kept_upsert(self, operation: Operation) -> Operation:
        if self._kept is None or self._rows is None or not isinstance(operation, Upsert):
            return operation
        records = [
            finish(head, revision, created.encode(), updated.encode())
            for head, (revision, created, updated) in zip(self._rows.heads, self._stamps, strict=True)
        ]
        return replace(
            operation,
            revision=self._info["revision"],
            time=self._info["updated_at"],
            records=records,
            row_ids=self._kept.row_ids,
        )

    def _document_records(
        self,
        documents: Sequence[Mapping[str, object]],
        metadata_faults: Callable[[object, str], list[Fault]],
    ) -> dict[str, bytes]:
        faults: list[Fault] = []
        records: dict[str, bytes] = {}
        now = self._info["created_at"]
        for at, document in enumerate(documents):
            pointer = f"/documents/{at}"
            body = {key: document[key] for key in document if key not in DERIVED}
            problems = known_fields(body, ("id", "metadata"), pointer)
            problems.extend(check_id(body.get("id"), f"{pointer}/id"))
            metadata = body.get("metadata", {})
            problems.extend(metadata_faults(metadata, f"{pointer}/metadata"))
            stamps = (self._info["revision"], now, now)
            if self._kept is not None:
                stamps = self._stamps_of(document, pointer, problems)
            if not problems:
                one = cast("str", body["id"])
                if one in records:
                    problems.append(Fault(f"{pointer}/id", f"duplicate id {one!r}"))
                revision, created, updated = stamps
                records[one] = document_record(
                    one,
                    cast("Mapping[str, object]", metadata),
                    revision=revision,
                    created_at=created,
                    updated_at=updated,
                )
            faults.extend(problems)
        raise_faults(faults)
        return records

    def _chunk_rows(self, imported: Imported, limits: Limits) -> Rows:
        kept, info = self._kept, self._info
        if kept is not None:
            faults: list[Fault] = []
            self._stamps = [
                self._stamps_of(chunk, f"/chunks/{at}", faults) for at, chunk in enumerate(imported.chunks)
            ]
            raise_faults(faults)
            _check_kept(kept, imported.vectors, cosine=info["metric"] == "cosine")
        rows = prepare_rows(
            [{key: chunk[key] for key in chunk if key not in DERIVED} for chunk in imported.chunks],
            pointer="/chunks",
            vectors=imported.vectors,
            # Rows that are unit rows already must not be divided once more: that would change their last bits.
            metric=info["metric"] if kept is None else "dot",
            dimension=info["dimension"],
            limits=limits,
            embed=_no_texts,
        )
        return rows if kept is None else replace(rows, norms=kept.norms)

    def _stamps_of(
        self, body: Mapping[str, object], pointer: str, faults: list[Fault]
    ) -> tuple[int, str, str]:
        revision = body.get("revision")
        top = self._info["revision"]
        if not isinstance(revision, int) or isinstance(revision, bool) or not 1 <= revision <= top:
            detail = f"expected a whole number from 1 to {top}, the library's own; received {revision!r}"
            faults.append(Fault(f"{pointer}/revision", detail))
            revision = 1
        created, updated = (
            _time(body.get(name), f"{pointer}/{name}", faults) for name in ("created_at", "updated_at")
        )
        return revision, created, updated


def _no_texts(texts: Sequence[str]) -> Embedded:
    """An import brings all its vectors."""
    raise AssertionError(f"{len(texts)} texts of an import without vectors")


def _time(value: object, pointer: str, faults: list[Fault]) -> str:
    """A time as records have it, which is of one length: answers are cut from records by place."""
    try:
        if isinstance(value, str) and format_time(parse_time(value)) == value:
            return value
    except (ValueError, OverflowError):
        pass
    faults.append(Fault(pointer, f"expected a time such as 2026-11-22T07:49:58.123456Z; received {value!r}"))
    return ""


def _check_kept(kept: Kept, vectors: NDArray[np.generic], *, cosine: bool) -> None:
    """Refuse stored rows that the engine itself would never have stored."""
    if vectors.dtype != np.float32 or vectors.ndim != 2:
        detail = f"expected float32 [n, dim]; received {vectors.dtype} {list(vectors.shape)}"
        raise ValidationFailed.at("/vectors", detail)
    rows = len(vectors)
    ids = kept.row_ids
    if ids.shape != (rows,) or (rows and (ids[0] < 1 or ids[-1] >= 2**62 or bool((np.diff(ids) <= 0).any()))):
        raise ValidationFailed.at("/ids", f"expected {rows} whole numbers from 1 that rise")
    if not cosine:
        if kept.norms is not None:
            raise ValidationFailed.at("/norms", "lengths of rows are kept under cosine alone; leave it out")
        return
    norms = kept.norms
    if norms is None or norms.shape != (rows,) or not bool((np.isfinite(norms) & (norms > 0)).all()):
        raise ValidationFailed.at("/norms", f"expected {rows} positive numbers: the length of each row")
    for begin in range(0, rows, _EXPORT_ROWS):
        some = vectors[begin : begin + _EXPORT_ROWS].astype(np.float64)
        lengths = np.sqrt(np.add.reduce(some * some, axis=1))
        wrong = np.flatnonzero(~(np.abs(lengths - 1.0) <= _UNIT_TOLERANCE))
        if len(wrong):
            at = begin + int(wrong[0])
            detail = f"expected a row of length 1 beside norms.npy; its length is {lengths[wrong[0]]!r}"
            raise ValidationFailed.at(f"/vectors/{at}", detail)
        with np.errstate(over="ignore"):
            given = (some * norms[begin : begin + len(some), np.newaxis]).astype(np.float32)
        if not bool(np.isfinite(given).all()):
            raise ValidationFailed.at("/norms", "a row times its length is beyond float32")
