"""Libraries come and go, and the server's memory, descriptors and threads stay where they are.

The short setting; ``VDB_CRASH_MINUTES`` sets how long it takes, and from ten minutes on the promise itself is checked: less
than 1 MB an hour.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crash_kit.figures import figures

PROGRAM = Path(__file__).with_name("program.py")
MINUTES = float(os.environ.get("VDB_CRASH_MINUTES", "0.4"))
GROWTH_MB = 5.0
"""What a short run allows: allocators settle, and come to 1 MB or so."""


def soak(place: Path, *arguments: str, minutes: float) -> dict[str, Any]:
    command = [sys.executable, str(PROGRAM), "--minutes", str(minutes), "--place", str(place), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120 + 90 * minutes, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    came: dict[str, Any] = json.loads(done.stdout)
    print(f"\n{came}")
    return came


def test_nothing_grows(tmp_path: Path) -> None:
    came = soak(tmp_path, minutes=MINUTES)
    figures("soak", **came)
    assert came["samples"] >= 4
    assert came["more_descriptors"] <= 0
    assert came["more_threads"] <= 0
    assert came["growth_mb"] < GROWTH_MB
    if MINUTES >= 10:
        slope, low, _ = came["resident_mb_an_hour"]
        assert slope < 1.0 or low < 0.0, "it grows, and not by chance"


def test_a_leak_of_memory_is_noticed(tmp_path: Path) -> None:
    """A megabyte of each deleted library."""
    more = ["--sabotage", "keep_deleted_libraries", "--clients", "3", "--rows", "60"]
    came = soak(tmp_path, *more, minutes=0.25)
    assert came["growth_mb"] > GROWTH_MB


def test_a_leak_of_descriptors_is_noticed(tmp_path: Path) -> None:
    came = soak(tmp_path, "--sabotage", "keep_files_open", "--clients", "2", "--rows", "60", minutes=0.15)
    assert came["more_descriptors"] > 2


@pytest.mark.parametrize("slope", [0.0, 0.8, 5.0, -3.0])
def test_a_trend_is_told_with_its_error(slope: float) -> None:
    """Half an hour of samples that jump up and down by megabytes."""
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("soak_trend", PROGRAM.with_name("trend.py"))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules["soak_trend"] = module
    spec.loader.exec_module(module)
    random = np.random.default_rng(0)
    seconds = np.sort(random.uniform(0, 1800, 900))
    noise = random.gamma(2.0, 1.0, 900) + 20.0 * (random.random(900) < 0.02)
    trend = module.trend_of(seconds.tolist(), (100.0 + slope * seconds / 3600 + noise).tolist())
    assert trend.low < slope < trend.high
    assert trend.high - trend.low < 2.0
    assert abs(trend.slope - slope) < 0.5
