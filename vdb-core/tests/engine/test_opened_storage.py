"""A data directory names the store and the journal that keep it, from before they make anything, and only once they open."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from vdb_core.errors import OperatorError, StorageFailed
from vdb_core.persistence.numpy_snapshots import NumpySnapshotStore
from vdb_core.plugins import PluginManager, SnapshotStoreType, hookimpl
from vdb_core.services import EngineSettings, open_services

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import BaseModel

    from vdb_core.persistence import SnapshotStore


class Opening(Exception):
    """How a process may end while a store is opened."""


class Plugin:
    """A store over a folder of its own; it may fail."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.seen: set[str] = set()

    def open(self, data_dir: Path) -> SnapshotStore:
        self.seen = {path.name for path in data_dir.iterdir()}
        if self.error is not None:
            raise self.error
        (data_dir / "elsewhere").mkdir(exist_ok=True)
        return NumpySnapshotStore(data_dir / "elsewhere")


def with_store(data_dir: Path, plugin: Plugin) -> PluginManager:
    def opened(_: str, params: BaseModel) -> SnapshotStore:
        del params
        return plugin.open(data_dir)

    class Hooks:
        @hookimpl
        def vdb_register_snapshot_stores(self) -> list[SnapshotStoreType]:
            return [SnapshotStoreType(name="elsewhere", summary="In a folder.", open=opened)]

    plugins = PluginManager(entry_points=list)
    plugins.load()
    plugins.register(Hooks(), name="elsewhere")
    return plugins


def test_the_names_are_there_before_anything_else_is(tmp_path: Path) -> None:
    settings, plugin = EngineSettings(data_dir=tmp_path, snapshot_store="elsewhere"), Plugin()
    open_services(settings, plugins=with_store(tmp_path, plugin)).close()
    # A process that ends here has made nothing by which the directory would seem to be of the built-in kind.
    assert plugin.seen == {"_lock", "_storage.json"}
    open_services(settings, plugins=with_store(tmp_path, plugin)).close()
    with pytest.raises(
        OperatorError, match="is kept by the snapshot store 'elsewhere' and the journal 'sqlite'"
    ):
        open_services(EngineSettings(data_dir=tmp_path))


@pytest.mark.parametrize("error", [StorageFailed("no"), Opening("no")])
def test_what_does_not_open_keeps_nothing(tmp_path: Path, error: Exception) -> None:
    settings = EngineSettings(data_dir=tmp_path, snapshot_store="elsewhere")
    with pytest.raises(type(error)):
        open_services(settings, plugins=with_store(tmp_path, Plugin(error)))
    assert not (tmp_path / "_storage.json").exists()
    open_services(EngineSettings(data_dir=tmp_path)).close()
