"""How much of everything: short for CI, long where the environment asks for it (``-s crash`` sets these).

::

    VDB_CRASH_CYCLES      kill -9 cycles
    VDB_CRASH_IMAGES      power-loss images
    VDB_CRASH_MINUTES     minutes of soak
    VDB_CRASH_LONG        1: every byte damaged, each fault once and for good, each image recovered twice
    VDB_CRASH_SEED        what chance starts from; each run prints it
"""

from __future__ import annotations

import os
import random

__all__ = ["CYCLES", "IMAGES", "LONG", "MINUTES", "SEED"]

LONG = os.environ.get("VDB_CRASH_LONG") == "1"
CYCLES = int(os.environ.get("VDB_CRASH_CYCLES", "60"))
IMAGES = int(os.environ.get("VDB_CRASH_IMAGES", "5000"))
MINUTES = float(os.environ.get("VDB_CRASH_MINUTES", "0.25"))
SEED = int(os.environ.get("VDB_CRASH_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 30)
