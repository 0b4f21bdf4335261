"""Saves what is sound of a damaged journal: of each library the entries up to the first break, in a file of its own.

::

    entries of a library     1 ─ 2 ─ 3 ─ ✗ ─ 5 ─ 6
    kept                     1 ─ 2 ─ 3
    kept, where a sound generation has everything up to 4:      5 ─ 6

The damaged file is read in a copy, entry by entry and past what cannot be read. Positions stay what they were, for
generations remember them; so an entry's own file, if it has one, stays where it is.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, final

from vdb_core.errors import StorageFailed
from vdb_core.persistence.durable import told
from vdb_core.persistence.journal_rows import COLUMNS, check, read_entry
from vdb_core.persistence.kept_by import JOURNAL
from vdb_core.persistence.sqlite_file import read_as_current, write_schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["Salvaged", "SavedChain", "salvage"]

_COPY: Final = f"INSERT INTO fresh.entries ({COLUMNS}) SELECT {COLUMNS} FROM entries WHERE position = ?"  # noqa: S608 - constants
_MAGIC: Final = b"SQLite format 3\x00"
_MISSES: Final = 100_000
"""Positions in a row without an entry after which a file is taken to end, where it does not tell its end."""


@final
@dataclass(slots=True, kw_only=True)
class SavedChain:
    """What became of one library's entries."""

    kept: int = 0
    trimmed: int = 0
    last: int = 0
    lost: list[int] = field(default_factory=list)
    """Positions of entries that are known to be its, and are not kept."""

    lost_after: int | None = None
    """The position after which entries are lost; none where none is."""


@final
@dataclass(slots=True, kw_only=True)
class Salvaged:
    """What was saved."""

    chains: dict[str, SavedChain] = field(default_factory=dict)
    position: int = 0
    unreadable: list[int] = field(default_factory=list)
    """Positions where something cannot be read, so that nobody knows whose it was."""

    readable: bool = True
    """Whether anything of the file could be read at all."""


@dataclass(frozen=True, slots=True)
class _Entry:
    position: int
    previous: int
    sound: bool
    parted: bool


def salvage(data_dir: Path, scratch: Path, target: Path, floors: Mapping[str, Sequence[int]]) -> Salvaged:
    """Write what is sound to a new journal.

    Args:
        data_dir: where the damaged journal is; it is only read.
        scratch: an empty directory for a copy of it.
        target: the file to write, which does not exist.
        floors: by library, the journal positions of its sound generations.
    """
    result = Salvaged(position=max((one for some in floors.values() for one in some), default=0))
    copy = scratch / JOURNAL
    with told(f"copy the journal to {scratch}"):
        for suffix in ("", "-wal"):
            source = data_dir / f"{JOURNAL}{suffix}"
            if source.exists():
                shutil.copyfile(source, f"{copy}{suffix}")
        if copy.exists() and copy.stat().st_size >= len(_MAGIC):
            with copy.open("r+b") as file:
                if file.read(len(_MAGIC)) != _MAGIC:
                    file.seek(0)
                    file.write(_MAGIC)
    with closing(sqlite3.connect(target, isolation_level=None)) as fresh:
        write_schema(fresh)
    if not copy.exists():
        result.readable = False
        return _finish(target, result)
    with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        try:
            read_as_current(connection)
            found, ends = _read_all(connection, data_dir / JOURNAL, result)
        except sqlite3.Error:
            result.readable = False
        else:
            for library_id in sorted(found.keys() | ends.keys()):
                result.chains[library_id] = _choose(
                    found.get(library_id, []), ends.get(library_id), floors.get(library_id, ())
                )
            _copy(connection, target, found, result)
    return _finish(target, result)


