"""Makes openable what is not, in steps that are told before they are made; nothing is destroyed.

::

    damaged journal       the sound entries go into a new one; the old file and its log into _quarantine/journal-<time>/
    damaged generation    to _quarantine/, where an older one and the journal (or nothing at all) takes its place
    damaged manifest      made anew of the copies in the generations that verify; the old one to _quarantine/
    leftovers             of interrupted writes and deletions: removed

The new journal takes its place so that a crash at any moment leaves either journal whole: it is written under another
name, the old files are copied to quarantine and marked, and from the mark on a later repair finishes the exchange.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

from vdb_core.engine.answers import ANSWERS
from vdb_core.engine.storage import Storage
from vdb_core.errors import VdbError
from vdb_core.maintenance.check import check_locked, lock_of
from vdb_core.maintenance.generations import MANIFEST, copies_of, read_manifest
from vdb_core.maintenance.reading import ReadJournal, ReadStore, journal_connection
from vdb_core.maintenance.salvage import Salvaged, salvage
from vdb_core.persistence import lock_directory
from vdb_core.persistence.durable import Disk, told
from vdb_core.persistence.journal_files import ENTRIES, EntryFiles, entry_files
from vdb_core.persistence.journal_rows import filed_positions
from vdb_core.persistence.kept_by import JOURNAL
from vdb_core.persistence.manifest import Manifest, encode
from vdb_core.persistence.numpy_snapshots import NumpySnapshotStore
from vdb_core.plugins import PluginManager

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from vdb_core.maintenance.report import CheckReport, LibraryReport

__all__ = ["Action", "Repair", "plan_repair"]

_QUARANTINE: Final = "_quarantine"
_MARK: Final = "to-be-exchanged"
_REPAIRED: Final = f"{JOURNAL}.repaired"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One step."""

    place: str
    """What it changes, relative to the data directory, or the library."""

    text: str
    """What it does."""

    loses: str | None = None
    """What is not there afterwards that a sound directory would have; what it replaces is kept in any case."""

    run: Callable[[], None]

    def to_json(self) -> dict[str, object]:
        """As JSON has it."""
        return {"place": self.place, "text": self.text, "loses": self.loses}


@final
@dataclass(slots=True, kw_only=True)
class Repair:
    """What was found, what would be done, and what cannot be."""

    data_dir: Path
    report: CheckReport
    actions: list[Action] = field(default_factory=list)
    hopeless: dict[str, str] = field(default_factory=dict)
    """Libraries that will not open afterwards either, and why; their files stay as they are."""

    def apply(self) -> CheckReport:
        """Make every step, in order; gives what a check finds afterwards."""
        for action in self.actions:
            with told(f"repair {action.place}"):
                action.run()
        return check_locked(self.data_dir)

    def to_json(self) -> dict[str, object]:
        """As JSON has it."""
        return {
            "directory": str(self.data_dir),
            "actions": [one.to_json() for one in self.actions],
            "hopeless": self.hopeless,
        }


@contextmanager
def plan_repair(
    data_dir: Path, *, writing: bool, report: Callable[[float, str], None] = lambda _done, _what: None
) -> Generator[Repair]:
    """Check a directory and say what would repair it; the directory stays locked within.

    Args:
        data_dir: the directory.
        writing: whether ``apply`` will be called; without it nothing is written at all.
        report: as ``check_directory`` has it.

    Raises:
        StorageFailed: there is no such directory, or it cannot be read.
        DataDirectoryLocked: an engine has it open.
    """
    with ExitStack() as held:
        lock = lock_of(data_dir)
        if lock is not None:
            held.enter_context(lock)
        elif writing:
            held.enter_context(lock_directory(data_dir))
        scratch = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="vdb-repair-")))
        repair = Repair(data_dir=data_dir, report=check_locked(data_dir, report=report))
        _Planner(repair, scratch).plan()
        yield repair


