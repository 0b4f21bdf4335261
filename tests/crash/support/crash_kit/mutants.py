"""Ways to break what keeps data safe: each a small edit of a copy of the sources, and the checks that should notice it.

An edit names text that occurs once in its file; where it does not any more, applying it fails, and so does the test.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MUTANTS", "Mutant", "apply_to_copy"]


@dataclass(frozen=True, slots=True)
class Mutant:
    """One way to break it."""

    name: str
    checks: tuple[str, ...]
    """See ``checks``: those that should notice it, the quickest first."""
    edits: tuple[tuple[str, str, str], ...]
    """File below ``vdb_core``, text, and what takes its place."""


def apply_to_copy(mutant: Mutant, package: Path, folder: Path) -> None:
    """Copy a package into a folder, and break the copy.

    Raises:
        ValueError: an edit does not apply.
    """
    copied = folder / package.name
    shutil.copytree(package, copied, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    for name, old, new in mutant.edits:
        file = copied / name
        text = file.read_text(encoding="utf-8")
        if text.count(old) != 1:
            raise ValueError(
                f"Mutant {mutant.name!r} does not apply: {old!r} occurs {text.count(old)} times in {name}; expected "
                f"once. Mend the edit in {__file__}."
            )
        file.write_text(text.replace(old, new), encoding="utf-8")


def _mutant(name: str, checks: str, *edits: tuple[str, str, str]) -> Mutant:
    return Mutant(name, tuple(part.strip() for part in checks.split(",")), edits)


_DURABLE = "persistence/durable.py"
_WRITER = "persistence/generation_files.py"
_STORE = "persistence/numpy_snapshots.py"
_MANIFEST = "persistence/manifest.py"
_FILE = "persistence/sqlite_file.py"
_GUARD = "persistence/sqlite_guard.py"
_JOURNAL = "persistence/sqlite_journal.py"
_FILES = "persistence/journal_files.py"
_ROWS = "persistence/journal_rows.py"
_STORAGE = "engine/storage.py"
_OPENING = "engine/opening.py"
_COMMITTER = "engine/committer.py"
_TROUBLE = "engine/trouble.py"

MUTANTS: tuple[Mutant, ...] = (
    # ---- fsync
    _mutant(
        "no fsync of what was written",
        "power long",
        (_DURABLE, "        os.fsync(file.fileno())\n", "        del file\n"),
    ),
    _mutant(
        "no fsync of a generation's files",
        "power long",
        (
            _WRITER,
            "            self._disk.sync_file(file)\n        self._files[path]",
            "        self._files[path]",
        ),
    ),
    _mutant(
        "no fsync of what a plugin saved",
        "power long",
        (_WRITER, "                self._disk.sync_path(self._directory / inner)\n", ""),
    ),
    _mutant(
        "no fsync of the directory that a plugin filled",
        "power long",
        (
            _WRITER,
            "            self._disk.sync_directory(self._directory / path)\n",
            "            del path\n",
        ),
    ),
    _mutant(
        "no fsync of a manifest",
        "power long",
        (
            _DURABLE,
            "            self.write(file, data)\n            self.sync_file(file)\n",
            "            self.write(file, data)\n",
        ),
    ),
    _mutant(
        "no fsync of any directory",
        "power long",
        (
            _DURABLE,
            "os.open(path, os.O_RDONLY | os.O_DIRECTORY)\n        try:\n            os.fsync(descriptor)\n",
            "os.open(path, os.O_RDONLY | os.O_DIRECTORY)\n        try:\n            pass\n",
        ),
    ),
    _mutant(
        "no fsync of the directory after a manifest's rename",
        "power long",
        (
            _DURABLE,
            "        self.rename(temporary, path)\n        self.sync_directory(path.parent)\n",
            "        self.rename(temporary, path)\n",
        ),
    ),
    _mutant(
        "no fsync of the name of a new library",
        "power long",
        (
            _STORE,
            "                self._disk.make_directory(path)\n            self._disk.sync_directory(path.parent)\n",
            "                self._disk.make_directory(path)\n",
        ),
    ),
    _mutant(
        "no fsync of the directory before its old name's journal is trimmed",
        "power long",
        (
            _STORE,
            "        self._disk.rename(path, name)\n        self._disk.sync_directory(path.parent)\n",
            "        self._disk.rename(path, name)\n",
        ),
    ),
    _mutant(
        "no fsync of a commit",
        "power long",
        (_JOURNAL, '"FULL" if fsync else "NORMAL"', '"NORMAL"'),
    ),
    _mutant(
        "no fsync of an entry's own file",
        "power long",
        (_FILES, "            self._disk.sync_file(file)\n", ""),
    ),
    _mutant(
        "no fsync of the directory of entries' files",
        "power long",
        (_FILES, "                self._disk.sync_directory(self._directory)\n", ""),
    ),
    _mutant(
        "no fsync of the name of that directory",
        "power birth, power long",
        (_FILES, "            self._disk.sync_directory(self._directory.parent)\n", ""),
    ),
    _mutant(
        "no fsync of the directory of the journal's log",
        "flush",
        (_FILE, "                Disk().sync_directory(path.parent)\n", "                pass\n"),
    ),
    _mutant(
        "the log of a crash is believed as it is",
        "flush",
        (_FILE, "    renew_log(path)\n", ""),
    ),
    _mutant(
        "no fsync of a renewed log",
        "power long, flush",
        (_GUARD, "                disk.sync_file(new)\n", ""),
    ),
    # ---- order
    _mutant(
        "a manifest is renamed before it is synced",
        "power long",
        (
            _DURABLE,
            "            self.write(file, data)\n            self.sync_file(file)\n        self.rename(temporary, path)\n",
            "            self.write(file, data)\n            self.rename(temporary, path)\n            self.sync_file(file)\n",
        ),
    ),
    _mutant(
        "a new journal has its name before it is whole",
        "power birth",
        (_FILE, "    disk.sync_path(fresh)\n    fresh.replace(path)\n", "    fresh.replace(path)\n"),
        (
            _FILE,
            'pragma(connection, f"page_size={_PAGE_BYTES}")\n',
            'pragma(connection, f"page_size={_PAGE_BYTES}")\n    _ = pragma(connection, "synchronous=OFF")\n',
        ),
    ),
    _mutant(
        "an entry's row is committed before its file is written",
        "power long",
        (_JOURNAL, "            self._files.write(filed)\n", ""),
        (
            _JOURNAL,
            "                self._commit(connection)\n            except BaseException as error:\n                self._undo(connection, error)\n                if not",
            "                self._commit(connection)\n                self._files.write(filed)\n            except BaseException as error:\n                self._undo(connection, error)\n                if not",
        ),
    ),
    _mutant(
        "published before the journal has it",
        "sweep",
        (
            _COMMITTER,
            "            self._flight = group\n            self._writer.append(operations)\n",
            "            self._publish(group, self.position)\n            self._flight = Group()\n            self._writer.append(operations)\n",
        ),
    ),
    _mutant(
        "a group that the journal refused is published",
        "sweep",
        (
            _COMMITTER,
            "            self._fail(group, outcome.error)\n            return\n",
            "            self._publish(group, self.position)\n            return\n",
        ),
    ),
    _mutant(
        "acknowledged whatever the journal said",
        "sweep",
        (
            _JOURNAL,
            "                    self._files.drop(filed)\n                raise\n",
            "                    self._files.drop(filed)\n",
        ),
    ),
    # ---- checksums
    _mutant(
        "no checksum of a generation's files",
        "damage snapshots",
        (
            _WRITER,
            '        if checksum_text(crc) != entry.checksum:\n            raise SnapshotDamaged(\n                f"{file} was altered',
            '        if checksum_text(crc) == "":\n            raise SnapshotDamaged(\n                f"{file} was altered',
        ),
    ),
    _mutant(
        "no checksum of a manifest",
        "damage snapshots",
        (
            _MANIFEST,
            '        if checksum != _checksum(content):\n            raise _Nonsense("its checksum',
            '        if checksum == "":\n            raise _Nonsense("its checksum',
        ),
    ),
    _mutant(
        "no checksum of a journal's entry",
        "damage journal",
        (_ROWS, "    if checksum != raw.checksum or (", "    if ("),
    ),
    _mutant(
        "no chain of the journal's entries",
        "damage journal",
        (
            _ROWS,
            "            if raw.previous > floor or (found and raw.previous != floor):\n",
            "            if raw.previous < 0:\n",
        ),
        (_ROWS, "    if complete and (last > floor or (found and state is None)):\n", "    if last < 0:\n"),
    ),
    # ---- guards
    _mutant(
        "the journal is trimmed behind the newest generation",
        "damage engine",
        (
            _STORAGE,
            "self._journal.trim(library_id, state.generation_positions[kept[0]])",
            "self._journal.trim(library_id, state.generation_positions[kept[-1]])",
        ),
    ),
    _mutant(
        "one generation is kept",
        "damage engine",
        (_STORAGE, "sorted(state.generation_positions)[-2:]", "sorted(state.generation_positions)[-1:]"),
        (_STORAGE, "if len(kept) == 2 and self._journal is not None", "if self._journal is not None"),
    ),
    _mutant(
        "written on after a failed fsync",
        "flush",
        (_JOURNAL, "        return self._broken\n", "        return None\n"),
        (
            _TROUBLE,
            "        if isinstance(error, StorageBroken):\n            self._remember(str(error))\n",
            "        del error\n",
        ),
        (
            _TROUBLE,
            "        if isinstance(error, StorageFailed):\n            self._remember(str(error))\n",
            "        del error\n",
        ),
        (_JOURNAL, "            if self._broken is not None:\n", "            if not self:\n"),
    ),
    _mutant(
        "a deletion is answered by what its files did",
        "sweep",
        (
            _STORAGE,
            '            self.trouble.report(error)\n            _log.error("library %r is deleted',
            '            raise\n            _log.error("library %r is deleted',
        ),
    ),
)