def _read_all(
    connection: sqlite3.Connection, path: Path, result: Salvaged
) -> tuple[dict[str, list[_Entry]], dict[str, tuple[int, int]]]:
    """Every entry that can be read, by the library it says it belongs to; and the known last and trimmed positions."""
    ends: dict[str, tuple[int, int]] = {}
    # What the table of libraries says helps, and is not needed.
    with suppress(sqlite3.Error):
        for library_id, last, trimmed in connection.execute(
            "SELECT library_id, last, trimmed FROM libraries"
        ):
            ends[str(library_id)] = (int(last), int(trimmed))
    found: dict[str, list[_Entry]] = {}
    for position in _positions(connection, result, ends):
        try:
            read = read_entry(connection, path, position)
        except (sqlite3.Error, StorageFailed, ValueError):
            result.unreadable.append(position)
            continue
        if read is None:
            continue
        library_id, raw = read
        try:
            _ = check(path, library_id, raw)
            sound = True
        except (StorageFailed, ValueError):
            sound = False
        found.setdefault(library_id, []).append(
            _Entry(raw.position, raw.previous, sound, max(len(raw.operation), len(raw.vectors)) > 1)
        )
        result.position = max(result.position, position)
    return found, ends


def _positions(
    connection: sqlite3.Connection, result: Salvaged, ends: Mapping[str, tuple[int, int]]
) -> Iterator[int]:
    """Positions to look at: those that the file lists, and past the first damage each one there may be."""
    top = max([result.position, *(last for last, _ in ends.values())])
    with suppress(sqlite3.Error):
        ((sequence,),) = connection.execute(
            "SELECT seq FROM sqlite_sequence WHERE name = 'entries'"
        ).fetchall()
        top = max(top, int(sequence))
    result.position = top
    listed: list[int] = []
    try:
        for (position,) in connection.execute(
            "SELECT position FROM main.entries NOT INDEXED ORDER BY position"
        ):
            listed.append(int(position))
    except sqlite3.Error:
        begin = listed[-1] + 1 if listed else 1
        listed.extend(range(begin, max(top, begin + _MISSES) + 1))
    yield from listed


def _choose(entries: Sequence[_Entry], end: tuple[int, int] | None, floors: Iterable[int]) -> SavedChain:
    """The stretch that reaches furthest; of several, the longest."""
    last, trimmed = end or (entries[-1].position, entries[0].previous)
    bases = sorted({trimmed, *(floor for floor in floors if floor >= trimmed)})
    reaches = {base: _reach(entries, base) for base in bases}
    base = max(bases, key=lambda one: (reaches[one], -one))
    reach = reaches[base]
    kept = [one for one in entries if base < one.position <= reach]
    lost = [one.position for one in entries if one.position > reach]
    chain = SavedChain(kept=len(kept), trimmed=base, last=reach, lost=lost)
    if lost or last > reach:
        chain.lost_after = reach
    return chain


def _reach(entries: Sequence[_Entry], base: int) -> int:
    """How far the entries above a position follow each other."""
    at = base
    for entry in entries:
        if entry.position <= base:
            continue
        follows = entry.previous == at or (at == base and entry.previous <= base)
        if not entry.sound or not follows:
            break
        at = entry.position
    return at


def _copy(
    connection: sqlite3.Connection, target: Path, found: Mapping[str, Sequence[_Entry]], result: Salvaged
) -> None:
    _ = connection.execute("ATTACH DATABASE ? AS fresh", (str(target),))
    _ = connection.execute("BEGIN")
    for library_id, chain in result.chains.items():
        for entry in found.get(library_id, ()):
            if chain.trimmed < entry.position <= chain.last:
                _ = connection.execute(_COPY, (entry.position,))
                if not entry.parted:
                    continue
                _ = connection.execute(
                    "INSERT INTO fresh.parts SELECT * FROM main.parts WHERE entry = ?", (entry.position,)
                )
        if chain.kept:
            _ = connection.execute(
                "INSERT INTO fresh.libraries VALUES (?, ?, ?)", (library_id, chain.last, chain.trimmed)
            )
    _ = connection.execute("COMMIT")


def _finish(target: Path, result: Salvaged) -> Salvaged:
    with closing(sqlite3.connect(target, isolation_level=None)) as fresh:
        _ = fresh.execute("DELETE FROM sqlite_sequence WHERE name = 'entries'")
        _ = fresh.execute("INSERT INTO sqlite_sequence VALUES ('entries', ?)", (result.position,))
    return result
