"""The archive that ``export`` makes and ``import`` takes: a plain tar of JSON and ``.npy``.

::

    library.json       the body of POST /v1/libraries, and what only an export has (revision, times, counts)
    documents.jsonl    a document a line
    chunks.jsonl       a chunk a line, without its embedding
    vectors.npy        float32 [chunks, dim], row for row, in the scale in which they were given
"""

from __future__ import annotations

import tarfile
import tempfile
from http import HTTPStatus
from typing import IO, TYPE_CHECKING, Final

import numpy as np

from vdb_core.errors import Fault, ValidationFailed
from vdb_core.persistence.npy import npy_header, read_npy_bytes
from vdb_server.chunks.ingest import json_lines
from vdb_server.errors import HttpProblem
from vdb_server.wire.json_body import parse_object
from vdb_server.wire.replies import dump

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from vdb_core.services import Export

__all__ = ["MEMBERS", "Archive", "empty_file", "read_archive", "write_archive"]

MEMBERS: Final = ("library.json", "documents.jsonl", "chunks.jsonl", "vectors.npy")
_SPOOL: Final = 16 << 20
_PIECE: Final = 1 << 20


def write_archive(export: Export) -> Iterator[bytes]:
    """Make the archive piece by piece.

    A member's size stands before its content: JSON Lines are spooled to learn theirs (to a temporary file when they
    are long), the size of the vectors is known.
    """
    yield from _member(MEMBERS[0], _spooled([dump(export.library)]))
    yield from _member(MEMBERS[1], _spooled(_lines(export.documents)))
    yield from _member(MEMBERS[2], _spooled(_lines(export.chunks)))
    shape = (export.rows, export.dimension)
    header = npy_header(np.dtype(np.float32), shape)
    size = len(header) + export.rows * export.dimension * 4
    yield _tar_header(MEMBERS[3], size) + header
    for block in export.vectors:
        yield np.ascontiguousarray(block, dtype="<f4").tobytes()
    yield _padding(size) + bytes(2 * tarfile.BLOCKSIZE)


def _lines(rows: Iterable[bytes]) -> Iterator[bytes]:
    for row in rows:
        yield row
        yield b"\n"


def _spooled(pieces: Iterable[bytes]) -> IO[bytes]:
    file = tempfile.SpooledTemporaryFile(max_size=_SPOOL, prefix="vdb-export-")  # noqa: SIM115 - closed by _member
    file.writelines(pieces)
    return file


def _member(name: str, content: IO[bytes]) -> Iterator[bytes]:
    with content:
        size = content.tell()
        content.seek(0)
        yield _tar_header(name, size)
        while piece := content.read(_PIECE):
            yield piece
        yield _padding(size)


def _tar_header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o644
    return info.tobuf(tarfile.GNU_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)


class Archive:
    """What an archive holds, parsed but not yet checked by the core."""

    __slots__ = ("chunks", "documents", "library", "vectors")

    def __init__(
        self,
        library: dict[str, object],
        documents: list[dict[str, object]],
        chunks: list[dict[str, object]],
        vectors: NDArray[np.generic],
    ) -> None:
        self.library = library
        self.documents = documents
        self.chunks = chunks
        self.vectors = vectors


def read_archive(file: IO[bytes], *, max_depth: int) -> Archive:
    """Read an archive. Nothing is unpacked to disk; members are found by name, and no other name is accepted.

    Raises:
        HttpProblem: 400 where it is no tar, or a member is not JSON.
        ValidationFailed: a member is missing, unknown, there twice, or not what it should be.
    """
    content: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                if member.name not in MEMBERS or not member.isreg():
                    expected = ", ".join(MEMBERS)
                    raise ValidationFailed.at(
                        "", f"the archive has {member.name!a}; it holds the files {expected}"
                    )
                if member.name in content:
                    raise ValidationFailed.at(f"/{member.name}", "this file is in the archive twice")
                stream = tar.extractfile(member)
                content[member.name] = b"" if stream is None else stream.read()
    except (tarfile.TarError, EOFError) as error:
        raise HttpProblem.of(
            HTTPStatus.BAD_REQUEST,
            "malformed_archive",
            f"The body is not a tar archive as export makes it ({error}). Send it whole and uncompressed.",
        ) from error
    missing = [
        Fault(f"/{name}", "this file is missing in the archive") for name in MEMBERS if name not in content
    ]
    if missing:
        raise ValidationFailed.of(missing)
    try:
        library = parse_object(content["library.json"], max_depth=max_depth)
    except HttpProblem as problem:
        raise problem.within("/library.json") from problem
    return Archive(
        library,
        json_lines(content.pop("documents.jsonl"), "/documents", max_depth=max_depth),
        json_lines(content.pop("chunks.jsonl"), "/chunks", max_depth=max_depth),
        read_npy_bytes(
            content.pop("vectors.npy"), allowed_dtypes={"float32", "float16"}, ndim=2, pointer="/vectors"
        ),
    )


def empty_file() -> IO[bytes]:
    """A file for an archive that arrives; in memory while it is small."""
    return tempfile.SpooledTemporaryFile(max_size=_SPOOL, prefix="vdb-import-")
