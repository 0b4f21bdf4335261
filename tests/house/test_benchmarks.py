"""The benchmark runs on data of its own making and measures every index type."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_it_measures_each_index_type_beside_numpy() -> None:
    command = ["benchmarks/indexes.py", "--synthetic", "2000x16", "--metric", "l2", "--rounds", "1"]
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, ["demo", os.environ.get("PYTHONPATH", "")])),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for name in ("numpy", "brute", "ivf_flat", "ivf_pq"):
        assert f"│ {name}" in done.stdout
