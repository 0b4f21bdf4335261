"""The engine put together: plugins, storage, repository, committer, builder."""

from __future__ import annotations

import contextlib
import logging
import os
from typing import TYPE_CHECKING, final

from vdb_core.engine.answers import AnswerTable
from vdb_core.engine.builder import Builder
from vdb_core.engine.checkpoints import Checkpointer
from vdb_core.engine.committer import Committer
from vdb_core.engine.embedders import Embedders
from vdb_core.engine.exact import ExactKernel
from vdb_core.engine.jobs import JobRegistry
from vdb_core.engine.opened_storage import open_storage
from vdb_core.engine.storage import Storage
from vdb_core.engine.trouble import Trouble
from vdb_core.errors import OperatorError
from vdb_core.repository import InMemoryLibraryRepository

if TYPE_CHECKING:
    from vdb_core.persistence import DirectoryLock, Journal, SnapshotStore
    from vdb_core.plugins import PluginManager
    from vdb_core.repository import Entry
    from vdb_core.services.settings import Durability, EngineSettings

__all__ = ["Engine"]

_log = logging.getLogger(__name__)


@final
class Engine:
    """Everything that runs below the services. One process at a time holds a data directory."""

    def __init__(self, settings: EngineSettings, plugins: PluginManager) -> None:
        """Open the data directory; raises an ``OperatorError`` where that cannot be."""
        self.settings = settings
        self.plugins = plugins
        self.jobs = JobRegistry()
        self.search_threads = settings.search_threads or os.cpu_count() or 1
        self.kernel = ExactKernel(plugins, threads=1)
        self.embedders = Embedders(plugins, settings.embedder, settings.embedder_params)
        self._directory_lock: DirectoryLock | None = None
        store: SnapshotStore | None = None
        journal: Journal | None = None
        if settings.data_dir is not None:
            self._directory_lock, store, journal = open_storage(settings, settings.data_dir, plugins)
        self.trouble = Trouble(journal)
        try:
            self.storage = Storage(plugins, store, journal, self.trouble)
            position = 0 if journal is None else journal.position
        except BaseException:
            self._let_go(store, journal)
            raise
        self.builder = Builder(
            plugins=plugins,
            storage=self.storage,
            jobs=self.jobs,
            threads=settings.build_threads,
            seed=settings.seed,
        )
        self.answers = AnswerTable(
            journal,
            lifetime_s=settings.idempotency_lifetime_s,
            max_keys=settings.idempotency_max_keys,
            max_bytes=settings.idempotency_max_bytes,
        )
        self.repository = InMemoryLibraryRepository(
            self.storage, answers=self.answers, loaded=self.builder.rebuild
        )
        self.committer = Committer(
            self.repository,
            None if settings.durability == "none" else journal,
            max_pending=settings.limits.max_pending_writes,
            trouble=self.trouble,
            position=position,
            published=self._published,
        )
        self.builder.attach(self.committer)
        self.checkpoints: Checkpointer | None = None
        if store is not None:
            self.checkpoints = Checkpointer(
                self.repository,
                self.builder,
                max_bytes=settings.checkpoint_bytes,
                max_age_s=settings.checkpoint_age_s,
                journaled=settings.durability != "none",
            )
        self._journal = journal
        self._closed = False

    def _let_go(self, store: SnapshotStore | None, journal: Journal | None) -> None:
        """Close what was opened: whoever sees to the reason tries again, in this process too."""
        for opened in (journal, store):
            if opened is not None:
                with contextlib.suppress(OperatorError):
                    opened.close()
        if self._directory_lock is not None:
            self._directory_lock.release()

    @property
    def durability(self) -> Durability:
        """What a write has reached when it is acknowledged."""
        return "none" if self.settings.data_dir is None else self.settings.durability

    def _published(self, library_id: str) -> None:
        entry = self.repository.find(library_id)
        if entry is not None:
            self.builder.fold_if_due(entry)

    def default_index_type(self) -> str:
        """``brute`` where it is installed, ``numpy`` otherwise."""
        return "brute" if "brute" in self.plugins.index_types else "numpy"

    def entry(self, library_id: str) -> Entry:
        """The entry of a library, loaded; raises ``LibraryNotFound``."""
        return self.repository.get(library_id)

    def close(self) -> None:
        """Finish the queued writes, stop builds, make a last checkpoint, release the data directory. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self.embedders.close()
        self.committer.finish()
        self.builder.cancel_all()
        if self.checkpoints is not None:
            self.checkpoints.close(self.settings.checkpoint_on_close_s)
        self.builder.close()
        self.committer.close()
        if self.durability == "none" and self._journal is not None and self.trouble.reason is None:
            self._journal.advance_to(self.committer.position)
        for entry in self.repository.loaded():
            state = entry.state
            if state is None:
                continue
            with entry.lock.write():
                for block in state.blocks():
                    block.close()
                if state.active is not None:
                    state.active.index.close()
                    state.active = None
        self.answers.close()
        try:
            self.storage.close()
        finally:
            if self._directory_lock is not None:
                self._directory_lock.release()
