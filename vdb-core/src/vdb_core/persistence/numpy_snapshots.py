"""The default snapshot store: generations of a library as ``.npy`` and JSON files in a directory.

::

    <data_dir>/
      _quarantine/<library_id>-<generation>-<time>/     generations set aside, each with a reason.txt
      _deleted-<library_id>-<time>/                     a library whose deletion was cut short; removed by the next write
      <library_id>/
        manifest.json                                   renamed last; see the module ``manifest``
        _deleted-<generation>/                          likewise
        <generation>/
          manifest.json                                 this generation's own entry, for when the one above is damaged
          vectors.npy  metadata.json  index/  ...       what SnapshotParts said

A generation is there when a manifest lists it *and* its directory stands under its number. So publishing is one
rename (of ``manifest.json``), and taking back, setting aside and deleting are one rename each (of a directory):
a crash at any point leaves the one state or the other. Whatever else lies around is swept by the next write.
"""

from __future__ import annotations

import re
import stat
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from vdb_core.errors import SnapshotDamaged, StorageFailed, StorageFull
from vdb_core.persistence.contracts import StoredSnapshot
from vdb_core.persistence.durable import Disk, told
from vdb_core.persistence.generation_files import GenerationWriter, read_plain_file, verify
from vdb_core.persistence.manifest import Generation, Manifest, decode, encode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from vdb_core.persistence.contracts import SnapshotParts

__all__ = ["NumpySnapshotStore"]

_LIBRARY_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_PART: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_GENERATION: Final = re.compile(r"0|[1-9][0-9]{0,17}")
_MANIFEST: Final = "manifest.json"
_QUARANTINE: Final = "_quarantine"
_DELETED: Final = "_deleted-"
_MAX_MANIFEST: Final = 64 << 20


