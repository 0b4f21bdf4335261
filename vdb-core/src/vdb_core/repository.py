"""Libraries in memory, one read-write lock each; a library that is on disk is loaded when it is first touched."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, final

from vdb_core.engine.operations import PutLibrary, Remember
from vdb_core.errors import LibraryNotFound, VdbError
from vdb_core.locks import RWLock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vdb_core.engine.answers import AnswerTable
    from vdb_core.engine.operations import Operation
    from vdb_core.engine.state import LibraryState
    from vdb_core.engine.storage import Storage

__all__ = ["Entry", "InMemoryLibraryRepository"]


@final
class Entry:
    """One library's place: its lock, and its state once it is loaded."""

    __slots__ = ("build_lock", "building", "closing", "damaged", "id", "load_lock", "lock", "state")

    def __init__(self, library_id: str, state: LibraryState | None) -> None:
        self.id = library_id
        self.lock = RWLock()
        self.state = state
        self.damaged: VdbError | None = None
        """Why it could not be loaded, when that was last tried."""
        self.load_lock = threading.Lock()
        self.build_lock = threading.Lock()
        self.building: str | None = None
        """Id of the job that builds it now; guarded by ``build_lock``."""
        self.closing = False
        """The library is about to be deleted: no build may begin; guarded by ``build_lock``."""

    def readable(self) -> LibraryState:
        """The state, for a read. Call under the read lock; raises ``LibraryNotFound`` where it was deleted meanwhile."""
        state = self.state
        if state is None or state.removed:
            raise LibraryNotFound(f"No library has the id {self.id!r}.")
        return state


@final
class InMemoryLibraryRepository:
    """Finds libraries. Changed by the committer alone."""

    def __init__(
        self,
        storage: Storage,
        *,
        answers: AnswerTable | None = None,
        loaded: Callable[[Entry], None] = lambda _: None,
    ) -> None:
        """Know the libraries that are on disk.

        Args:
            storage: where libraries are loaded from.
            answers: takes in the answers of writes that may be repeated.
            loaded: called after a library was loaded, by the thread that touched it.
        """
        self._storage = storage
        self._answers = answers
        self._loaded = loaded
        self._lock = threading.Lock()
        self._entries: dict[str, Entry] = {one: Entry(one, None) for one in storage.libraries()}
        for library_id, error in storage.suspects.items():
            self._entries.setdefault(library_id, Entry(library_id, None)).damaged = error

    def ids(self) -> list[str]:
        """Ids of all libraries in code point order."""
        with self._lock:
            return sorted(self._entries)

    def taken(self, library_id: str) -> bool:
        """Whether an id is in use, without regard to case. Loads what it has to, to be sure."""
        folded = library_id.casefold()
        with self._lock:
            same = [one for one in self._entries if one.casefold() == folded]
        return any(self.find(one) is not None for one in same)

    def find(self, library_id: str) -> Entry | None:
        """The entry of a library, loaded, or none."""
        with self._lock:
            entry = self._entries.get(library_id)
        if entry is None or entry.state is not None:
            return entry
        with entry.load_lock:
            if entry.state is None:
                try:
                    state = self._storage.load(library_id)
                except VdbError as error:
                    entry.damaged = error
                    raise
                if state is None:
                    with self._lock:
                        self._entries.pop(library_id, None)
                    return None
                entry.state = state
                entry.damaged = None
                fresh = True
            else:
                fresh = False
        if fresh:
            self._loaded(entry)
        return entry

    def get(self, library_id: str) -> Entry:
        """The entry of a library, loaded; raises ``LibraryNotFound``."""
        entry = self.find(library_id)
        if entry is None:
            raise LibraryNotFound(f"No library has the id {library_id!r}.")
        return entry

    def is_loaded(self, library_id: str) -> bool:
        """Whether touching a library needs no reading from disk (a library that is not there needs none)."""
        with self._lock:
            entry = self._entries.get(library_id)
        return entry is None or entry.state is not None

    def loaded(self) -> list[Entry]:
        """Entries that are in memory."""
        with self._lock:
            return [entry for entry in self._entries.values() if entry.state is not None]

    def damaged(self) -> dict[str, str]:
        """Ids of libraries that could not be loaded, each with the code of the error that says why."""
        with self._lock:
            found = sorted(self._entries.items())
            return {one: entry.damaged.code for one, entry in found if entry.damaged is not None}

    def discard(self, library_id: str) -> None:
        """Remove a library that cannot be loaded, with whatever is left of it."""
        self._storage.remove(library_id, None)
        with self._lock:
            self._entries.pop(library_id, None)

    def state_for_write(self, library_id: str) -> LibraryState | None:
        """The published state, or none where the library does not exist."""
        entry = self.find(library_id)
        return None if entry is None else entry.state

    def publish(self, library_id: str, operations: Sequence[Operation], position: int) -> None:
        """Make the durable operations of one write visible, as a whole."""
        first, last = operations[0], operations[-1]
        if isinstance(last, Remember) and self._answers is not None:
            self._answers.keep(last, position)
        if isinstance(first, PutLibrary) and first.created:
            state = self._storage.fresh(first.info)
            for operation in operations[1:]:
                operation.stage(state)
                operation.apply(state)
            state.count_unsaved(sum(operation.size for operation in operations))
            state.journal_position = position
            with self._lock:
                self._entries[library_id] = Entry(library_id, state)
            return
        entry = self.get(library_id)
        state = entry.state
        if state is None:
            raise LibraryNotFound(f"No library has the id {library_id!r}.")
        for operation in operations:
            operation.stage(state)
        size = sum(operation.size for operation in operations)
        with entry.lock.write():
            for operation in operations:
                operation.apply(state)
            state.count_unsaved(size)
            state.journal_position = position
        if state.removed:
            with self._lock:
                self._entries.pop(library_id, None)
            for block in state.blocks():
                block.close()
            if state.active is not None:
                state.active.index.close()
                state.active = None
            self._storage.remove_deleted(library_id, position)
            return
        for block in state.delta[-1:]:
            block.index_metadata()
