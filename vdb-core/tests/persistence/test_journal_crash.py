"""The journal against real ends: a process killed while it appends, and a file that may not grow any further."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import pytest

from vdb_core.persistence.sqlite_journal import SqliteJournal

if TYPE_CHECKING:
    from pathlib import Path

APPENDER = """
import random, sys, threading
from pathlib import Path
import numpy as np
from vdb_core.persistence import JournalEntry
from vdb_core.persistence.sqlite_journal import SqliteJournal

seed = int(sys.argv[2])
numbers = random.Random(seed)
journal = SqliteJournal(Path(sys.argv[1]), part_bytes=50_000, file_bytes=70_000)
threading.Thread(
    target=lambda: [journal.trim("trimmed", journal.position - 5) for _ in iter(int, 1)], daemon=True
).start()
batch = 0
while True:
    size = numbers.choice([1, 2, 7, 40])
    rows = numbers.choice([1, 3, 300])
    entries = [
        JournalEntry(
            library_id=numbers.choice(["kept", "trimmed"]) if index else "kept",
            operation=b"%d %d %d %d" % (seed, batch, index, size),
            vectors=np.full((rows, 64), batch, dtype=np.float32),
        )
        for index in range(size)
    ]
    position = journal.append(entries)
    sys.stdout.write(f"{batch} {position}\\n")
    sys.stdout.flush()
    batch += 1
"""

LIMITED = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from vdb_core.errors import StorageFailed
from vdb_core.persistence import JournalEntry
from vdb_core.persistence.sqlite_journal import SqliteJournal

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
journal = SqliteJournal(Path(sys.argv[1]), file_bytes=int(sys.argv[2]))
small = [JournalEntry(library_id="a", operation=b"small")]
large = [JournalEntry(library_id="a", operation=b"large", vectors=np.zeros((1000, 384), dtype=np.float32))]
journal.append(small)
for _ in range(3):
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, resource.RLIM_INFINITY))
    try:
        journal.append([*small, *large])
    except StorageFailed as error:
        sys.stdout.write(f"{error.code}\\n")
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert {item.operation for _, item in journal.replay("a", 0)} == {b"small"}
sys.stdout.flush()
import os
os._exit(0)  # as a killed process: nothing is closed
"""


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)


def check_kept(journal: SqliteJournal, acknowledged: dict[int, int]) -> None:
    """Every acknowledged batch is there, in order; what is there of any batch is its first entry and no gap."""
    last: dict[int, int] = {}
    previous = 0
    for position, item in journal.replay("kept", 0):
        assert position > previous
        previous = position
        seed, batch, index, size = map(int, item.operation.split())
        if index == 0:
            assert batch == last.get(seed, -1) + 1
            last[seed] = batch
        assert batch == last[seed]
        assert item.vectors is not None
        assert np.all(item.vectors == batch)
        assert index < size
    for seed, batch in acknowledged.items():
        assert last.get(seed, -1) - batch in {0, 1}


def check_whole(journal: SqliteJournal, seed: int) -> None:
    """The last batch of a killed process is there as a whole, over both libraries."""
    found: dict[int, list[tuple[int, int]]] = {}
    for library_id in ("kept", "trimmed"):
        for _, item in journal.replay(library_id, 0):
            from_seed, batch, index, size = map(int, item.operation.split())
            if from_seed == seed:
                found.setdefault(batch, []).append((index, size))
    if found:
        # Trimming stops five entries before the end at the earliest, so the end of the last batch is there.
        entries = sorted(found[max(found)])
        size = entries[0][1]
        indices = [index for index, _ in entries]
        assert indices[0] == 0
        assert indices[-1] == size - 1
        assert set(range(max(0, size - 5), size)) <= set(indices)


def test_a_killed_process_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    acknowledged: dict[int, int] = {}
    delays = random.Random(5)
    for seed in range(4):
        with start(APPENDER, tmp_path, seed) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline()]
            time.sleep(delays.uniform(0, 0.4))
            process.kill()
            lines += process.stdout.readlines()
        whole = [line for line in lines if line.endswith("\n")]
        batch, position = map(int, whole[-1].split())
        acknowledged[seed] = batch
        with closing(SqliteJournal(tmp_path)) as journal:
            assert journal.position >= position
            check_kept(journal, acknowledged)
            check_whole(journal, seed)
    assert sum(acknowledged.values()) > 10


if sys.platform != "win32":  # Windows has no limits on the size of files.

    @pytest.mark.parametrize(
        ("file_bytes", "answers"),
        [
            # To SQLite it is a write that failed, half way through a commit.
            (1 << 30, ["write_uncertain", "storage_read_only", "storage_read_only"]),
            # A file of its own comes before the commit: what the system does not take was never begun.
            (500_000, ["storage_failed"] * 3),
        ],
    )
    def test_a_file_that_may_not_grow_takes_nothing(
        tmp_path: Path, file_bytes: int, answers: list[str]
    ) -> None:
        for number in range(3):
            with start(LIMITED, tmp_path, file_bytes) as process:
                output, _ = process.communicate(timeout=60)
                assert process.returncode == 0
            assert output.split() == answers
            with closing(SqliteJournal(tmp_path)) as journal:
                operations = [item.operation for _, item in journal.replay("a", 0)]
                assert operations == [b"small"] * (number + 1)
