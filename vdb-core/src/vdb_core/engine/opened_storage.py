"""Opens the snapshot store and the journal that the settings name, over a data directory that was made with them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from vdb_core.errors import OperatorError, ValidationFailed
from vdb_core.persistence import lock_directory
from vdb_core.persistence.kept_by import JOURNAL, KeptBy, forget_kept_by, kept_by, write_kept_by
from vdb_core.plugins import validate_params

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import BaseModel

    from vdb_core.persistence import DirectoryLock, Journal, SnapshotStore
    from vdb_core.plugins import JournalType, PluginManager
    from vdb_core.services.settings import EngineSettings

__all__ = ["open_storage"]

_BUILT_IN: Final = KeptBy(snapshot_store="numpy", journal="sqlite")


def open_storage(
    settings: EngineSettings, data_dir: Path, plugins: PluginManager
) -> tuple[DirectoryLock, SnapshotStore, Journal]:
    """Lock the data directory, and open what keeps it.

    Raises:
        OperatorError: no plugin has a store or a journal of that name, the directory was made with others, it is in use, or
            it cannot be opened.
        ValidationFailed: the store or the journal does not take its parameters.
    """
    store_type = plugins.snapshot_stores.get(settings.snapshot_store)
    journal_type = plugins.journals.get(settings.journal)
    if store_type is None:
        names = ", ".join(sorted(plugins.snapshot_stores))
        raise OperatorError(f"No snapshot store named {settings.snapshot_store!r}. Available: {names}")
    if journal_type is None:
        names = ", ".join(sorted(plugins.journals))
        raise OperatorError(f"No journal named {settings.journal!r}. Available: {names}")
    store_params = validate_params(
        store_type.params, settings.snapshot_store_params, "/snapshot_store_params"
    )
    journal_params = _journal_params(settings, journal_type)
    data_dir.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as opened:
        lock = lock_directory(data_dir)
        opened.callback(lock.release)
        wanted = KeptBy(snapshot_store=settings.snapshot_store, journal=settings.journal)
        if not _known(data_dir, wanted) and wanted != _BUILT_IN:
            # Before anything is made there, by which the built-in journal would seem to be the one.
            write_kept_by(data_dir, wanted)
            opened.callback(forget_kept_by, data_dir)
        store = store_type.open(str(data_dir), store_params)
        opened.callback(store.close)
        journal = journal_type.open(str(data_dir), journal_params)
        opened.pop_all()
    return lock, store, journal


def _journal_params(settings: EngineSettings, kind: JournalType) -> BaseModel:
    """Parameters of a journal; one that has a parameter ``durability`` is told of the engine's."""
    level, params = settings.durability, dict(settings.journal_params)
    if "durability" in kind.params.model_fields:
        if "durability" in params:
            raise ValidationFailed.at(
                "/journal_params/durability", "expected the setting `durability` of the engine instead"
            )
        params["durability"] = "fsync" if level == "none" else level
    elif level == "os":
        raise OperatorError(
            f"Journal {kind.name!r} knows no durability but its own; expected fsync or none, received os."
        )
    return validate_params(kind.params, params, "/journal_params")


def _known(data_dir: Path, wanted: KeptBy) -> bool:
    """Whether a directory is known to be kept by these. One that others keep is refused: what is in it would not be seen."""
    made_with = kept_by(data_dir)
    if made_with is None and (data_dir / JOURNAL).exists():
        made_with = _BUILT_IN
    if made_with is not None and made_with != wanted:
        raise OperatorError(
            f"{data_dir} is kept by the snapshot store {made_with['snapshot_store']!r} and the journal "
            f"{made_with['journal']!r}; received {wanted['snapshot_store']!r} and {wanted['journal']!r}, which would not see "
            "what is in it. Use the former, or another directory, and move libraries by export and import."
        )
    return made_with is not None
