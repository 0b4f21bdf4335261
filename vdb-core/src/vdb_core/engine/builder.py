"""Builds and folds: a new base from an immutable view, beside the traffic, swapped in at once.

::

    committer: cut ── view taken, the open segment sealed, deaths recorded from now on
    pool:      compact ─▶ build ─▶ save, manifest last ─▶ open what was saved
    committer: swap ── the new base minus what died meanwhile, the delta written since the cut
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, final

from vdb_core.domain import new_id
from vdb_core.engine.blocks import Block
from vdb_core.engine.compaction import compact
from vdb_core.engine.costs import Costs
from vdb_core.engine.folding import fold_is_due
from vdb_core.engine.jobs import Job, JobRegistry
from vdb_core.engine.memory import forget_pages, release_memory
from vdb_core.engine.opened_generation import missing_type_warning
from vdb_core.engine.state import ActiveIndex
from vdb_core.errors import BuildCancelled, BuildInProgress, EngineClosed, LibraryNotFound, StorageReadOnly

if TYPE_CHECKING:
    from vdb_core.engine.committer import Committer
    from vdb_core.engine.jobs import JobKind
    from vdb_core.engine.state import LibraryState, View
    from vdb_core.engine.storage import Storage
    from vdb_core.plugins import PluginManager
    from vdb_core.repository import Entry

__all__ = ["Builder"]

_log = logging.getLogger(__name__)
_MOST_REST_S: Final = 5.0
"""What a fold that took long is waited for at most before the next one: rows come meanwhile."""
_NICENESS: Final = 5
"""What a build's threads are set back by where searches want the same cores (a third of the weight of theirs)."""


def _rows(state: LibraryState) -> int:
    return state.delta_rows + (0 if state.base is None else state.base.rows)


