"""``vdb export`` and ``vdb backup``: archives of libraries, written beside their place and moved there when they are whole.

::

    DEST/
      backup.json        what is in it: versions, and of each library its revision, counts, and the file's bytes and sha256
      <library_id>.tar   an archive as ``GET …/export`` makes it

Each library is as of one revision; two libraries may be as of two moments.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from vdb_server import __version__
from vdb_server.cli.output import Failure, progress, warn
from vdb_server.cli.target import Refusal, mapped, segment
from vdb_server.transfer.archive import check_archive

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from vdb_server.cli.target import Target

__all__ = [
    "FORMAT_VERSION",
    "MANIFEST",
    "back_up",
    "checksum_of",
    "described",
    "export_archive",
    "library_ids",
]

MANIFEST: Final = "backup.json"
FORMAT_VERSION: Final = 1
"""The version of a backup that this code writes; it reads this one and every older one."""


def checksum_of(manifest: dict[str, Any]) -> str:
    """What ``backup.json`` says of itself: the sha256 of the rest of it, as JSON with sorted keys and no spaces."""
    rest = {name: value for name, value in manifest.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def described(archive: Path) -> dict[str, Any]:
    """Verify an archive and say what is in it."""
    from vdb_core.errors import VdbError
    from vdb_server.errors import HttpProblem

    with mapped(archive) as view:
        try:
            library = check_archive(view)
        except VdbError as error:
            raise Failure(f"{archive} is not what export writes: {error}") from error
        except HttpProblem as error:
            raise Failure(f"{archive} is not what export writes: {error.problem.detail}") from error
        digest = hashlib.sha256(view).hexdigest()
        size = view.nbytes
    kept = ("id", "name", "revision", "metric", "dimension", "index", "documents", "chunks")
    return {**{name: library.get(name) for name in kept}, "bytes": size, "sha256": digest}


def export_archive(target: Target, library: str, file: Path) -> dict[str, Any]:
    """Write the archive of a library to a file that does not exist yet; says what is in it."""
    _refuse_existing(file)
    partial = file.with_name(f"{file.name}.part-{secrets.token_hex(4)}")
    with _written(file):
        try:
            with progress(f"exporting {library}"):
                found = _download(target, library, partial)
            _refuse_existing(file)
            partial.rename(file)
            _sync_directory(file.parent)
        finally:
            partial.unlink(missing_ok=True)
    return found


def back_up(target: Target, destination: Path, chosen: Sequence[str] | None) -> dict[str, Any]:
    """Write an archive of each library and the manifest; gives the manifest.

    Raises:
        Failure: the destination exists, a library cannot be read, or there is no room. Nothing is left then.
    """
    _refuse_existing(destination)
    ids = list(dict.fromkeys(chosen)) if chosen else library_ids(target)
    partial = destination.with_name(f"{destination.name}.part-{secrets.token_hex(4)}")
    with _written(destination):
        destination.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir()
        try:
            manifest = _fill(target, partial, ids, named=bool(chosen))
            _refuse_existing(destination)
            partial.rename(destination)
            _sync_directory(destination.parent)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    return manifest


def library_ids(target: Target) -> list[str]:
    """Ids of all libraries; a failure where one is there and cannot be read."""
    ids: list[str] = []
    cursor = ""
    while cursor is not None:
        page = target.json("GET", f"/v1/libraries?limit=1000{cursor and '&cursor=' + segment(cursor)}")
        ids += [one["id"] for one in page["items"]]
        cursor = page["next_cursor"]
    damaged = target.json("GET", "/readyz").get("damaged_libraries") or []
    if damaged:
        raise Failure(
            f"these libraries cannot be read: {', '.join(damaged)}. Repair them first (vdb check, vdb repair), or name "
            "those that are to be saved with --library."
        )
    return ids


def _fill(target: Target, directory: Path, ids: Sequence[str], *, named: bool) -> dict[str, Any]:
    saved: list[dict[str, Any]] = []
    with progress("backing up", len(ids) or 1) as report:
        for number, library in enumerate(ids):
            report(number, what=f"backing up {library}")
            name = f"{library}.tar"
            try:
                found = _download(target, library, directory / name)
            except Refusal as refused:
                if named or refused.reason != "library_not_found":
                    raise
                (directory / name).unlink(missing_ok=True)
                warn(f"vdb: {library} was deleted meanwhile and is not in the backup.")
                continue
            if found["id"] != library:
                raise Failure(f"asked for library {library} and received {found['id']!r}.")
            saved.append({**found, "file": name})
        report(len(ids), what="backing up")
    manifest: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "vdb": __version__,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "libraries": saved,
    }
    manifest["sha256"] = checksum_of(manifest)
    with (directory / MANIFEST).open("xb") as file:
        file.write(json.dumps(manifest, indent=2).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    _sync_directory(directory)
    return manifest


def _download(target: Target, library: str, file: Path) -> dict[str, Any]:
    with file.open("xb") as sink:
        target.archives.download(library, sink)
        sink.flush()
        os.fsync(sink.fileno())
    return described(file)


def _refuse_existing(path: Path) -> None:
    if path.exists() or path.is_symlink():
        raise Failure(f"{path} exists already and is not replaced: name another place, or move it away.")


@contextmanager
def _written(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise Failure(
            f"{path} cannot be written: {error.strerror or error}. Nothing was left there."
        ) from error


def _sync_directory(path: Path) -> None:
    from vdb_core.persistence.durable import Disk

    # A file system that cannot do it for directories has its own way to keep names.
    with suppress(OSError):
        Disk().sync_directory(path)
