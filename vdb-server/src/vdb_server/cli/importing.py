"""``vdb import``: JSON Lines, with or without a matrix beside them, or an archive that ``export`` made."""

from __future__ import annotations

import json
import secrets
import time
from typing import TYPE_CHECKING, Any, Final

from vdb_server.cli.output import Failure, progress, warn
from vdb_server.cli.target import segment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from vdb_server.cli.target import Target

__all__ = ["build_index", "import_archive", "import_rows", "wait_for"]

_POLL_S: Final = 0.2
_TOLD: Final = 10


def import_archive(target: Target, library: str, file: Path) -> dict[str, Any]:
    """Create a library from an archive under another id."""
    with progress(f"importing {file.name}"):
        return target.archives.upload(file, library)


def import_rows(
    target: Target, library: str, file: Path, vectors: Path | None, *, batch_rows: int, create_documents: bool
) -> dict[str, int]:
    """Upsert the rows of a file in batches; each batch is all or nothing."""
    matrix = None if vectors is None else _open_matrix(vectors)
    total = _count_lines(file)
    if matrix is not None and len(matrix) != total:
        raise Failure(
            f"{file} has {total} rows and {vectors} has {len(matrix)}: they go row by row, and must be as many."
        )
    result = {"created": 0, "updated": 0}
    warned = 0
    done = 0
    base = f"/v1/libraries/{segment(library)}/chunks"
    with progress(f"importing into {library}", total or 1) as report:
        for lines in _batches(file, batch_rows):
            try:
                if matrix is None:
                    flag = b',"create_documents":true' if create_documents else b""
                    body = b'{"chunks":[' + b",".join(lines) + b"]" + flag + b"}"
                    answer = target.raw("POST", f"{base}/upsert", {"content-type": "application/json"}, body)
                else:
                    content_type, body = _form(matrix[done : done + len(lines)], lines)
                    query = "?create_documents=true" if create_documents else ""
                    answer = target.raw("POST", f"{base}/bulk{query}", {"content-type": content_type}, body)
            except Failure as failure:
                raise Failure(
                    f"rows {done} to {done + len(lines) - 1} of {file} (a pointer counts from row {done}) were refused, "
                    f"{done} rows before them are in: {failure}"
                ) from failure
            result["created"] += answer["created"]
            result["updated"] += answer["updated"]
            for warning in answer["warnings"]:
                # The first ones name rows; a file of books would fill the screen.
                warned += 1
                if warned <= _TOLD:
                    warn(f"vdb: rows from {done} on: {warning}")
            done += len(lines)
            report(done)
    if warned > _TOLD:
        warn(f"vdb: {warned - _TOLD} more warnings like these")
    return result


def build_index(target: Target, library: str) -> dict[str, Any]:
    """Build the library's index and wait for it."""
    accepted = target.json("POST", f"/v1/libraries/{segment(library)}/index", {})
    return wait_for(target, accepted["job_id"], f"building the index of {library}")


def wait_for(target: Target, job_id: str, what: str) -> dict[str, Any]:
    """Wait for a job; a job that fails is a failure."""
    with progress(what, 1.0) as report:
        while True:
            job: dict[str, Any] = target.json("GET", f"/v1/jobs/{segment(job_id)}")
            report(job["progress"], what=f"{what}: {job['phase']}")
            if job["state"] in {"succeeded", "failed", "cancelled"}:
                break
            time.sleep(_POLL_S)
    if job["state"] != "succeeded":
        raise Failure(f"{what}: {job['state']}: {job['error'] or 'it was asked to stop'}")
    return job


def _count_lines(file: Path) -> int:
    with file.open("rb") as stream:
        return sum(1 for row in stream if not row.isspace())


def _batches(file: Path, rows: int) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    with file.open("rb") as stream:
        for number, row in enumerate(stream):
            if row.isspace():
                continue
            try:
                json.loads(row)
            except ValueError as error:
                raise Failure(f"line {number + 1} of {file} is not JSON: {error}") from error
            batch.append(row.strip())
            if len(batch) == rows:
                yield batch
                batch = []
    if batch:
        yield batch


def _open_matrix(path: Path) -> NDArray[Any]:
    from vdb_core.errors import VdbError
    from vdb_core.persistence.npy import map_npy

    try:
        matrix = map_npy(path)
    except VdbError as error:
        raise Failure(f"{path} is no .npy file that can be read: {error}") from error
    if matrix.ndim != 2 or matrix.dtype.name not in {"float32", "float16"}:
        raise Failure(
            f"{path} holds {matrix.dtype.name} {list(matrix.shape)}; expected float32 or float16 [rows, dimension]. "
            "Convert it with .astype('float32')."
        )
    return matrix


def _form(rows: NDArray[Any], lines: list[bytes]) -> tuple[str, bytes]:
    from vdb_core.persistence.npy import npy_header

    boundary = secrets.token_hex(16)
    dashes = f"--{boundary}".encode()
    body = b"".join(
        (
            dashes,
            b'\r\nContent-Disposition: form-data; name="vectors"; filename="vectors.npy"\r\n\r\n',
            npy_header(rows.dtype, rows.shape),
            rows.tobytes(),
            b"\r\n",
            dashes,
            b'\r\nContent-Disposition: form-data; name="chunks"; filename="chunks.jsonl"\r\n\r\n',
            b"\n".join(lines),
            b"\r\n",
            dashes,
            b"--\r\n",
        )
    )
    return f"multipart/form-data; boundary={boundary}", body
