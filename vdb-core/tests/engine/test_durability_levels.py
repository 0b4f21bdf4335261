"""What a write has reached when it is acknowledged: the device, the operating system, or the process alone."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from engine_kit import add, fill

from vdb_core.errors import OperatorError
from vdb_core.persistence.sqlite_file import pragma
from vdb_core.persistence.sqlite_journal import SqliteJournal
from vdb_core.plugins import JournalType, PluginManager, hookimpl
from vdb_core.services import DURABILITIES, EngineSettings, open_services

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from vdb_core.services import Services

WRITER = """
import os, sys
from pathlib import Path
from vdb_core.services import EngineSettings, open_services
services = open_services(EngineSettings(data_dir=Path(sys.argv[1]), durability=sys.argv[2]))
services.libraries.create({"id": "lib", "name": "lib", "metric": "l2"}).result(10)
for number in range(5):
    services.libraries.create_chunk("lib", {"id": f"c{number}", "embedding": [number, 1]}).result(10)
os._exit(0)  # as a killed process: nothing is closed
"""


@pytest.mark.parametrize("level", ["fsync", "os"])
def test_what_was_acknowledged_survives_a_killed_process(tmp_path: Path, level: str) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", WRITER, str(tmp_path), level], env=environment, check=True)
    with open_services(EngineSettings(data_dir=tmp_path)) as services:
        assert services.libraries.get("lib").chunks == 5


@pytest.mark.parametrize(("level", "synchronous"), [("fsync", 2), ("os", 1)])
def test_an_append_waits_for_the_device_where_that_is_promised(
    opener: Callable[..., Services],
    tmp_path: Path,
    level: str,
    synchronous: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[object] = []
    append = SqliteJournal.append

    def looked_at(self: SqliteJournal, batch: Any) -> int:
        assert self._connection is not None
        seen.append(pragma(self._connection, "synchronous"))
        return append(self, batch)

    monkeypatch.setattr(SqliteJournal, "append", looked_at)
    services = opener(tmp_path, durability=level)
    assert services.health()["durability"] == level
    fill(services, 3)
    # A trim relaxes that for its own transactions, and must not leave it so.
    for _ in range(3):
        add(services, [7])
        assert services.indexing.snapshot("lib").wait(10)
    add(services, [8])
    assert set(seen) == {synchronous}


def test_every_level_is_in_the_settings_of_the_server() -> None:
    assert DURABILITIES == ("fsync", "os", "none")


def test_a_journal_that_knows_no_levels_is_not_asked_for_one(tmp_path: Path) -> None:
    class Plugin:
        @hookimpl
        def vdb_register_journals(self) -> list[JournalType]:
            return [
                JournalType(
                    name="plain", summary="Without.", open=lambda where, _: SqliteJournal(tmp_path / "data")
                )
            ]

    plugins = PluginManager(entry_points=list)
    plugins.load()
    plugins.register(Plugin(), name="plain")
    with pytest.raises(OperatorError, match="'plain' knows no durability but its own"):
        open_services(EngineSettings(data_dir=tmp_path, journal="plain", durability="os"), plugins=plugins)
    # The directory is free again.
    open_services(EngineSettings(data_dir=tmp_path, journal="plain"), plugins=plugins).close()
