"""Engines with the odd plugins of engine_kit."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from engine_kit import Odd

from vdb_core.plugins import PluginManager
from vdb_core.services import EngineSettings, open_services

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from vdb_core.services import Services


@pytest.fixture
def odd() -> Odd:
    return Odd()


@pytest.fixture
def plugins(odd: Odd) -> PluginManager:
    manager = PluginManager(entry_points=list)
    manager.load()
    assert manager.register(odd, name="odd").state == "loaded"
    return manager


@pytest.fixture
def opener(plugins: PluginManager) -> Iterator[Callable[..., Services]]:
    opened: list[Services] = []

    def open_them(data_dir: Path | None = None, **changes: Any) -> Services:
        settings = replace(EngineSettings(data_dir=data_dir), **changes)
        services = open_services(settings, plugins=plugins)
        opened.append(services)
        return services

    yield open_them
    for services in opened:
        services.close()


@pytest.fixture
def small_searches_use_the_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vdb_core.engine.search._FEW_ROWS", 0)