class NumpySnapshotStore:
    """Keeps snapshots below a directory. Called by one thread at a time for one library."""

    def __init__(self, data_dir: Path, *, disk: Disk | None = None) -> None:
        """Look at ``data_dir`` later: it is created by the first write."""
        self._root: Path = data_dir
        self._disk: Disk = disk or Disk()

    # Reading

    def libraries(self) -> Sequence[str]:
        """Ids of libraries that have files here, the damaged ones included, sorted."""
        with told(f"list {self._root}"):
            if not self._root.is_dir():
                return ()
            return tuple(
                sorted(
                    path.name
                    for path in self._root.iterdir()
                    if _LIBRARY_ID.fullmatch(path.name)
                    and path.is_dir()
                    and (
                        _exists(path / _MANIFEST)
                        or any(_exists(item / _MANIFEST) for item in _numbered(path))
                    )
                )
            )

    def generations(self, library_id: str) -> Sequence[int]:
        """Generations that are complete, oldest first; none for a library that has no files here.

        Raises:
            SnapshotDamaged: the library was stored here, but nothing of it can be found any more.
            FormatUnsupported: a newer version wrote it.
        """
        return tuple(entry.generation for entry in self._listed(library_id))

    def header(self, library_id: str, generation: int) -> Mapping[str, object]:
        """Read the header alone; raises as :meth:`read`."""
        return self._entry(library_id, generation).header

    def read(self, library_id: str, generation: int) -> StoredSnapshot:
        """Open a generation, the size and checksum of each of its files verified.

        Raises:
            SnapshotDamaged: a file is missing, truncated, altered or no plain file, or there is no such generation.
            FormatUnsupported: a newer version wrote it.
            StorageFailed: the operating system refused to read.
        """
        entry = self._entry(library_id, generation)
        directory = self._directory(library_id) / str(generation)
        with told(f"read {directory}"):
            verify(directory, entry)
        return StoredSnapshot(
            generation=generation, header=entry.header, directory=directory, files=frozenset(entry.files)
        )

    # Writing

    def write(self, library_id: str, generation: int, parts: SnapshotParts) -> None:
        """Store a generation durably, or leave no trace of it.

        Older generations stay until :meth:`delete`.

        Raises:
            StorageFull: there is no room.
            StorageFailed: the storage refused.
            SnapshotDamaged: a file that ``unchanged`` names is not what it was.
            PluginError: a directory was filled with something else than plain files.
            ValueError: the number does not rise, or a name is unknown, doubled or no ``[a-z][a-z0-9_]*``.
        """
        directory = self._directory(library_id)
        with told(f"write generation {generation} of library {library_id!r} to {directory}"):
            known = self._look(library_id)
            listed = self._standing(known.manifest)
            if generation < 0 or (listed and generation <= listed[-1].generation):
                newest = listed[-1].generation if listed else "none"
                raise ValueError(
                    f"Generation {generation} of {library_id!r} must be above the newest one ({newest})."
                )
            base = _base(parts, listed)
            self._sweep(library_id, listed, trusted=known.intact)
            self._make_directories(directory)
            target = directory / str(generation)
            try:
                writer = GenerationWriter(self._disk, target)
                writer.write(
                    parts,
                    base=base,
                    base_directory=None if base is None else directory / str(base.generation),
                )
                entry = writer.finish(generation, dict(parts.header))
                self._disk.put(
                    target / _MANIFEST, encode(Manifest(library_id=library_id, generations=(entry,)))
                )
                self._disk.sync_directory(directory)
                self._publish(library_id, (*listed, entry))
            except BaseException:
                self._withdraw(directory, generation, known.raw)
                raise

    def delete(self, library_id: str, generation: int | None = None) -> None:
        """Remove a generation, or the whole library; the last generation takes the library with it.

        Works on a full disk. What is not there is no error.
        """
        directory = self._directory(library_id)
        with told(f"delete {directory}"):
            if not _exists(directory):
                return
            if generation is None:
                self._remove_library(directory)
                return
            target = directory / str(generation)
            if not _exists(target):
                return
            remaining = self._standing(self._look(library_id).manifest, but=generation)
            if not remaining:
                self._remove_library(directory)
                return
            self._set_aside(target, directory / f"{_DELETED}{generation}")
            # Only a reminder: a listed generation whose directory is gone does not count.
            with suppress(StorageFull, OSError):
                self._publish(library_id, remaining)

    def quarantine(self, library_id: str, generation: int, reason: str) -> None:
        """Move a generation to ``_quarantine``, with its reason in ``reason.txt``; works on a full disk."""
        directory = self._directory(library_id)
        target = directory / str(generation)
        with told(f"set {target} aside in {self._root / _QUARANTINE}"):
            if not _exists(target):
                return
            listed = self._standing(self._look(library_id).manifest)
            aside = self._to_quarantine(target, f"{library_id}-{generation}")
            remaining = tuple(entry for entry in listed if entry.generation != generation)
            with suppress(OSError):
                self._disk.put(aside / "reason.txt", f"{reason}\n".encode(errors="replace"))
                # A library whose last generation is set aside keeps a manifest that lists it: it is damaged, which
                # must not look as if it had never been there.
                self._publish(library_id, remaining or listed)

    def close(self) -> None:
        """Nothing is held between calls."""

    # What is there

    def _directory(self, library_id: str) -> Path:
        if not _LIBRARY_ID.fullmatch(library_id):
            raise StorageFailed(
                f"{library_id!r} cannot name a directory. Expected [A-Za-z0-9][A-Za-z0-9._-]{{0,127}}."
            )
        directory = self._root / library_id
        if directory.is_symlink():
            raise StorageFailed(
                f"{directory} is a symbolic link, which is not followed. Move the directory there."
            )
        return directory

    def _look(self, library_id: str) -> _Known:
        """Read the manifest, or where it is damaged put it together from the copies in the generations."""
        directory = self._directory(library_id)
        raw: bytes | None = None
        problem: SnapshotDamaged | None = None
        with told(f"read {directory / _MANIFEST}"):
            try:
                raw = read_plain_file(directory / _MANIFEST, limit=_MAX_MANIFEST)
                manifest = decode(raw, library_id=library_id, where=str(directory / _MANIFEST))
                return _Known(manifest=manifest, raw=raw)
            except (FileNotFoundError, NotADirectoryError):
                pass
            except SnapshotDamaged as error:
                problem = error
            found: list[Generation] = []
            for path in _numbered(directory):
                try:
                    data = read_plain_file(path / _MANIFEST, limit=_MAX_MANIFEST)
                    copy = decode(data, library_id=library_id, where=str(path / _MANIFEST))
                    found += [entry for entry in copy.generations if str(entry.generation) == path.name]
                except FileNotFoundError:
                    continue
                except SnapshotDamaged as error:
                    problem = problem or error
        intact = problem is None
        if found and intact:
            problem = SnapshotDamaged(
                f"{directory / _MANIFEST} is missing. The copies in its generations are used."
            )
        return _Known(
            manifest=Manifest(library_id=library_id, generations=tuple(found)),
            raw=raw,
            problem=problem,
            intact=intact,
        )

    def _standing(self, manifest: Manifest, *, but: int | None = None) -> tuple[Generation, ...]:
        """Give the listed generations whose directory is there."""
        directory = self._directory(manifest.library_id)
        return tuple(
            entry
            for entry in manifest.generations
            if entry.generation != but and _exists(directory / str(entry.generation))
        )

    def _listed(self, library_id: str) -> tuple[Generation, ...]:
        known = self._look(library_id)
        standing = self._standing(known.manifest)
        if not standing and known.problem is not None:
            raise known.problem
        if not standing and known.raw is not None:
            raise SnapshotDamaged(
                f"No generation of library {library_id!r} is left in {self._root / library_id}. Look into "
                f"{self._root / _QUARANTINE} for what was set aside, restore a backup, or delete the library."
            )
        return standing

    def _entry(self, library_id: str, generation: int) -> Generation:
        listed = self._listed(library_id)
        for entry in listed:
            if entry.generation == generation:
                return entry
        there = ", ".join(str(entry.generation) for entry in listed) or "none"
        raise SnapshotDamaged(f"Library {library_id!r} has no generation {generation}. Available: {there}.")

    # How it changes

    def _publish(self, library_id: str, generations: tuple[Generation, ...]) -> None:
        self._disk.put(
            self._directory(library_id) / _MANIFEST,
            encode(Manifest(library_id=library_id, generations=generations)),
        )

    def _make_directories(self, directory: Path) -> None:
        missing = [path for path in (directory, *directory.parents) if not path.is_dir()]
        for path in reversed(missing):
            with suppress(
                FileExistsError
            ):  # Another library is being written for the first time beside this one.
                self._disk.make_directory(path)
            self._disk.sync_directory(path.parent)

    def _withdraw(self, directory: Path, generation: int, before: bytes | None) -> None:
        """Undo a write that failed, wherever it stood; what cannot be removed now is swept by the next write."""
        manifest, target = directory / _MANIFEST, directory / str(generation)
        with suppress(OSError):
            self._disk.remove_file(directory / f"{_MANIFEST}.tmp")
            if before is None:
                # Before the generation's directory: a manifest that lists only what is gone would mean damage.
                self._disk.remove_file(manifest)
            if _exists(target):
                self._set_aside(target, directory / f"{_DELETED}{generation}")
            if before is None:
                self._disk.remove_directory(directory)
                self._disk.sync_directory(directory.parent)
            elif manifest.read_bytes() != before:
                self._disk.put(manifest, before)

    def _sweep(self, library_id: str, listed: tuple[Generation, ...], *, trusted: bool) -> None:
        """Remove what unfinished writes and deletions left.

        Where the manifest is not ``trusted``, an unlisted generation may be somebody's data: it is set aside.
        """
        for path in self._root.glob(f"{_DELETED}*"):
            self._disk.remove_tree(path)
        directory = self._root / library_id
        if not directory.is_dir():
            return
        kept = {str(entry.generation) for entry in listed}
        for path in sorted(directory.iterdir()):
            if path.name == _MANIFEST or path.name in kept:
                continue
            if path.name.startswith(_DELETED):
                self._disk.remove_tree(path)
            elif _GENERATION.fullmatch(path.name):
                if trusted:
                    self._set_aside(path, directory / f"{_DELETED}{path.name}")
                else:
                    self._to_quarantine(path, f"{library_id}-{path.name}")
        self._disk.remove_file(directory / f"{_MANIFEST}.tmp")

    def _set_aside(self, path: Path, name: Path) -> None:
        """Make a directory disappear in one step, then remove it."""
        if _exists(name):
            self._disk.remove_tree(name)
        self._disk.rename(path, name)
        self._disk.sync_directory(path.parent)
        self._disk.remove_tree(name)

    def _remove_library(self, directory: Path) -> None:
        self._set_aside(directory, self._root / f"{_DELETED}{directory.name}-{_now()}")

    def _to_quarantine(self, path: Path, name: str) -> Path:
        quarantine = self._root / _QUARANTINE
        self._make_directories(quarantine)
        aside = quarantine / f"{name}-{_now()}"
        self._disk.rename(path, aside)
        self._disk.sync_directory(quarantine)
        self._disk.sync_directory(path.parent)
        return aside


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What the manifest of a library says, or what its copies say in its place."""

    manifest: Manifest
    """Its generations may be gone: see ``_standing``."""

    raw: bytes | None
    """The bytes of ``manifest.json``; ``None`` where there is none."""

    problem: SnapshotDamaged | None = None
    """Why the copies had to be asked; ``None`` for an intact manifest, and where nothing was ever written."""

    intact: bool = True
    """Nothing is damaged: where there is no manifest, a crash came before the first one. What it does not list then, nor
    any copy, was never finished."""


def _base(parts: SnapshotParts, listed: tuple[Generation, ...]) -> Generation | None:
    """Check the names of all parts; give the generation that ``unchanged`` refers to."""
    fresh = [*parts.arrays, *parts.rows, *parts.directories]
    names = [*fresh, *parts.unchanged]
    wrong = sorted(
        {name for name in names if not _PART.fullmatch(name) or name == "manifest" or names.count(name) > 1}
    )
    if wrong:
        raise ValueError(
            f"Parts {wrong} are not usable. Expected each name once, as [a-z][a-z0-9_]*, not 'manifest'."
        )
    if not parts.unchanged:
        return None
    base = next((entry for entry in listed if entry.generation == parts.base_generation), None)
    if base is None:
        there = ", ".join(str(entry.generation) for entry in listed) or "none"
        raise ValueError(f"There is no generation {parts.base_generation} to link from. Available: {there}.")
    stored = {path.partition("/")[0].removesuffix(".npy").removesuffix(".json") for path in base.files}
    stored.update(path.partition("/")[0] for path in base.directories)
    unknown = sorted(parts.unchanged - stored)
    if unknown:
        raise ValueError(f"Generation {base.generation} has no parts {unknown}. Available: {sorted(stored)}.")
    return base


def _numbered(directory: Path) -> list[Path]:
    """Give the directories of generations, oldest first, the unpublished ones included."""
    if not directory.is_dir():
        return []
    found = [
        path for path in directory.iterdir() if _GENERATION.fullmatch(path.name) and not path.is_symlink()
    ]
    return sorted(found, key=lambda path: int(path.name))


def _exists(path: Path) -> bool:
    """Tell whether a name is taken, be it by a symbolic link that leads nowhere."""
    try:
        return stat.S_IFMT(path.lstat().st_mode) != 0
    except (FileNotFoundError, NotADirectoryError):
        return False


def _now() -> str:
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
