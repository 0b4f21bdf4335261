"""Looks at the files of one library: its manifest, the copies in its generations, every file's size and checksum."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final, cast

from vdb_core.errors import FormatUnsupported, SnapshotDamaged, VdbError
from vdb_core.maintenance.report import GenerationReport, LibraryReport
from vdb_core.persistence.durable import told
from vdb_core.persistence.generation_files import read_plain_file, verify
from vdb_core.persistence.manifest import decode

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from vdb_core.maintenance.report import CheckReport
    from vdb_core.persistence.manifest import Generation, Manifest

__all__ = ["MANIFEST", "copies_of", "look_at_library", "numbered", "read_manifest"]

MANIFEST: Final = "manifest.json"
_GENERATION: Final = re.compile(r"0|[1-9][0-9]{0,17}")
_MAX_MANIFEST: Final = 64 << 20


def read_manifest(path: Path, library_id: str) -> Manifest | None:
    """Read a manifest; none where there is none.

    Raises:
        SnapshotDamaged: it is damaged.
        FormatUnsupported: a newer version wrote it.
    """
    with told(f"read {path}"):
        try:
            return decode(read_plain_file(path, limit=_MAX_MANIFEST), library_id=library_id, where=str(path))
        except FileNotFoundError:
            return None


def numbered(directory: Path) -> list[Path]:
    """The directories of generations, oldest first, whether listed or not."""
    if not directory.is_dir():
        return []
    found = [
        path
        for path in directory.iterdir()
        if _GENERATION.fullmatch(path.name) and path.is_dir() and not path.is_symlink()
    ]
    return sorted(found, key=lambda path: int(path.name))


def copies_of(directory: Path, library_id: str) -> dict[int, Generation]:
    """What the generations say of themselves, where that can be read."""
    found: dict[int, Generation] = {}
    for path in numbered(directory):
        try:
            copy = read_manifest(path / MANIFEST, library_id)
        except VdbError:
            continue
        for entry in copy.generations if copy is not None else ():
            if str(entry.generation) == path.name:
                found[entry.generation] = entry
    return found


def look_at_library(data_dir: Path, library_id: str, result: CheckReport) -> LibraryReport:
    """Check everything that lies under a library's name; what is wrong becomes findings."""
    directory = data_dir / library_id
    library = LibraryReport(id=library_id)
    if not directory.is_dir():
        return library
    listed: dict[int, Generation] = {}
    trusted = False
    copies = copies_of(directory, library_id)
    try:
        manifest = read_manifest(directory / MANIFEST, library_id)
    except FormatUnsupported as error:
        result.add("error", f"{library_id}/{MANIFEST}", str(error))
        return library
    except SnapshotDamaged as error:
        result.add(
            "warning", f"{library_id}/{MANIFEST}", f"{error} The copies in its generations would be used."
        )
    else:
        if manifest is None and numbered(directory):
            result.add(
                "warning",
                f"{library_id}/{MANIFEST}",
                "it is missing; the copies in its generations would be used",
            )
        elif manifest is not None:
            trusted = True
            listed = {entry.generation: entry for entry in manifest.generations}
    known = listed if trusted else copies
    for path in numbered(directory):
        number = int(path.name)
        library.generations.append(_look_at(path, number, known, listed=trusted and number in listed))
        _tell(library_id, library.generations[-1], copies, result, trusted=trusted)
        entry = known.get(number)
        if entry is not None:
            _name_unknown(path, library_id, entry, result)
    for number in sorted(known.keys() - {one.generation for one in library.generations}):
        result.add("warning", f"{library_id}/{number}", "the manifest lists it, and it is not there")
    for path in sorted(directory.iterdir()):
        if path.name == MANIFEST or (_GENERATION.fullmatch(path.name) and path.is_dir()):
            continue
        if path.name.startswith("_deleted-") or path.name == f"{MANIFEST}.tmp":
            text = "left by an interrupted write or deletion; the next snapshot removes it"
        else:
            text = "not vdb's; the next snapshot leaves it alone"
        result.add("note", f"{library_id}/{path.name}", text)
    return library


def _look_at(path: Path, number: int, known: Mapping[int, Generation], *, listed: bool) -> GenerationReport:
    entry = known.get(number)
    found = GenerationReport(generation=number, listed=listed)
    if entry is None:
        found.problem = "no manifest describes it: an interrupted write left it"
        return found
    found.files = len(entry.files)
    found.bytes = sum(file.size for file in entry.files.values())
    header = entry.header
    position, info = header.get("journal_position"), header.get("library")
    found.journal_position = position if isinstance(position, int) else None
    if isinstance(info, dict):
        revision = cast("dict[str, object]", info).get("revision")
        found.revision = revision if isinstance(revision, int) else None
    try:
        with told(f"read {path}"):
            verify(path, entry)
    except VdbError as error:
        found.problem = str(error)
    return found


def _tell(
    library_id: str,
    found: GenerationReport,
    copies: Mapping[int, Generation],
    result: CheckReport,
    *,
    trusted: bool,
) -> None:
    place = f"{library_id}/{found.generation}"
    if found.problem is not None:
        # A damaged one that counts is told again by what recovery makes of it.
        result.add("warning" if found.listed or not trusted else "note", place, found.problem)
    elif found.generation not in copies:
        result.add("warning", f"{place}/{MANIFEST}", "its own copy of the manifest is missing or damaged")


def _name_unknown(path: Path, library_id: str, entry: Generation, result: CheckReport) -> None:
    """Name files that the manifest does not."""
    expected = {*entry.files, MANIFEST}
    for folder, _, names in os.walk(path):
        for name in sorted(names):
            relative = os.path.relpath(os.path.join(folder, name), path).replace(os.sep, "/")  # noqa: PTH118 - of walk
            if relative not in expected:
                result.add("note", f"{library_id}/{path.name}/{relative}", "no manifest names it; harmless")
