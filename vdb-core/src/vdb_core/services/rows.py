"""From what a caller sends to rows that can be stored: ids, vectors, texts and metadata, every fault at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, cast, final

import numpy as np

from vdb_core.domain import (
    check_matrix,
    embedding_from_b64,
    normalize,
    to_matrix,
)
from vdb_core.engine.record_run import RecordRun
from vdb_core.engine.segments import index_rows
from vdb_core.errors import Fault, ValidationFailed
from vdb_core.services.checks import raise_faults, text_fault
from vdb_core.services.given_rows import CHUNK_FIELDS, GivenRows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from vdb_core.engine.embedders import Embedded
    from vdb_core.engine.segments import Fields
    from vdb_core.filters import MetadataIndex
    from vdb_core.indexes import Accelerator, Metric
    from vdb_core.services.settings import Limits
    from vdb_core.services.texts import Embed

__all__ = [
    "CHUNK_FIELDS",
    "FLOAT_TYPES",
    "Rows",
    "prepare_query",
    "prepare_rows",
    "query_text",
    "stored_form",
]

FLOAT_TYPES: Final = ("<f4", "<f2")
"""NumPy's names of the types in which a matrix of embeddings may come."""
_ELSEWHERE: Final = frozenset({"embedding_b64", "text"})
"""Where a query's vector may be instead of in ``embedding``."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Rows that can be stored, in the order in which they came."""

    ids: list[str]
    document_ids: list[str | None]
    heads: RecordRun
    """The part of each record that is known before the commit."""
    indexes: list[MetadataIndex]
    """Of the metadata of the segments that the rows get for themselves."""
    fields: Fields
    """Of the rows behind those."""
    vectors: NDArray[np.float32]
    norms: NDArray[np.float64] | None
    pointers: Callable[[int], str]
    own_vectors: bool = True
    """Nobody else has the vectors; false where they may lie in the memory of who gave them."""
    embedder: str | None = None
    """What made some of the vectors of their texts; none where all of them were given."""
    warnings: list[str] = field(default_factory=list)

    @property
    def nbytes(self) -> int:
        """Bytes that the rows carry."""
        return self.vectors.nbytes + self.heads.nbytes


def stored_form(
    matrix: NDArray[np.float32], metric: Metric
) -> tuple[NDArray[np.float32], NDArray[np.float64] | None]:
    """Rows as they are stored: unit rows and their norms under cosine, as given otherwise."""
    if metric == "cosine":
        return normalize(matrix)
    return np.ascontiguousarray(matrix), None


def prepare_rows(
    rows: Sequence[object],
    *,
    pointer: str,
    single: bool = False,
    vectors: NDArray[np.generic] | None,
    metric: Metric,
    dimension: int | None,
    limits: Limits,
    embed: Embed,
) -> Rows:
    """Validate rows and bring them into the form in which they are stored.

    Args:
        rows: objects with the fields of a chunk.
        pointer: where the rows are in the request.
        single: there is one row, and ``pointer`` names it and not the list around it.
        vectors: float32 or float16 ``[n, dim]`` in place of each row's ``embedding``, or none.
        metric: of the library.
        dimension: of the library, none where its first embedding decides.
        limits: what is accepted.
        embed: makes embeddings of texts that have none; raises ``ValidationFailed`` where nothing can.

    Raises:
        ValidationFailed: with every fault.
    """

    def at(row: int) -> str:
        return pointer if single else f"{pointer}/{row}"

    if vectors is not None and len(vectors) != len(rows):
        raise ValidationFailed.at(
            "/vectors", f"expected one row a chunk; received {len(vectors)} vectors and {len(rows)} chunks"
        )
    given = GivenRows(limits=limits, has_matrix=vectors is not None)
    given.take_all(rows, at)
    faults = given.faults
    ids, embeddings = given.ids, given.embeddings
    _check_unique(ids, at, faults)
    if len(ids) < len(rows):
        raise ValidationFailed.of(faults)

    def vector_at(row: int) -> str:
        if vectors is not None:
            return f"/vectors/{row}"
        packed = "embedding_b64" in cast("Mapping[str, object]", rows[row])
        return f"{at(row)}/embedding_b64" if packed else f"{at(row)}/embedding"

    embedded, warnings = _embed_missing(given, at, embed) if vectors is None else (None, [])
    matrix = _matrix(embeddings, vectors, vector_at, faults, dimension, limits)
    if matrix is not None:
        faults.extend(check_matrix(matrix, dimension=dimension, metric=metric, pointers=vector_at))
    if faults or matrix is None:
        raise ValidationFailed.of(faults)
    indexes, fields = index_rows(matrix.shape[1], given.document_ids, given.metadatas)
    heads = RecordRun.of(given.heads())
    unit, norms = stored_form(np.asarray(matrix, dtype=np.float32), metric)
    return Rows(
        ids=ids,
        document_ids=given.document_ids,
        heads=heads,
        indexes=indexes,
        fields=fields,
        vectors=unit,
        norms=norms,
        pointers=at,
        own_vectors=vectors is None or not np.may_share_memory(unit, vectors),
        embedder=None if embedded is None else embedded.name,
        warnings=warnings,
    )


