"""From disk to a library's state and back: snapshots through the store, the journal's rest on top.

A generation holds a compacted base and everything beside it::

    vectors.npy  norms.npy (cosine)  ids.npy  id_map.json  documents.json  metadata.json  meta_index.json  index/
"""

from __future__ import annotations

import importlib.metadata
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast, final

import numpy as np

from vdb_core.engine.answers import ANSWERS
from vdb_core.engine.blocks import Block
from vdb_core.engine.opened_generation import id_pairs, missing_type_warning, open_generation
from vdb_core.engine.operations import PutLibrary, RemoveLibrary, decode
from vdb_core.engine.records import RecordFile
from vdb_core.engine.recovery import Progress, gap_before
from vdb_core.engine.state import LibraryState, read_info
from vdb_core.engine.trouble import Trouble
from vdb_core.errors import FormatUnsupported, SnapshotDamaged, StorageFailed, StorageFull
from vdb_core.persistence import MeasuredJournal, SnapshotParts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from vdb_core.engine.state import LibraryInfo, View
    from vdb_core.errors import VdbError
    from vdb_core.persistence import Journal, SnapshotStore
    from vdb_core.plugins import PluginManager

__all__ = ["Storage", "Written"]

_log = logging.getLogger(__name__)
_LAST_POSITION = 2**63 - 1
_ROW_PARTS = ("vectors", "norms", "ids", "id_map", "metadata", "meta_index")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A generation that is on disk, opened again: what serves is what a restart would serve."""

    generation: int
    base: Block | None
    index_directory: Path | None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Damaged:
    """A generation that cannot be opened."""

    generation: int
    reason: str
    info: LibraryInfo
    """The library when it was written: what takes its place must come as far."""


def _reasons(damaged: Sequence[_Damaged]) -> str:
    return "; ".join(f"snapshot {one.generation}: {one.reason}" for one in damaged)


def _take_index_choice(state: LibraryState, info: LibraryInfo) -> None:
    """Give a library the index type that its newest snapshot had: a build is in no journal."""
    chosen = info["index_type"], info["index_params"]
    if (state.info["index_type"], state.info["index_params"]) == chosen:
        return
    state.info["index_type"], state.info["index_params"] = chosen
    if state.active is not None:
        state.active.index.close()
        state.active = None
    if state.base is not None:
        state.warnings = (
            f"the snapshot with the index of type {chosen[0]!r} is damaged: rebuilt now, exact until then",
        )


@final
class Storage:
    """Reads and writes libraries; without a store and a journal nothing outlives the process."""

    def __init__(
        self,
        plugins: PluginManager,
        store: SnapshotStore | None,
        journal: Journal | None,
        trouble: Trouble | None = None,
    ) -> None:
        self._plugins = plugins
        self.trouble = Trouble(journal) if trouble is None else trouble
        self._store = store
        self._journal = journal
        self.suspects: dict[str, VdbError] = {}
        """Libraries of which it was seen at once that they cannot be opened; the others are looked at when touched."""
        self._align_journal()

    @property
    def journal_bytes(self) -> int | None:
        """Bytes of the journal on disk, where there is one and it can tell."""
        journal = self._journal
        return journal.nbytes if isinstance(journal, MeasuredJournal) else None

    def _align_journal(self) -> None:
        """Let positions go on above those of the snapshots, also where the journal's file was lost.

        Otherwise later writes would get positions that a replay takes for older than the snapshot.
        """
        if self._store is None or self._journal is None:
            return
        last = 0
        for library_id in self._store.libraries():
            try:
                for generation in self._store.generations(library_id):
                    position = self._store.header(library_id, generation)["journal_position"]
                    last = max(last, cast("int", position))
            except (SnapshotDamaged, FormatUnsupported, StorageFailed) as error:
                # The others are served; said again, and acted upon, when the library is touched.
                _log.error("library %r is unavailable: %s", library_id, error)
                self.suspects[library_id] = error
        if last > self._journal.position:
            _log.error(
                "the journal ends at %d and snapshots at %d: it was lost, or did not get what was written with "
                "durability none",
                self._journal.position,
                last,
            )
            self._journal.advance_to(last)

    @property
    def durable(self) -> bool:
        """Whether snapshots are kept."""
        return self._store is not None

    def libraries(self) -> list[str]:
        """Ids of the libraries that have a snapshot or journal entries."""
        found = set(self._store.libraries()) if self._store is not None else set()
        if self._journal is not None:
            found.update(one for one in self._journal.libraries() if one != ANSWERS)
        return sorted(found)

    def load(self, library_id: str) -> LibraryState | None:
        """Open a library: its newest sound snapshot, then what the journal has after it.

        Returns:
            The state, or none where the library was deleted (what is left of it is removed).

        Raises:
            SnapshotDamaged: no snapshot is sound and the journal does not reach back to the beginning.
        """
        state, damaged = self._load_snapshot(library_id)
        if self._journal is not None:
            state, damaged = self._replay(library_id, state, damaged, self._journal)
        if state is None and damaged:
            raise SnapshotDamaged(f"Library {library_id!r} cannot be opened: {_reasons(damaged)}.")
        if state is not None:
            newest = max((one.info["revision"] for one in damaged), default=0)
            if state.info["revision"] < newest:
                raise SnapshotDamaged(
                    f"Library {library_id!r} cannot be opened: {_reasons(damaged)}; an older one with the journal comes "
                    f"to revision {state.info['revision']} only, and that one had {newest}. Restore an export, or move "
                    f"the damaged generation away to go on without what only it holds."
                )
            if damaged:
                _take_index_choice(state, damaged[0].info)
            # The last generation stays until there is another one: without any, the library would look lost.
            for one in damaged if state.generation_positions else ():
                self._set_aside(library_id, one)
        return state

    def _replay(
        self, library_id: str, state: LibraryState | None, damaged: list[_Damaged], journal: Journal
    ) -> tuple[LibraryState | None, list[_Damaged]]:
        """Apply what the journal has after a snapshot; of what was damaged, give what still counts."""
        progress = Progress(library_id)
        problem: SnapshotDamaged | None = None
        for position, entry in journal.replay(library_id, 0 if state is None else state.journal_position):
            operation = decode(entry)
            progress.count(operation)
            if isinstance(operation, RemoveLibrary):
                # Where its files went before a crash and the journal did not, what came before has no beginning.
                self.remove_deleted(library_id, position)
                state, damaged, problem = None, [], None
                continue
            if isinstance(operation, PutLibrary) and operation.created:
                state = self.fresh(operation.info)
            elif problem is not None:
                continue
            elif state is None:
                problem = SnapshotDamaged(
                    f"Library {library_id!r} cannot be opened: the journal begins after its creation, and "
                    f"no snapshot is sound ({_reasons(damaged) or 'there is none'}). See _quarantine/."
                )
                continue
            else:
                problem = gap_before(state, operation, position)
                if problem is not None:
                    continue
                operation.stage(state)
                operation.apply(state)
            state.count_unsaved(operation.size)
            state.journal_position = position
        progress.end()
        if problem is not None:
            raise problem
        return state, damaged

    def fresh(self, info: LibraryInfo) -> LibraryState:
        """The state of a library that begins; it says where its index type is not installed (it was imported so)."""
        name = info["index_type"]
        known = name in self._plugins.index_types
        return LibraryState(info=info, warnings=() if known else (missing_type_warning(name),))

    def _load_snapshot(self, library_id: str) -> tuple[LibraryState | None, list[_Damaged]]:
        """Open the newest sound generation; and tell of the newer ones, which are left where they are."""
        if self._store is None:
            return None, []
        damaged: list[_Damaged] = []
        generations = list(self._store.generations(library_id))
        for generation in reversed(generations):
            try:
                state = open_generation(self._store.read(library_id, generation), self._plugins)
            except SnapshotDamaged as error:
                reason = str(error)
                _log.error("snapshot %d of library %r is damaged: %s", generation, library_id, reason)
                header = self._store.header(library_id, generation)
                info = read_info(header["library"])
                damaged.append(_Damaged(generation=generation, reason=reason, info=info))
                continue
            state.generation = max(generations)
            for kept in generations:
                if kept <= generation:
                    header = self._store.header(library_id, kept)
                    state.generation_positions[kept] = cast("int", header["journal_position"])
            return state, damaged
        return None, damaged

    def _set_aside(self, library_id: str, damaged: _Damaged) -> None:
        """Move a generation to quarantine, once another one has taken its place."""
        if self._store is None:
            return
        try:
            self._store.quarantine(library_id, damaged.generation, damaged.reason)
        except (StorageFailed, StorageFull) as error:
            self.trouble.report(error)
            _log.error("snapshot %d of %r could not be set aside: %s", damaged.generation, library_id, error)

    def write(
        self,
        view: View,
        *,
        generation: int,
        index_type: str,
        index_params: dict[str, object],
        base: Block | None,
        reuse: int | None,
        same_documents: bool,
        save_index: Callable[[Path], None] | None,
    ) -> Written | None:
        """Write a generation and open it again; none where nothing is kept on disk.

        Args:
            view: what the base was made from.
            generation: its number.
            index_type: the index type the library has from now on.
            index_params: its parameters.
            base: the compacted base, none where it has no rows.
            reuse: the generation whose row files hold exactly this base, none where there is none.
            same_documents: the documents did not change since that generation either.
            save_index: writes the index into a directory, none where there is no index.

        Raises:
            StorageReadOnly: the storage failed before, and nothing is written until a restart.
            StorageFailed: it could not be written; nothing of it is there.
        """
        if self._store is None:
            return None
        self.trouble.check()
        info = view.info.copy()
        info["index_type"] = index_type
        info["index_params"] = index_params
        header = {
            "library": info,
            "metric": info["metric"],
            "index": {"type": index_type, "params": index_params, "saved": save_index is not None},
            "journal_position": view.journal_position,
            "next_id": view.next_id,
            "rows": 0 if base is None else base.rows,
            "documents": len(view.documents),
            "versions": {"vdb-core": importlib.metadata.version("vdb-core"), "numpy": np.__version__},
        }
        unchanged: set[str] = set()
        arrays: dict[str, NDArray[np.generic]] = {}
        rows: dict[str, Callable[[], Iterable[bytes]]] = {}
        if reuse is not None:
            unchanged.update(part for part in _ROW_PARTS if part != "norms" or info["metric"] == "cosine")
            if base is None:
                unchanged.difference_update({"vectors", "norms", "metadata", "meta_index"})
        elif base is None:
            arrays["ids"] = np.empty(0, dtype=np.int64)
            rows["id_map"] = lambda: ()
        else:
            arrays = {"vectors": base.vectors, "ids": base.ids}
            if base.norms is not None:
                arrays["norms"] = base.norms
            records = base.records
            rows["metadata"] = lambda: iter(records)
            rows["id_map"] = lambda: id_pairs(base)
            rows["meta_index"] = base.metadata.to_rows
        if reuse is not None and same_documents:
            unchanged.add("documents")
        else:
            rows["documents"] = lambda: view.documents
        parts = SnapshotParts(
            header=header,
            arrays=arrays,
            rows=rows,
            directories={} if save_index is None else {"index": save_index},
            unchanged=frozenset(unchanged),
            base_generation=reuse,
        )
        try:
            self._store.write(info["id"], generation, parts)
        except Exception as error:
            self.trouble.report(error)
            raise
        snapshot = self._store.read(info["id"], generation)
        mapped: Block | None = None
        if base is not None:
            vectors = cast("NDArray[np.float32]", snapshot.array("vectors"))
            norms = None if base.norms is None else cast("NDArray[np.float64]", snapshot.array("norms"))
            mapped = Block(
                vectors=vectors,
                norms=norms,
                ids=cast("NDArray[np.int64]", snapshot.array("ids")),
                records=RecordFile.open(snapshot.directory / "metadata.json"),
                metadata=base.metadata,
                names=base.names,
                rows=base.rows,
            )
        return Written(
            generation=generation,
            base=mapped,
            index_directory=None if save_index is None else snapshot.directory / "index",
        )

    def forget_before(self, state: LibraryState) -> None:
        """Keep the two newest generations, and of the journal what came after the older of them.

        What cannot be forgotten now is forgotten after the next snapshot: this one is complete, and serves.
        """
        try:
            self._forget_before(state)
        except (StorageFailed, StorageFull) as error:
            self.trouble.report(error)
            _log.error("what the snapshots of %r replace is kept for now: %s", state.info["id"], error)

    def _forget_before(self, state: LibraryState) -> None:
        if self._store is None or self.trouble.reason is not None:
            return
        library_id = state.info["id"]
        kept = sorted(state.generation_positions)[-2:]
        if not kept:
            return
        for generation in self._store.generations(library_id):
            if generation < kept[0]:
                self._store.delete(library_id, generation)
        for generation in [one for one in state.generation_positions if one < kept[0]]:
            del state.generation_positions[generation]
        if len(kept) == 2 and self._journal is not None:
            self._journal.trim(library_id, state.generation_positions[kept[0]])

    def next_generation(self, state: LibraryState) -> int:
        """A number above every generation there is."""
        on_disk = [] if self._store is None else list(self._store.generations(state.info["id"]))
        return max([state.generation, *on_disk]) + 1

    def remove(self, library_id: str, position: int | None) -> None:
        """Remove what is kept of a library that was deleted at a journal position, or at the last there is."""
        if self._store is not None:
            self._store.delete(library_id)
        if self._journal is not None:
            self._journal.trim(library_id, _LAST_POSITION if position is None else position)

    def remove_deleted(self, library_id: str, position: int) -> None:
        """Remove what is kept of a library whose deletion is durable; what cannot be removed now is by a restart."""
        try:
            self.remove(library_id, position)
        except (StorageFailed, StorageFull) as error:
            self.trouble.report(error)
            _log.error("library %r is deleted, and its files are not removed yet: %s", library_id, error)

    def close(self) -> None:
        """Close the store and the journal."""
        try:
            if self._journal is not None:
                self._journal.close()
        finally:
            if self._store is not None:
                self._store.close()
