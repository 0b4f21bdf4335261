"""Reads a corpus, JSON Lines with a ``.npy`` matrix beside it, and says exactly what is wrong with one that is not."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Corpus", "CorpusError", "hold_out", "load_corpus", "read_rows"]

MINIMUM_ROWS = 100
SUFFIXES = (".npy", ".f16.npy")


class CorpusError(Exception):
    """The corpus cannot be used as it is; the message says what to mend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """Rows and their embeddings, in the same order."""

    ids: list[str]
    """Unique."""

    texts: list[str]
    """Empty where a row has none."""

    documents: list[str | None]
    """Id of the document of each row, if any."""

    metadatas: list[dict[str, Any]]
    """Every other field of each row."""

    vectors: NDArray[np.float32]
    """``[rows, dimension]``, of unit length under cosine."""

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Sequence[int]) -> Corpus:
        """Only these rows, in this order."""
        return Corpus(
            ids=[self.ids[row] for row in rows],
            texts=[self.texts[row] for row in rows],
            documents=[self.documents[row] for row in rows],
            metadatas=[self.metadatas[row] for row in rows],
            vectors=self.vectors[list(rows)],
        )


def load_corpus(file: Path, *, vectors: Path | None, metric: str, minimum: int = MINIMUM_ROWS) -> Corpus:
    """Read ``file`` (JSON Lines, possibly gzipped) and its matrix: ``vectors``, or the ``.npy`` of the same stem."""
    rows = read_rows(file)
    matrix = _read_matrix(vectors or _beside(file))
    if len(rows) != len(matrix):
        raise CorpusError(
            f"{file.name} has {len(rows):,} lines and its matrix {len(matrix):,} rows; "
            "they must be the same rows in the same order."
        )
    if len(rows) < minimum:
        raise CorpusError(
            f"{file.name} has {len(rows)} rows; at least {minimum} are needed to show anything."
        )
    ids = [
        _text(row.get("id", number), f"{file.name} line {number + 1}: id") for number, row in enumerate(rows)
    ]
    if len(set(ids)) < len(ids):
        seen: set[str] = set()
        twice = next(identifier for identifier in ids if identifier in seen or seen.add(identifier))
        raise CorpusError(f"{file.name}: the id {twice!r} stands on more than one line; ids must be unique.")
    documents = [row.get("document_id", row.get("document")) for row in rows]
    return Corpus(
        ids=ids,
        texts=[_text(row.get("text") or "", f"{file.name} line {n + 1}: text") for n, row in enumerate(rows)],
        documents=[None if document is None else str(document) for document in documents],
        metadatas=[_metadata(row) for row in rows],
        vectors=_unit_rows(matrix) if metric == "cosine" else matrix,
    )


def hold_out(corpus: Corpus, count: int) -> tuple[Corpus, Corpus]:
    """Take ``count`` evenly spaced rows out to search with; returns what remains, and those."""
    held = np.linspace(0, len(corpus) - 1, count).astype(int).tolist()
    kept = sorted(set(range(len(corpus))) - set(held))
    return corpus.take(kept), corpus.take(held)


def _beside(file: Path) -> Path:
    stem = file.name.removesuffix(".gz").removesuffix(".jsonl")
    candidates = [file.with_name(stem + suffix) for suffix in SUFFIXES]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    names = " or ".join(candidate.name for candidate in candidates)
    raise CorpusError(f"No matrix beside {file}: expected {names}; or name it with --vectors.")


def read_rows(file: Path) -> list[dict[str, Any]]:
    """Read JSON Lines, possibly gzipped, of objects."""
    opener = gzip.open if file.suffix == ".gz" else open
    rows: list[dict[str, Any]] = []
    try:
        with opener(file, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise CorpusError(
                        f"{file.name} line {number}: expected a JSON object, received {line[:40]!r}."
                    )
                rows.append(row)
    except json.JSONDecodeError as error:
        raise CorpusError(f"{file.name} line {len(rows) + 1}: not JSON ({error.msg}).") from error
    except UnicodeDecodeError as error:
        raise CorpusError(f"{file.name}: not UTF-8 after line {len(rows)}.") from error
    except OSError as error:
        raise CorpusError(f"{file} cannot be read: {error.strerror or error}.") from error
    return rows


def _read_matrix(file: Path) -> NDArray[np.float32]:
    try:
        matrix = np.load(file, allow_pickle=False)
    except OSError as error:
        raise CorpusError(f"{file} cannot be read: {error.strerror or error}.") from error
    except (ValueError, EOFError) as error:
        raise CorpusError(f"{file} is not a whole .npy matrix of numbers; numpy.save writes one.") from error
    if matrix.ndim != 2 or not np.issubdtype(matrix.dtype, np.floating):
        raise CorpusError(
            f"{file.name}: expected a float16 or float32 matrix [rows, dimension], "
            f"received {matrix.dtype} {list(matrix.shape)}."
        )
    with np.errstate(over="ignore"):
        matrix = np.ascontiguousarray(matrix, dtype=np.float32)
    bad = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
    if bad.size:
        raise CorpusError(f"{file.name}: row {bad[0]} holds NaN or infinity ({bad.size} such rows).")
    return matrix


def _unit_rows(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(matrix.astype(np.float64), axis=1, keepdims=True)
    zero = np.flatnonzero(norms[:, 0] == 0)
    if zero.size:
        raise CorpusError(
            f"Row {zero[0]} of the matrix is all zeros, which has no direction; drop it or use --metric l2."
        )
    return (matrix / norms).astype(np.float32)


def _text(value: object, where: str) -> str:
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return str(value)
    raise CorpusError(f"{where}: expected a string, received {value!r}.")


def _metadata(row: dict[str, Any]) -> dict[str, Any]:
    rest = {
        key: value
        for key, value in row.items()
        if key not in {"id", "text", "document", "document_id", "metadata"}
    }
    return {**rest, **(row.get("metadata") or {})}