def _check_unique(ids: list[str], at: Callable[[int], str], faults: list[Fault]) -> None:
    if faults:
        return  # an id of a wrong type may not even be hashable
    if len(set(ids)) == len(ids):
        return
    first: dict[str, int] = {}
    for number, one in enumerate(ids):
        if first.setdefault(one, number) != number:
            faults.append(Fault(f"{at(number)}/id", f"duplicate id {one!r}; row {first[one]} has it already"))


def _embed_missing(
    given: GivenRows, at: Callable[[int], str], embed: Embed
) -> tuple[Embedded | None, list[str]]:
    """Embed the texts of rows that bring no embedding; tells of texts that were not read to their end."""
    missing = [number for number, one in enumerate(given.embeddings) if one is None]
    if not missing or given.faults:
        return None, []
    blank = [number for number in missing if not (given.texts[number] or "").strip()]
    if blank:
        given.faults.extend(
            Fault(at(number), "expected embedding, embedding_b64 or a text that is not blank")
            for number in blank
        )
        return None, []
    texts = [cast("str", given.texts[number]) for number in missing]
    try:
        made = embed(texts)
    except ValidationFailed as error:
        given.faults.extend(Fault(f"{at(number)}/embedding", error.faults[0].detail) for number in missing)
        return None, []
    for number, row in zip(missing, made.matrix, strict=True):
        given.embeddings[number] = row
    return made, made.warnings(lambda number: f"{at(missing[number])}/text", texts)


def _matrix(
    embeddings: list[object],
    vectors: NDArray[np.generic] | None,
    vector_at: Callable[[int], str],
    faults: list[Fault],
    dimension: int | None,
    limits: Limits,
) -> NDArray[np.floating] | None:
    """The rows' vectors, float32 or float16 ``[n, dim]``, or none where a fault was found."""
    if vectors is not None:
        if vectors.ndim != 2 or vectors.dtype.str not in FLOAT_TYPES:
            detail = f"expected float32 or float16 [n, dim]; received {vectors.dtype} {list(vectors.shape)}"
            raise ValidationFailed.at("/vectors", detail)
        if vectors.shape[1] > limits.max_dimension:
            detail = f"expected at most {limits.max_dimension} numbers a row (max_dimension); received {vectors.shape[1]}"
            raise ValidationFailed.at("/vectors", detail)
        if dimension is not None and vectors.shape[1] != dimension:
            # Every row has the same fault: one that names the matrix says as much as a million that name its rows.
            detail = (
                f"expected rows of {dimension} numbers, as the library has; received {list(vectors.shape)}"
            )
            raise ValidationFailed.at("/vectors", detail)
        return cast("NDArray[np.floating]", vectors)
    if any(one is None for one in embeddings):
        return None
    matrix, problems = to_matrix(
        embeddings, vector_at, max_dimension=limits.max_dimension, dimension=dimension
    )
    faults.extend(problems)
    return matrix


def prepare_query(
    query: Mapping[str, object],
    *,
    pointer: str,
    metric: Metric,
    dimension: int | None,
    limits: Limits,
    embed: Embed,
    accelerator: Accelerator,
) -> tuple[NDArray[np.float32], list[str]]:
    """The query's vector as rows are stored, float32 ``[1, dim]``, and warnings; raises ``ValidationFailed``."""
    embedding = query.get("embedding")
    if embedding is not None and dimension is not None and not _ELSEWHERE & query.keys():
        plain = accelerator.query_row(embedding, dimension, metric)
        if plain is not None:
            return plain, []
    given = [name for name in ("embedding", "embedding_b64", "text") if query.get(name) is not None]
    if len(given) != 1:
        raise ValidationFailed.at(
            pointer,
            f"expected exactly one of embedding, embedding_b64, text; received {', '.join(given) or 'none'}",
        )
    name = given[0]
    value = query[name]
    where = f"{pointer}/{name}"
    warnings: list[str] = []
    if name == "text":
        text = query_text(value, where, limits)
        try:
            made = embed([text])
        except ValidationFailed as error:
            raise ValidationFailed.at(where, error.faults[0].detail) from error
        row: object = made.matrix[0]
        warnings = made.warnings(lambda _: where, [text])
    elif name == "embedding_b64":
        row, faults = embedding_from_b64(value, where)
        raise_faults(faults)
        plain = None if dimension is None else accelerator.query_row(row, dimension, metric)
        if plain is not None:
            return plain, []
    else:
        row = value
    matrix, faults = to_matrix(
        [row], lambda _: where, max_dimension=limits.max_dimension, dimension=dimension
    )
    raise_faults(faults)
    if matrix is None:
        raise ValidationFailed.at(where, "expected a list of numbers")
    raise_faults(check_matrix(matrix, dimension=dimension, metric=metric, pointers=lambda _: where))
    return stored_form(matrix, metric)[0], warnings


def query_text(value: object, pointer: str, limits: Limits) -> str:
    """The text that a query looks for; raises ``ValidationFailed`` where it is none, or blank."""
    raise_faults(text_fault(value, pointer, max_bytes=limits.max_text_bytes))
    text = cast("str", value)
    if not text.strip():
        raise ValidationFailed.at(pointer, "expected a text to look for; received a blank one")
    return text
