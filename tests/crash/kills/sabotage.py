"""Servers that are broken on purpose: a bench that lets one of these pass proves nothing.

Each function changes what a server does once it is forked; ``program.py --sabotage NAME`` must end with a violation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "answer_before_the_fsync",
    "bring_back_what_was_deleted",
    "keep_deleted_libraries",
    "keep_files_open",
    "remember_chunks",
    "tear_large_uploads",
]


def answer_before_the_fsync() -> None:
    """A group is written to the journal when the next one comes, and acknowledged before."""
    from vdb_core.persistence.sqlite_journal import SqliteJournal

    append = SqliteJournal.append
    held: dict[int, list[Any]] = {}

    def late(self: SqliteJournal, batch: Sequence[Any]) -> int:
        before = held.pop(id(self), [])
        position = append(self, before) if before else self.position
        held[id(self)] = list(batch)
        return position + len(batch)

    SqliteJournal.append = late  # type: ignore[method-assign]


def bring_back_what_was_deleted() -> None:
    """A replay overlooks deletes of chunks."""
    from vdb_core.engine import storage
    from vdb_core.engine.operations import Remove

    decode = storage.decode

    def without_deletes(entry: Any) -> Any:
        operation = decode(entry)
        if isinstance(operation, Remove):
            operation.chunks = []
        return operation

    storage.decode = without_deletes


def tear_large_uploads() -> None:
    """A replay takes half of the rows of what was uploaded at once."""
    from vdb_core.engine import storage
    from vdb_core.engine.operations import Upsert

    decode = storage.decode

    def halved(entry: Any) -> Any:
        operation = decode(entry)
        if isinstance(operation, Upsert) and len(operation.ids) > 1:
            half = len(operation.ids) // 2
            operation.ids, operation.records = operation.ids[:half], operation.records[:half]
            operation.vectors = operation.vectors[:half]
            operation.norms = None if operation.norms is None else operation.norms[:half]
        return operation

    storage.decode = halved


def remember_chunks() -> None:
    """A chunk that was read is shown as it was then."""
    from vdb_core.services.libraries import LibraryService

    get_chunk = LibraryService.get_chunk
    seen: dict[tuple[str, str], Any] = {}

    def remembered(self: LibraryService, library_id: str, chunk_id: str) -> Any:
        key = (library_id, chunk_id)
        if key not in seen:
            seen[key] = get_chunk(self, library_id, chunk_id)
        return seen[key]

    LibraryService.get_chunk = remembered  # type: ignore[method-assign]


def keep_deleted_libraries() -> None:
    """Of each library that was deleted a megabyte stays in memory."""
    from vdb_core.engine.operations import RemoveLibrary

    apply = RemoveLibrary.apply
    kept: list[Any] = []

    def keeping(self: RemoveLibrary, state: Any) -> None:
        kept.append(b"x" * (1 << 20))
        apply(self, state)

    RemoveLibrary.apply = keeping  # type: ignore[method-assign]


def keep_files_open() -> None:
    """Each deleted library leaves a file open."""
    import os

    from vdb_core.engine.operations import RemoveLibrary

    apply = RemoveLibrary.apply

    def leaking(self: RemoveLibrary, state: Any) -> None:
        os.open(os.devnull, os.O_RDONLY)
        apply(self, state)

    RemoveLibrary.apply = leaking  # type: ignore[method-assign]
