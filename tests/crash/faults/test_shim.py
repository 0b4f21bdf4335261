"""The shim strikes where it was told to, and sees everything that changes the directory."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

import pytest
from crash_kit.disk import Disk
from crash_kit.forks import Forks
from crash_kit.record import Operation, read_record
from crash_kit.shim import Fault
from crash_kit.trees import read_tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

if sys.platform == "linux":  # The shim is LD_PRELOAD's; what it finds is true of other systems as well.

    @pytest.fixture(scope="module")
    def forks() -> Iterator[Forks]:
        with Forks(1) as pool:
            yield pool

    def test_a_replay_of_the_record_is_the_directory_byte_for_byte(forks: Forks, tmp_path: Path) -> None:
        root, record = tmp_path / "data", tmp_path / "record"
        root.mkdir()
        outcome = forks.one("crash_kit.shim_trial:everything", root=str(root), record=str(record))
        assert outcome.error == ""
        assert outcome.state.unseen == 0
        calls = read_record(record, root)
        assert {call.operation for call in calls} == set(Operation)
        disk = Disk()
        for call in calls:
            disk.replay(call)
        assert disk.image(keeps=lambda _: True, content=lambda inode: inode.content()) == read_tree(root)

    def test_a_shared_mapping_is_noticed(forks: Forks, tmp_path: Path) -> None:
        assert forks.one("crash_kit.shim_trial:mapping", root=str(tmp_path)).state.unseen == 1

    @pytest.mark.parametrize(
        ("fault", "sticky", "told", "left"),
        [
            (Fault.EIO, False, ["EIO", "", ""], [b"", b"bb", b"cc"]),
            (Fault.EIO, True, ["EIO", "EIO", "EIO"], [b""]),
            (Fault.ENOSPC, True, ["ENOSPC", "ENOSPC", "ENOSPC"], [b""]),
            (Fault.SHORT_WRITE, False, ["short", "", ""], [b"a", b"bb", b"cc"]),
        ],
    )
    def test_a_fault_strikes_once_or_for_good(
        forks: Forks, tmp_path: Path, fault: Fault, sticky: bool, told: list[str], left: list[bytes]
    ) -> None:
        outcome = forks.one(
            "crash_kit.shim_trial:three_files", root=str(tmp_path), at=2, fault=int(fault), sticky=sticky
        )
        assert outcome.result == told
        assert [path.read_bytes() for path in sorted(tmp_path.iterdir())] == left
        assert (outcome.state.name, outcome.state.path) == ("write", str(tmp_path / "0"))

    @pytest.mark.parametrize(
        ("fault", "at", "told"),
        [
            (Fault.FAIL_FLUSH, 1, ["EIO", "", ""]),
            (Fault.FAIL_FLUSH, 3, ["", "", "EIO"]),
            (Fault.FAIL_ROOT_FLUSH, 1, ["", "EIO", ""]),
            (Fault.FAIL_ROOT_FLUSH, 2, ["", "", ""]),
        ],
    )
    def test_a_flush_is_struck_by_its_number_among_its_kind(
        forks: Forks, tmp_path: Path, fault: Fault, at: int, told: list[str]
    ) -> None:
        outcome = forks.one("crash_kit.shim_trial:three_flushes", root=str(tmp_path), at=at, fault=int(fault))
        assert outcome.result == told
        assert (outcome.state.flushes, outcome.state.root_flushes) == (3, 1)

    @pytest.mark.parametrize(("fault", "left"), [(Fault.KILL_BEFORE, b""), (Fault.KILL_AFTER, b"aa")])
    def test_a_kill_comes_before_or_after_the_call(
        forks: Forks, tmp_path: Path, fault: Fault, left: bytes
    ) -> None:
        outcome = forks.one(
            "crash_kit.shim_trial:three_files", root=str(tmp_path), at=2, fault=int(fault), sticky=False
        )
        assert outcome.signal == signal.SIGKILL
        assert outcome.state.struck == 1
        assert [path.read_bytes() for path in tmp_path.iterdir()] == [left]
