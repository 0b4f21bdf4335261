"""One engine a data directory: within a process, between processes, and after one of them was killed."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from vdb_core.errors import DataDirectoryLocked, StorageFailed
from vdb_core.persistence import lock_directory

if TYPE_CHECKING:
    from pathlib import Path

HOLDER = """
import sys
from pathlib import Path
from vdb_core.persistence import lock_directory
lock = lock_directory(Path(sys.argv[1]))
sys.stdout.write("held\\n")
sys.stdout.flush()
sys.stdin.read()
"""


def start_holder(path: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    return process


def test_a_second_engine_in_the_same_process_is_refused(tmp_path: Path) -> None:
    with (
        lock_directory(tmp_path / "new" / "data") as lock,
        pytest.raises(DataDirectoryLocked, match=f"this very process .pid {os.getpid()} on "),
    ):
        lock_directory(lock.path)
    lock_directory(tmp_path / "new" / "data").release()


def test_another_process_is_named(tmp_path: Path) -> None:
    with start_holder(tmp_path) as process:
        with pytest.raises(DataDirectoryLocked, match=f"another process .pid {process.pid} on "):
            lock_directory(tmp_path)
        process.communicate()
    lock_directory(tmp_path).release()


def test_the_lock_goes_with_a_killed_process(tmp_path: Path) -> None:
    with start_holder(tmp_path) as process:
        process.kill()
        process.wait()
        lock_directory(tmp_path).release()


def test_release_twice_does_not_release_somebody_elses(tmp_path: Path) -> None:
    first = lock_directory(tmp_path)
    first.release()
    with lock_directory(tmp_path):
        first.release()
        with pytest.raises(DataDirectoryLocked):
            lock_directory(tmp_path)


def test_a_stale_text_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / "_lock").write_text("pid 1 on elsewhere since ever\n")
    with lock_directory(tmp_path):
        assert f"pid {os.getpid()} on " in (tmp_path / "_lock").read_text()


def test_what_is_no_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFailed, match="file is no directory"):
        lock_directory(tmp_path / "file")
    (tmp_path / "_lock").symlink_to(tmp_path / "file")
    with pytest.raises(StorageFailed, match="lock the data directory"):
        lock_directory(tmp_path)
