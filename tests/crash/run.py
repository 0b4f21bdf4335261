"""What ``python3 noxfile.py -s crash`` runs: chooses parts of the crash bench and how much of them.

Without arguments everything runs at its short setting, as in ``-s tests``. Naming parts runs these alone; ``--long``
takes each of them at its long setting.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PARTS = {
    "cycles": HERE / "kills",
    "minutes": HERE / "soak",
    "faults": HERE / "faults" / "test_fault_sweep.py",
    "images": HERE / "faults" / "test_power_loss.py",
    "damage": HERE / "faults" / "test_byte_damage.py",
    "mutants": HERE / "faults" / "test_mutants.py",
}
"""The option that asks for a part, and where the part is."""


def main(arguments: list[str]) -> int:
    """Run what was asked for; gives the exit code of pytest."""
    parser = argparse.ArgumentParser(prog="python3 noxfile.py -s crash --", description=__doc__)
    parser.add_argument("--cycles", type=int, metavar="N", help="kill -9 cycles (60)")
    parser.add_argument("--minutes", type=float, metavar="M", help="minutes of soak (0.25)")
    parser.add_argument("--images", type=int, metavar="N", help="power-loss images (5000)")
    parser.add_argument("--faults", action="store_true", help="a fault at every system call of a workload")
    parser.add_argument("--damage", action="store_true", help="every byte of a data directory damaged")
    parser.add_argument(
        "--mutants", action="store_true", help="each safeguard removed: the bench must notice"
    )
    parser.add_argument("--long", action="store_true", help="the long setting of each part")
    parser.add_argument("--seed", type=int, metavar="S", help="repeat a run that printed VDB_CRASH_SEED")
    chosen, more = parser.parse_known_args(arguments)
    for name in ("cycles", "images", "minutes", "seed"):
        if getattr(chosen, name) is not None:
            os.environ[f"VDB_CRASH_{name.upper()}"] = str(getattr(chosen, name))
    if chosen.long:
        os.environ["VDB_CRASH_LONG"] = "1"
    if chosen.long or chosen.cycles or chosen.images or chosen.minutes:
        # A test of an hour is not one that hangs.
        more += ["-o", "faulthandler_timeout=0"]
    paths = {str(path) for name, path in PARTS.items() if getattr(chosen, name)} or {str(HERE)}
    return int(pytest.main([*sorted(paths), *more]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
