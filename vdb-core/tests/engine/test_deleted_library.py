"""A library that is deleted while the process is killed: it is gone, and its id is free."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from engine_kit import add, build, fill

from vdb_core.errors import LibraryNotFound
from vdb_core.persistence.numpy_snapshots import NumpySnapshotStore
from vdb_core.persistence.sqlite_journal import SqliteJournal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vdb_core.services import Services


@pytest.mark.parametrize("generations", [0, 1, 2, 3])
@pytest.mark.parametrize(
    "moment",
    [(NumpySnapshotStore, "delete"), (SqliteJournal, "trim")],
    ids=["before the files", "before the journal"],
)
def test_killed_in_the_midst_of_a_deletion(
    opener: Callable[..., Services],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    generations: int,
    moment: tuple[type, str],
) -> None:
    services = opener(tmp_path)
    fill(services, 10)
    for number in range(generations):
        add(services, [50 + number])
        build(services, "numpy")
    add(services, [70])

    def gone(*_: Any) -> Any:
        raise OSError("the process is gone")

    with monkeypatch.context() as patches:
        patches.setattr(*moment, gone)
        with pytest.raises(OSError, match="gone"):
            services.libraries.delete("lib").result(10)
    services.close()
    for _ in range(2):
        again = opener(tmp_path)
        with pytest.raises(LibraryNotFound):
            again.libraries.get("lib")
        assert again.libraries.list().items == []
        assert again.health()["damaged_libraries"] == []
        again.close()
    again = opener(tmp_path)
    assert again.libraries.create({"id": "lib", "name": "another"}).result(10).chunks == 0