def _step_back() -> None:
    """Let searches go first where cores are short. Linux knows priorities of threads, and theirs inherit this one's."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


@final
@dataclass(slots=True, kw_only=True)
class _Cut:
    view: View
    blocks: list[Block]
    base: Block | None
    reuse: int | None
    """The generation whose row files equal the new base, where nothing changed since."""
    same_documents: bool
    generation: int
    unsaved_bytes: int


@final
@dataclass(slots=True, kw_only=True)
class _Fresh:
    base: Block | None
    active: ActiveIndex | None
    warnings: tuple[str, ...]
    written: bool


@final
class Builder:
    """Runs builds one after the other in a pool of their own."""

    def __init__(
        self, *, plugins: PluginManager, storage: Storage, jobs: JobRegistry, threads: int | None, seed: int
    ) -> None:
        self._plugins = plugins
        self._storage = storage
        self._jobs = jobs
        self._threads = threads or max(1, (os.cpu_count() or 2) - 1)
        self._seed = seed
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="vdb-build", initializer=_step_back)
        self._committer: Committer | None = None
        self._closed = False
        self._quiet = False
        self._failed_at: dict[str, int] = {}
        """Rows a library had when a fold of it failed: it is tried again when it has grown by half."""
        self._rest_until = 0.0
        """Until then no fold begins by itself: in a bulk upload one would follow the other without end."""

    def attach(self, committer: Committer) -> None:
        """Name the committer, which needs the builder itself."""
        self._committer = committer

    def start(
        self,
        entry: Entry,
        kind: JobKind,
        *,
        index_type: str,
        index_params: dict[str, object],
        with_index: bool = True,
    ) -> Job:
        """Queue a build; without an index it writes the rows alone.

        A fold that the engine began by itself gives way to what somebody asked for.

        Raises:
            BuildInProgress: the library has a build that somebody asked for.
            LibraryNotFound: the library is being deleted.
            StorageReadOnly: the storage failed, and nothing is written until a restart.
        """
        if self._closed:
            raise EngineClosed("The engine is closed.")
        self._storage.trouble.check()
        with entry.build_lock:
            if entry.closing:
                raise LibraryNotFound(f"Library {entry.id!r} is being deleted.")
            if entry.building is not None:
                running = self._jobs.get(entry.building)
                if running.kind != "fold" or kind == "fold":
                    raise BuildInProgress(
                        f"Library {entry.id!r} is being indexed by job {running.id}; wait for it or cancel it.",
                        job_id=running.id,
                    )
                running.cancel()
            job = self._jobs.add(Job(new_id(), entry.id, kind))
            entry.building = job.id
        try:
            self._pool.submit(self._run, job, entry, index_type, index_params, with_index=with_index)
        except RuntimeError as error:
            with entry.build_lock:
                entry.building = None
            job.finish("cancelled")
            raise EngineClosed("The engine is closed.") from error
        return job

    def fold_if_due(self, entry: Entry) -> None:
        """Fold a library in the background where that is due and no build runs; see ``fold_is_due``.

        Folds take at most half of the time: one begins as long after the one before as that took. Whoever looks
        after the libraries asks again then.
        """
        state = entry.state
        if state is None or entry.building is not None or self._quiet or not fold_is_due(state):
            return
        if time.monotonic() < self._rest_until:
            return
        failed_at = self._failed_at.get(entry.id)
        if failed_at is None or _rows(state) > 1.5 * failed_at:
            _ = self._start_own(entry, state, "fold")

    def rebuild(self, entry: Entry) -> None:
        """Build the index of a library anew where it could not be loaded."""
        state = entry.state
        if state is None or state.base is None or state.active is not None:
            return
        if state.info["index_type"] in self._plugins.index_types:
            _ = self._start_own(entry, state, "index")

    def checkpoint(self, entry: Entry, *, with_index: bool = True) -> Job | None:
        """Write a library that has unsaved writes; none where a build runs, or nothing may be written.

        Args:
            entry: the library.
            with_index: whether to build its index; without it the next load does.
        """
        state = entry.state
        return None if state is None else self._start_own(entry, state, "fold", with_index=with_index)

    def _start_own(
        self, entry: Entry, state: LibraryState, kind: JobKind, *, with_index: bool = True
    ) -> Job | None:
        try:
            return self.start(
                entry,
                kind,
                index_type=state.info["index_type"],
                index_params=dict(state.info["index_params"]),
                with_index=with_index,
            )
        except (BuildInProgress, EngineClosed, LibraryNotFound, StorageReadOnly):
            return None

    def cancel_all(self) -> None:
        """Cancel what runs and what waits, and wait for that; the engine begins no fold by itself any more."""
        self._quiet = True
        while running := [job for job in self._jobs.all() if not job.finished]:
            for job in running:
                job.cancel()
            for job in running:
                _ = job.wait()

    def close(self) -> None:
        """Cancel what runs and wait for it."""
        self._closed = self._quiet = True
        for job in self._jobs.all():
            if not job.finished:
                job.cancel()
        self._pool.shutdown(wait=True, cancel_futures=False)

    def _run(
        self, job: Job, entry: Entry, index_type: str, index_params: dict[str, object], *, with_index: bool
    ) -> None:
        committer, state = self._committer, entry.state
        if committer is None or state is None:
            job.finish("failed", EngineClosed("The engine is not open."))
            return
        cut: _Cut | None = None
        fresh: _Fresh | None = None
        begun = time.monotonic()
        try:
            job.start()
            cut = committer.call(lambda: self._cut(entry, state)).result()
            fresh = self._make(job, cut, index_type, index_params, with_index=with_index)
            committer.call(partial(self._swap, entry, state, cut, fresh, index_type, index_params)).result()
            # Not on the committer's thread: writes would wait while the journal is trimmed.
            self._storage.forget_before(state)
            self._failed_at.pop(entry.id, None)
            self._release(job, entry, state)
            job.finish("succeeded")
        except BuildCancelled:
            self._release(job, entry, state)
            job.finish("cancelled")
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything; the job says so
            self._storage.trouble.report(error)
            _log.exception("job %s (%s of library %r) failed", job.id, job.kind, entry.id)
            self._failed_at[entry.id] = _rows(state)
            self._release(job, entry, state)
            if job.kind == "fold":
                state.warnings = (
                    *state.warnings[:1],
                    f"folding the library failed ({error}); it is tried again later",
                )
            job.finish("failed", error)
        del cut, fresh
        release_memory()
        if job.kind == "fold" and self._storage.durable:
            ended = time.monotonic()
            self._rest_until = ended + min(ended - begun, _MOST_REST_S)
        self.fold_if_due(entry)

    def _release(self, job: Job, entry: Entry, state: LibraryState) -> None:
        state.deleted_rows = None
        with entry.build_lock:
            if entry.building == job.id:
                entry.building = None

    def _cut(self, entry: Entry, state: LibraryState) -> _Cut:
        """Take the view. Runs on the committer's thread, so nothing is written meanwhile."""
        with entry.lock.write():
            state.delta = [block for block in state.delta if block.rows]
            view, blocks = state.view(), state.blocks()
            if state.delta:
                # Later rows go into a segment of their own, so that the cut stays between two segments.
                template = state.delta[-1]
                state.delta.append(
                    Block.segment(template.vectors.shape[1], with_norms=template.norms is not None)
                )
            state.deleted_rows = []
        base = state.base
        whole = not view.parts or (len(view.parts) == 1 and base is not None and base.dead == 0)
        reuse = state.base_generation if whole and state.base_generation and self._storage.durable else None
        return _Cut(
            view=view,
            blocks=blocks,
            base=base,
            reuse=reuse,
            same_documents=view.documents_version == state.snapshot_documents_version,
            generation=self._storage.next_generation(state),
            unsaved_bytes=state.unsaved_bytes,
        )

    def _make(
        self, job: Job, cut: _Cut, index_type: str, index_params: dict[str, object], *, with_index: bool
    ) -> _Fresh:
        """Compact, build, save, open again. Runs beside the traffic."""
        unchanged = cut.reuse is not None or (
            len(cut.view.parts) == 1 and cut.base is not None and cut.view.live == cut.base.rows
        )
        base = cut.base if unchanged else compact(job, cut.view, in_memory=not self._storage.durable)
        kind = self._plugins.index_types.get(index_type) if with_index else None
        warnings = () if kind is not None else (missing_type_warning(index_type),)
        metric = cut.view.info["metric"]
        built = None
        params = None
        if kind is not None and base is not None:
            params = kind.params.model_validate(index_params)
            base.vectors.flags.writeable = False
            built = kind.build(
                base.vectors,
                metric=metric,
                params=params,
                seed=self._seed,
                threads=self._threads,
                progress=job.report,
                cancelled=job.cancelled,
            )
        if job.cancelled():
            if built is not None:
                built.close()
            raise BuildCancelled("The job was cancelled.")
        job.phase = "save"
        written = self._storage.write(
            cut.view,
            generation=cut.generation,
            index_type=index_type,
            index_params=index_params,
            base=base,
            reuse=cut.reuse,
            same_documents=cut.same_documents,
            save_index=None if built is None else built.save,
        )
        if written is None:
            active = None
            if built is not None and kind is not None and params is not None:
                active = ActiveIndex(type=kind, params=params, index=built)
            return _Fresh(base=base, active=active, warnings=warnings, written=False)
        active = None
        if built is not None:
            built.close()
            # The compacted rows are on disk and mapped: let go of their copy before the index makes its own of them.
            built = base = None
            if kind is not None and params is not None and written.base and written.index_directory:
                index = kind.load(written.index_directory, written.base.vectors, metric=metric, params=params)
                active = ActiveIndex(type=kind, params=params, index=index)
                forget_pages(written.base.vectors)
        return _Fresh(base=written.base, active=active, warnings=warnings, written=True)

    def _swap(
        self,
        entry: Entry,
        state: LibraryState,
        cut: _Cut,
        fresh: _Fresh,
        index_type: str,
        index_params: dict[str, object],
    ) -> None:
        """Put the new base in place. Runs on the committer's thread."""
        base, old_active, old_blocks = fresh.base, state.active, cut.blocks
        if base is not None:
            for internal_ids in state.deleted_rows or []:
                if base is not cut.base:
                    base.kill(base.find(internal_ids))
        old = {id(block) for block in old_blocks}
        # Readers never change the ids and this thread alone does, so that they are sorted out before the lock.
        chunk_ids = state.chunk_ids.over(base, cut.view.next_id)
        with entry.lock.write():
            state.base = base
            state.chunk_ids = chunk_ids
            state.delta = [block for block in state.delta if id(block) not in old]
            state.active = fresh.active
            state.warnings = fresh.warnings
            state.info["index_type"] = index_type
            state.info["index_params"] = index_params
            state.deleted_rows = None
            state.costs = Costs()
        if old_active is not None and (fresh.active is None or old_active.index is not fresh.active.index):
            old_active.index.close()
        for block in old_blocks:
            if block is not base:
                block.close()
        if fresh.written:
            state.generation = cut.generation
            state.base_generation = cut.generation
            state.generation_positions[cut.generation] = cut.view.journal_position
            state.snapshot_position = cut.view.journal_position
            state.snapshot_documents_version = cut.view.documents_version
            state.unsaved_bytes -= cut.unsaved_bytes
            state.unsaved_since = time.monotonic()