@final
class _Planner:
    def __init__(self, repair: Repair, scratch: Path) -> None:
        self._repair = repair
        self._report = repair.report
        self._data_dir = repair.data_dir
        self._scratch = scratch
        self._keep = _Keeper(repair.data_dir)
        self._disk = Disk()
        self._kept: set[str] = set()
        """Libraries whose manifests are in quarantine already."""

    def plan(self) -> None:
        if self._plan_exchange():
            return
        journal = self._plan_journal()
        for library in self._report.libraries:
            self._plan_library(library, journal)
        self._plan_leftovers()

    def _add(self, place: str, text: str, run: Callable[[], None], loses: str | None = None) -> None:
        self._repair.actions.append(Action(place=place, text=text, loses=loses, run=run))

    # The journal

    def _plan_exchange(self) -> bool:
        """Finish an exchange that was interrupted behind its mark; everything else is looked at after that."""
        marks = sorted((self._data_dir / _QUARANTINE).glob(f"journal-*/{_MARK}"))
        if not marks or not (self._data_dir / _REPAIRED).exists():
            return False
        self._add(
            JOURNAL,
            "finish the repair of the journal that was interrupted, then repair again",
            partial(self._exchange, marks[-1]),
        )
        return True

    def _plan_journal(self) -> Path:
        """Plan the journal's repair where it needs one; gives the file that there will be."""
        found = self._report.journal
        broken = bool(found.damaged) or any(
            one.place == JOURNAL and one.severity == "error" for one in self._report.findings
        )
        if not broken:
            return self._data_dir / JOURNAL
        if found.problem is not None and "newer vdb" in found.problem:
            self._repair.hopeless[JOURNAL] = found.problem
            return self._data_dir / JOURNAL
        floors = {
            library.id: [
                one.journal_position
                for one in library.generations
                if one.problem is None and one.journal_position is not None
            ]
            for library in self._report.libraries
        }
        work = self._scratch / "copy"
        work.mkdir()
        fresh = self._scratch / "fresh.sqlite3"
        saved = salvage(self._data_dir, work, fresh, floors)
        kept = sum(chain.kept for chain in saved.chains.values())
        self._add(
            JOURNAL,
            f"keep it under {_QUARANTINE}/ and put a new one with its {kept} sound entries in its place",
            partial(self._renew_journal, fresh),
            loses=_lost(saved),
        )
        return fresh

    def _renew_journal(self, fresh: Path) -> None:
        repaired = self._data_dir / _REPAIRED
        temporary = repaired.with_name(f"{_REPAIRED}.tmp")
        self._disk.remove_file(temporary)
        self._disk.remove_file(repaired)
        shutil.copyfile(fresh, temporary)
        self._disk.sync_path(temporary)
        self._disk.rename(temporary, repaired)
        self._disk.sync_directory(self._data_dir)
        aside = self._keep.directory("journal", "the journal was damaged; this is what it was")
        for suffix in ("", "-wal"):
            old = self._data_dir / f"{JOURNAL}{suffix}"
            if old.exists():
                shutil.copyfile(old, aside / old.name)
                self._disk.sync_path(aside / old.name)
        self._keep_entry_files(aside)
        self._disk.sync_directory(aside)
        mark = aside / _MARK
        mark.write_bytes(b"")
        self._disk.sync_directory(aside)
        self._exchange(mark)

    def _keep_entry_files(self, aside: Path) -> None:
        """Give the entries' files second names, or copies: those that the new journal does not name lose their first."""
        found = [path for _, path in entry_files(self._data_dir / JOURNAL)]
        if found:
            (aside / ENTRIES).mkdir()
            for path in found:
                kept = aside / ENTRIES / path.name
                try:
                    self._disk.link(path, kept)
                except OSError:  # not every file system has second names
                    shutil.copyfile(path, kept)
                    self._disk.sync_path(kept)
            self._disk.sync_directory(aside / ENTRIES)

    def _exchange(self, mark: Path) -> None:
        # A log that outlived its file would be applied to the new one.
        for suffix in ("-wal", "-shm"):
            self._disk.remove_file(self._data_dir / f"{JOURNAL}{suffix}")
        self._disk.sync_directory(self._data_dir)
        journal = self._data_dir / JOURNAL
        self._disk.rename(self._data_dir / _REPAIRED, journal)
        self._disk.sync_directory(self._data_dir)
        with journal_connection(self._data_dir) as connection:
            named = filed_positions(connection)
        EntryFiles(journal, self._disk).sweep(named)
        self._disk.remove_file(mark)

    # Libraries

    def _plan_library(self, library: LibraryReport, journal: Path) -> None:
        directory = self._data_dir / library.id
        bad = [one for one in library.generations if one.problem is not None]
        sound = [one for one in library.generations if one.problem is None]
        newer = any(
            "newer vdb" in one.text for one in self._report.findings if one.place.startswith(f"{library.id}/")
        )
        if newer:
            self._repair.hopeless[library.id] = "a newer vdb wrote it; open it with that one"
            return
        outcome = self._outcome(library.id, {one.generation for one in sound}, journal)
        if isinstance(outcome, str):
            self._repair.hopeless[library.id] = f"{outcome} Restore it from a backup, or delete it."
            return
        known = [one.revision for one in library.generations if one.revision is not None]
        newest = max([*known, library.revision or 0], default=0)
        loses = None
        if outcome < newest:
            loses = f"it comes back at revision {outcome}; what came after, up to revision {newest}, is lost"
        for one in bad:
            self._add(
                f"{library.id}/{one.generation}",
                f"set the generation aside under {_QUARANTINE}/ ({one.problem})",
                partial(self._set_aside, library.id, one.generation, one.problem or ""),
                loses=loses,
            )
            loses = None
        manifest = directory / MANIFEST
        if not sound and manifest.exists():
            # A manifest that lists only what is gone would say that the library is damaged; the journal has all of it.
            self._add(
                f"{library.id}/{MANIFEST}",
                f"move it to {_QUARANTINE}/: the journal has the whole library",
                partial(self._drop_manifest, library.id),
            )
        elif sound and (bad or self._is_manifest_bad(library.id)):
            self._add(
                f"{library.id}/{MANIFEST}",
                f"write it anew from the {len(sound)} generations that verify; the old one goes to {_QUARANTINE}/",
                partial(self._write_manifest, directory, library.id, {one.generation for one in sound}),
            )

    def _is_manifest_bad(self, library_id: str) -> bool:
        """Whether the manifest, or a copy of it, is damaged or missing, or lists what is not there."""
        return any(
            one.severity == "warning"
            and one.place.startswith(f"{library_id}/")
            and (one.place.endswith(f"/{MANIFEST}") or "it is not there" in one.text)
            for one in self._report.findings
        )

    def _outcome(self, library_id: str, sound: set[int], journal: Path) -> int | str:
        """The revision at which a library opens from its sound generations and a journal; else why it does not."""
        plugins = PluginManager(entry_points=lambda: ())
        plugins.load()
        store = ReadStore(NumpySnapshotStore(self._data_dir), only={library_id: sound})
        address = f"{journal.absolute().as_uri()}?mode=ro&immutable=1"
        with ExitStack() as opened:
            read: ReadJournal | None = None
            try:
                if journal.exists():
                    if journal.parent == self._data_dir:
                        connection = opened.enter_context(journal_connection(self._data_dir))
                    else:
                        connection = opened.enter_context(closing(sqlite3.connect(address, uri=True)))
                    # Wherever it is now, the files of its entries are where it will be.
                    read = ReadJournal(connection, self._data_dir / JOURNAL)
                state = Storage(plugins, store, read).load(library_id)
            except (VdbError, sqlite3.Error, KeyError, ValueError, TypeError) as error:
                return str(error)
            if state is None:
                return 0
            for block in state.blocks():
                block.close()
            if state.active is not None:
                state.active.index.close()
            return state.info["revision"]

    def _set_aside(self, library_id: str, generation: int, reason: str) -> None:
        self._keep_manifests(library_id)
        NumpySnapshotStore(self._data_dir).quarantine(library_id, generation, reason)

    def _drop_manifest(self, library_id: str) -> None:
        self._keep_manifests(library_id)
        directory = self._data_dir / library_id
        self._disk.remove_file(directory / MANIFEST)
        self._disk.sync_directory(directory)

    def _keep_manifests(self, library_id: str) -> None:
        """Copy the manifest, and those of the generations, to quarantine before the first of them changes."""
        directory = self._data_dir / library_id
        paths = [one for one in (directory / MANIFEST, *directory.glob(f"*/{MANIFEST}")) if one.is_file()]
        if library_id in self._kept or not paths:
            return
        kept = self._keep.directory(f"{library_id}-manifests", "what the manifests were before a repair")
        for path in paths:
            name = MANIFEST if path.parent == directory else f"{path.parent.name}-{MANIFEST}"
            shutil.copyfile(path, kept / name)
            self._disk.sync_path(kept / name)
        self._disk.sync_directory(kept)
        self._kept.add(library_id)

    def _write_manifest(self, directory: Path, library_id: str, sound: set[int]) -> None:
        self._keep_manifests(library_id)
        copies = copies_of(directory, library_id)
        path = directory / MANIFEST
        entries = {number: copies[number] for number in sound if number in copies}
        if path.exists():
            try:
                old = read_manifest(path, library_id)
            except VdbError:
                old = None
            for entry in old.generations if old is not None else ():
                if entry.generation in sound:
                    entries.setdefault(entry.generation, entry)
        generations = tuple(entries[number] for number in sorted(entries))
        self._disk.put(path, encode(Manifest(library_id=library_id, generations=generations)))
        for entry in generations:
            if entry.generation not in copies:
                own = encode(Manifest(library_id=library_id, generations=(entry,)))
                self._disk.put(directory / str(entry.generation) / MANIFEST, own)

    # Leftovers

    def _plan_leftovers(self) -> None:
        for one in self._report.findings:
            if one.severity == "note" and one.text.startswith("left by an interrupted"):
                self._add(
                    one.place,
                    "remove it: an interrupted write or deletion left it",
                    partial(self._remove, one.place),
                )

    def _remove(self, place: str) -> None:
        path = self._data_dir / place
        if path.is_dir() and not path.is_symlink():
            self._disk.remove_tree(path)
        else:
            self._disk.remove_file(path)


