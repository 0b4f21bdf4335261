"""``vdb restore``: a backup is verified as a whole, the target is looked at, and only then is anything made."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from vdb_server.cli.backups import FORMAT_VERSION, MANIFEST, checksum_of, described, library_ids
from vdb_server.cli.importing import build_index
from vdb_server.cli.output import Failure, progress, warn
from vdb_server.cli.target import mapped

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from vdb_server.cli.target import Target

__all__ = ["read_backup", "restore_all"]

_MAX_MANIFEST: Final = 256 << 20
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def read_backup(source: Path, chosen: Sequence[str] | None) -> list[dict[str, Any]]:
    """Verify a backup; gives what it says of the libraries that are wanted, in the order of the backup.

    Raises:
        Failure: it is no backup, a file is missing or was altered, or a library that is asked for is not in it.
    """
    saved = _read_manifest(source / MANIFEST)
    if chosen:
        absent = sorted(set(chosen) - {one["id"] for one in saved})
        if absent:
            known = ", ".join(one["id"] for one in saved) or "none"
            raise Failure(f"not in the backup: {', '.join(absent)}. It has: {known}.")
        saved = [one for one in saved if one["id"] in chosen]
    with progress("verifying the backup", len(saved) or 1) as report:
        for number, one in enumerate(saved):
            report(number, what=f"verifying {one['file']}")
            found = described(source / one["file"])
            wrong = [name for name in found if found[name] != one.get(name)]
            if wrong:
                raise Failure(
                    f"{source / one['file']} is not what {MANIFEST} says: {', '.join(wrong)} differ. Nothing was restored."
                )
        report(len(saved))
    listed = {one["file"] for one in saved} | {MANIFEST}
    if not chosen:
        for path in sorted(source.iterdir()):
            if path.name not in listed:
                warn(f"vdb: {path} is not in {MANIFEST} and is left out.")
    return saved


def restore_all(
    target: Target, source: Path, saved: Sequence[dict[str, Any]], *, build: bool
) -> list[dict[str, Any]]:
    """Make the libraries; refuses where an id is taken, before anything is made."""
    there = {one.casefold(): one for one in library_ids(target)}
    taken = [there[one["id"].casefold()] for one in saved if one["id"].casefold() in there]
    if taken:
        raise Failure(
            f"the target has these libraries already, and they are not replaced: {', '.join(taken)}. Delete them first, "
            "choose others with --library, or bring one back under another id with vdb import. Nothing was restored."
        )
    done: list[str] = []
    with progress("restoring", len(saved) or 1) as report:
        for number, one in enumerate(saved):
            report(number, what=f"restoring {one['id']}")
            try:
                made = target.archives.upload(source / one["file"])
            except Failure as failure:
                before = f"restored before it: {', '.join(done)}" if done else "nothing was restored"
                raise Failure(
                    f"{one['id']} was not restored, and nothing of it is there ({before}): {failure}"
                ) from failure
            for name in ("id", "revision", "documents", "chunks"):
                if made[name] != one[name]:
                    raise Failure(
                        f"{one['id']} came back with {name} {made[name]!r}; the backup has {one[name]!r}."
                    )
            done.append(one["id"])
        report(len(saved), what="restoring")
    if build:
        for library in done:
            build_index(target, library)
    return list(saved)


def _read_manifest(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        raise Failure(f"{path.parent} is no backup: it has no {MANIFEST}.")
    with mapped(path) as view:
        if view.nbytes > _MAX_MANIFEST:
            raise Failure(f"{path} has {view.nbytes} bytes; expected at most {_MAX_MANIFEST}.")
        raw = bytes(view)
    try:
        manifest = json.loads(raw)
        version, checksum = manifest["format_version"], manifest["sha256"]
        libraries: list[dict[str, Any]] = list(manifest["libraries"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Failure(f"{path} is not what vdb backup writes ({error!r}). Nothing was restored.") from error
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise Failure(
            f"{path} has format version {version}; this vdb reads versions 1 to {FORMAT_VERSION}. "
            "Restore it with the newer vdb that wrote it."
        )
    if version != FORMAT_VERSION or checksum != checksum_of(manifest):
        raise Failure(f"{path} was altered: its checksum does not match. Nothing was restored.")
    for one in libraries:
        library = one["id"]
        if not isinstance(library, str) or not _ID.fullmatch(library) or one["file"] != f"{library}.tar":
            raise Failure(
                f"{path} names the library {library!r} and the file {one['file']!r}, which is no such pair."
            )
    return libraries
