"""Callers are not told where this machine keeps things."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vdb_core import errors as core
from vdb_core.engine.jobs import Job
from vdb_core.plugins import PluginManager
from vdb_server.settings import Settings
from vdb_server.wire.redact import PathHider

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest


def test_known_directories_go_and_what_only_looks_like_a_path_stays(tmp_path: Path) -> None:
    data = tmp_path / "data"
    hide = PathHider(Settings(data_dir=data))
    assert hide(f"no room for {data}/_journal.sqlite3.") == "no room for …/_journal.sqlite3."
    assert hide(f"cannot import x from y ({sys.prefix}/lib/y.py)") == "cannot import x from y (…/lib/y.py)"
    assert hide(f"{Path.home()}/x and {Path.cwd()}/y") == "…/x and …/y"
    assert hide("/params/n_lists at /v1/libraries/a/index") == "/params/n_lists at /v1/libraries/a/index"
    other = PathHider(Settings(data_dir=Path("/nowhere/data")))
    assert other("/nowhere/data and /nowhere/database") == "… and /nowhere/database"


def test_an_operators_error_tells_no_directory_and_the_log_does(
    serve: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    where = f"{tmp_path}/data/_journal.sqlite3"

    def full(*_: object, **__: object) -> object:
        raise core.StorageFull(f"Could not write: make room for {where}.")

    monkeypatch.setattr("vdb_core.services.libraries.LibraryService.create", full)
    monkeypatch.setattr("vdb_core.services.libraries.LibraryService.upsert_chunks", full)
    with serve(Settings(data_dir=tmp_path / "data")) as client, caplog.at_level(logging.ERROR):
        for path, body in (
            ("/v1/libraries", {"name": "x"}),
            ("/v1/libraries/x/chunks/upsert", {"chunks": []}),
        ):
            answer = client("POST", path, body)
            assert (answer.status, answer.code) == (507, "storage_full")
            assert str(tmp_path) not in answer.body.decode()
            assert "_journal.sqlite3" in answer.json()["detail"]
    assert where in caplog.text


def test_a_failed_job_tells_no_directory(
    serve: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job("j", "a", "index")
    job.finish("failed", core.StorageFailed(f"Could not write {tmp_path}/data/a/1/vectors.npy"))
    monkeypatch.setattr("vdb_core.services.indexing.IndexingService.job", lambda *_: job)
    with serve(Settings(data_dir=tmp_path / "data")) as client:
        answer = client("GET", "/v1/jobs/j").json()
    assert answer["error"] == "Could not write …/a/1/vectors.npy"


def test_a_broken_plugin_tells_no_directory(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = PluginManager(entry_points=lambda: ())
    manager.load()
    (report, *_) = manager.reports()
    broken = type(report)(**{**_fields(report), "reason": f"cannot import ({sys.prefix}/lib/x.py)"})
    monkeypatch.setattr("vdb_core.plugins.PluginManager.reports", lambda _: [broken])
    assert client("GET", "/v1/plugins").json()["items"][0]["reason"] == "cannot import (…/lib/x.py)"


def _fields(report: object) -> dict[str, object]:
    import dataclasses

    return {
        field.name: getattr(report, field.name)
        for field in dataclasses.fields(report)  # pyright: ignore[reportArgumentType]
    }


def test_no_room_for_a_body_is_507(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    def full(*_: object) -> object:
        raise OSError(errno.ENOSPC, "No space left on device", "/tmp/upload")

    monkeypatch.setattr("vdb_server.wire.spool.Spool.write", full)
    answer = client("POST", "/v1/libraries/import", body=b"x", headers={"content-type": "application/x-tar"})
    assert (answer.status, answer.code) == (507, "storage_full")
    assert "/tmp" not in answer.body.decode()
