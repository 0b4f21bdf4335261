"""The archive that ``export`` makes and ``import`` takes: a plain tar of JSON and ``.npy``.

::

    library.json       the body of POST /v1/libraries, what only an export has (revision, times, counts), and
                       "archive": {"format_version": 2, "vdb": version}
    documents.jsonl    a document a line
    chunks.jsonl       a chunk a line, without its embedding
    vectors.npy        float32 [chunks, dim], row for row, as stored: unit rows under cosine
    norms.npy          float64 [chunks], cosine only: the length that each row had
    ids.npy            int64 [chunks], rising: where each chunk stands in lists
    SHA256SUMS         of all of the above, as sha256sum --check reads it; last, so that what was cut is noticed

An archive without ``"archive"`` is of format 1, or made by hand: the first four files, the vectors in the scale in which
they are given. Importing it makes a library that begins at revision 1; importing format 2 makes the exported one again,
bit for bit.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, cast

import numpy as np

from vdb_core.errors import Fault, FormatUnsupported, ValidationFailed
from vdb_core.persistence.npy import npy_header, read_npy_bytes
from vdb_core.services import Imported, Kept
from vdb_server import __version__
from vdb_server.chunks.ingest import json_lines
from vdb_server.errors import HttpProblem
from vdb_server.transfer.tar import END, MalformedTar, RefusedMember, padding, read_members, tar_header
from vdb_server.wire.json_body import parse_object
from vdb_server.wire.replies import dump

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from vdb_core.services import Export

__all__ = ["FORMAT_VERSION", "MEMBERS", "SUMS", "check_archive", "read_archive", "write_archive"]

FORMAT_VERSION: Final = 2
"""The version that this code writes; it reads this one and every older one."""

MEMBERS: Final = ("library.json", "documents.jsonl", "chunks.jsonl", "vectors.npy")
"""What every archive has."""

SUMS: Final = "SHA256SUMS"
_KEPT: Final = ("norms.npy", "ids.npy")
_ALL: Final = (*MEMBERS, *_KEPT, SUMS)
_SPOOL: Final = 16 << 20
_PIECE: Final = 1 << 20
_MAX_LIBRARY: Final = 4 << 20
_SUM: Final = re.compile(r"([0-9a-f]{64}) [ *](\S{1,100})")


def write_archive(export: Export) -> Iterator[bytes]:
    """Make the archive piece by piece.

    A member's size stands before its content: JSON Lines are spooled to learn theirs (to a temporary file when they
    are long), the sizes of arrays are known.
    """
    sums: dict[str, str] = {}
    library = {**export.library, "archive": {"format_version": FORMAT_VERSION, "vdb": __version__}}
    yield from _spooled("library.json", [dump(library)], sums)
    yield from _spooled("documents.jsonl", _lines(export.documents), sums)
    yield from _spooled("chunks.jsonl", _lines(export.chunks), sums)
    rows = export.rows
    yield from _array("vectors.npy", np.float32, (rows, export.dimension), export.vectors, sums)
    if export.norms is not None:
        yield from _array("norms.npy", np.float64, (rows,), export.norms, sums)
    yield from _array("ids.npy", np.int64, (rows,), export.row_ids, sums)
    text = "".join(f"{digest}  {name}\n" for name, digest in sums.items()).encode()
    yield tar_header(SUMS, len(text)) + text + padding(len(text)) + END


def _lines(rows: Iterable[bytes]) -> Iterator[bytes]:
    for row in rows:
        yield row
        yield b"\n"


def _spooled(name: str, pieces: Iterable[bytes], sums: dict[str, str]) -> Iterator[bytes]:
    digest = hashlib.sha256()
    with tempfile.SpooledTemporaryFile(max_size=_SPOOL, prefix="vdb-export-") as file:
        file.writelines(pieces)
        size = file.tell()
        file.seek(0)
        yield tar_header(name, size)
        while piece := file.read(_PIECE):
            digest.update(piece)
            yield piece
    yield padding(size)
    sums[name] = digest.hexdigest()


def _array(
    name: str,
    dtype: type[np.generic],
    shape: tuple[int, ...],
    blocks: Iterable[NDArray[np.generic]],
    sums: dict[str, str],
) -> Iterator[bytes]:
    kind = np.dtype(dtype).newbyteorder("<")
    header = npy_header(kind, shape)
    digest = hashlib.sha256(header)
    size = len(header) + int(np.prod(shape)) * kind.itemsize
    yield tar_header(name, size) + header
    for block in blocks:
        piece = np.ascontiguousarray(block, dtype=kind).tobytes()
        digest.update(piece)
        yield piece
    yield padding(size)
    sums[name] = digest.hexdigest()


def read_archive(archive: memoryview, *, max_depth: int) -> Imported:
    """Read an archive. Nothing is unpacked to disk; members are found by name, and no other name is accepted.

    Args:
        archive: all of it; arrays of the answer are views of it.
        max_depth: deepest nesting of JSON.

    Raises:
        HttpProblem: 400 where it is no tar, or a member is not JSON.
        ValidationFailed: a member is missing, unknown, there twice, altered, or not what it should be.
        FormatUnsupported: a newer vdb wrote it.
    """
    content = _members(archive)
    library = _library(content["library.json"], max_depth)
    described = library.pop("archive", None)
    kept = described is not None
    if kept:
        _check_format(described)
    _check_members(content, library, kept=kept)
    if SUMS in content:
        _check_sums(content)
    types = {"float32"} if kept else {"float32", "float16"}
    vectors = read_npy_bytes(content["vectors.npy"], allowed_dtypes=types, ndim=2, pointer="/vectors")
    _check_line_count(content["chunks.jsonl"], len(vectors))
    return Imported(
        library=library,
        documents=json_lines(bytes(content["documents.jsonl"]), "/documents", max_depth=max_depth),
        chunks=json_lines(bytes(content["chunks.jsonl"]), "/chunks", max_depth=max_depth),
        vectors=vectors,
        kept=_kept(content) if kept else None,
    )


def check_archive(archive: memoryview, *, max_depth: int = 64) -> dict[str, object]:
    """Verify the checksums of an archive of the present format; gives ``library.json``, and parses nothing else.

    Raises as ``read_archive``.
    """
    content = _members(archive)
    library = _library(content["library.json"], max_depth)
    _check_format(library.pop("archive", None))
    _check_members(content, library, kept=True)
    _check_sums(content)
    return library


def _members(archive: memoryview) -> dict[str, memoryview]:
    try:
        content = read_members(archive, _ALL)
    except RefusedMember as refused:
        raise ValidationFailed.at(
            "", f"the archive has {refused.name!a}: {refused}; it holds the files {', '.join(_ALL)}"
        ) from refused
    except MalformedTar as error:
        raise HttpProblem.of(
            HTTPStatus.BAD_REQUEST,
            "malformed_archive",
            f"The body is not a tar archive as export makes it: {error}. Send it whole and uncompressed.",
        ) from error
    _require(content, MEMBERS)
    return content


def _require(content: Mapping[str, memoryview], names: Iterable[str]) -> None:
    missing = [
        Fault(f"/{name}", "this file is missing in the archive") for name in names if name not in content
    ]
    if missing:
        raise ValidationFailed.of(missing)


def _library(content: memoryview, max_depth: int) -> dict[str, object]:
    if content.nbytes > _MAX_LIBRARY:
        raise ValidationFailed.at(
            "/library.json", f"expected at most {_MAX_LIBRARY} bytes; received {content.nbytes}"
        )
    try:
        return parse_object(bytes(content), max_depth=max_depth)
    except HttpProblem as problem:
        raise problem.within("/library.json") from problem


def _check_format(described: object) -> None:
    version = (
        cast("dict[str, object]", described).get("format_version") if isinstance(described, dict) else None
    )
    if type(version) is not int or version < FORMAT_VERSION:
        raise ValidationFailed.at(
            "/library/archive", f"expected the format version {FORMAT_VERSION}; received {described!r}"
        )
    if version > FORMAT_VERSION:
        raise FormatUnsupported(
            f"The archive has format version {version}; this vdb reads versions 1 to {FORMAT_VERSION}. "
            f"Import it with the newer vdb that wrote it."
        )


def _check_members(content: Mapping[str, memoryview], library: Mapping[str, object], *, kept: bool) -> None:
    """Compare the files that are there with those that an archive of its format has."""
    expected = {"ids.npy", SUMS} if kept else set[str]()
    if kept and library.get("metric") == "cosine":
        expected.add("norms.npy")
    _require(content, sorted(expected))
    surplus = sorted(content.keys() - expected - {*MEMBERS, SUMS})
    if surplus:
        raise ValidationFailed.of(
            [Fault(f"/{name}", "this file does not belong to such an archive") for name in surplus]
        )


def _check_sums(content: Mapping[str, memoryview]) -> None:
    text = bytes(content[SUMS][: 64 << 10]).decode("utf-8", "replace")
    listed: dict[str, str] = {}
    for line in text.splitlines():
        found = _SUM.fullmatch(line)
        if found is None or found[2] in listed:
            raise ValidationFailed.at(
                f"/{SUMS}", f"expected lines as sha256sum writes them; received {line[:100]!a}"
            )
        listed[found[2]] = found[1]
    faults: list[Fault] = []
    for name in sorted(content.keys() - {SUMS} | listed.keys()):
        if name not in content or name not in listed:
            faults.append(Fault(f"/{name}", f"it is in one of the archive and {SUMS}, and not in the other"))
        elif hashlib.sha256(content[name]).hexdigest() != listed[name]:
            faults.append(Fault(f"/{name}", f"it was altered: its checksum is not the one in {SUMS}"))
    if faults:
        raise ValidationFailed.of(faults)


def _check_line_count(chunks: memoryview, rows: int) -> None:
    """Compare lines with rows before the lines are parsed: each becomes many times its size in objects."""
    lines = bytes(chunks).count(b"\n")
    if lines > rows + 1:
        raise ValidationFailed.at(
            "/chunks", f"expected one row a chunk; received {rows} vectors and {lines} lines of chunks"
        )


def _kept(content: Mapping[str, memoryview]) -> Kept:
    norms = content.get("norms.npy")
    row_ids = read_npy_bytes(content["ids.npy"], allowed_dtypes={"int64"}, ndim=1, pointer="/ids")
    return Kept(
        norms=None
        if norms is None
        else cast(
            "NDArray[np.float64]",
            read_npy_bytes(norms, allowed_dtypes={"float64"}, ndim=1, pointer="/norms"),
        ),
        row_ids=cast("NDArray[np.int64]", row_ids),
    )
