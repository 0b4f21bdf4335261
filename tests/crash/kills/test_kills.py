"""Promise 3: kill -9 at random moments under concurrent clients, and everything acknowledged is there, nothing else.

The short setting; ``VDB_CRASH_CYCLES`` sets how many kills there are, ``VDB_CRASH_SEED`` repeats what clients did.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from crash_kit.figures import figures

PROGRAM = Path(__file__).with_name("program.py")
CYCLES = int(os.environ.get("VDB_CRASH_CYCLES", "60"))


def run(*arguments: str, timeout: float) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROGRAM), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    seed = os.environ.get("VDB_CRASH_SEED")
    more = [] if seed is None else ["--seed", seed]
    done = run("--cycles", str(CYCLES), "--place", str(tmp_path), *more, timeout=60 + 20 * CYCLES)
    print(done.stdout)
    assert done.returncode == 0, done.stderr[-8000:]
    counts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    figures("kills", **counts)
    assert counts["cycles"] == CYCLES
    # Something was at stake: writes were acknowledged, others cut off, and of those some had been carried out.
    assert counts["kills"] >= CYCLES
    assert counts["acknowledged"] > 20 * CYCLES
    if CYCLES >= 60:
        assert counts["unknown"] > CYCLES
        assert counts["unknown_but_there"] > 0
        assert counts["kills_during_recovery"] > CYCLES // 5


@pytest.mark.parametrize(
    "sabotage",
    ["answer_before_the_fsync", "bring_back_what_was_deleted", "tear_large_uploads", "remember_chunks"],
)
def test_a_broken_server_is_caught(sabotage: str, tmp_path: Path) -> None:
    done = run("--cycles", "30", "--sabotage", sabotage, "--place", str(tmp_path), timeout=600)
    assert done.returncode != 0, done.stdout
    assert "Violation" in done.stderr, done.stderr[-4000:]