@final
class _Keeper:
    """Keeps what a repair replaces."""

    def __init__(self, data_dir: Path) -> None:
        self._root = data_dir / _QUARANTINE
        self._disk = Disk()

    def directory(self, name: str, reason: str) -> Path:
        """Make a directory for what is kept, with the reason."""
        if not self._root.is_dir():
            self._root.mkdir()
            self._disk.sync_directory(self._root.parent)
        aside = self._root / f"{name}-{datetime.now(UTC).strftime('%Y%m%dT%H%M%S.%fZ')}"
        aside.mkdir()
        (aside / "reason.txt").write_text(f"{reason}\n", encoding="utf-8", errors="replace")
        self._disk.sync_directory(self._root)
        return aside


def _lost(saved: Salvaged) -> str | None:
    """What is not in the new journal that the old one should have had."""
    told_of: list[str] = []
    if not saved.readable:
        told_of.append("nothing in it can be read: every write that no snapshot has is lost")
    for library_id, chain in saved.chains.items():
        if chain.lost_after is None or library_id == ANSWERS:
            continue
        places = (
            f" ({len(chain.lost)} entries that are there, from position {chain.lost[0]} on)"
            if chain.lost
            else ""
        )
        told_of.append(f"library {library_id!r}: the writes after position {chain.lost_after}{places}")
    if saved.unreadable and not told_of:
        told_of.append(f"{len(saved.unreadable)} positions cannot be read, from {saved.unreadable[0]} on")
    return "; ".join(told_of) or None
