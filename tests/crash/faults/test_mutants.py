"""A bench that cannot fail proves nothing: each safeguard is taken away in turn, and the bench must notice.

The sources are broken in a copy. Each mutant is given to the checks that should notice it, the quickest first, and the first
thing that is wrong ends it. A mutant that does not apply any more is a failure too.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from crash_kit.checks import run_check
from crash_kit.figures import figures
from crash_kit.forks import Forks
from crash_kit.mutants import MUTANTS, Mutant, apply_to_copy
from crash_kit.scratch import scratch

import vdb_core

PACKAGE = Path(vdb_core.__file__).parent

if sys.platform == "linux":  # The shim is LD_PRELOAD's; what it finds is true of other systems as well.

    @pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
    def test_the_bench_notices(mutant: Mutant) -> None:
        begin = time.monotonic()
        with scratch() as base:
            apply_to_copy(mutant, PACKAGE, base / "sources")
            with Forks(path=[base / "sources"], warm=["crash_kit.power", "crash_kit.damage"]) as forks:
                for check in mutant.checks:
                    place = base / check.replace(" ", "-")
                    place.mkdir()
                    if problem := run_check(check, forks, place):
                        break
                else:
                    raise AssertionError(f"{mutant.name}: not noticed by {', '.join(mutant.checks)}")
        seconds = round(time.monotonic() - begin)
        last = problem.strip().splitlines()[-1]
        figures(f"mutant: {mutant.name}", caught_by=f"{check} ({seconds} s): {last:.100}")

    def test_a_mutant_that_does_not_apply_is_told(tmp_path: Path) -> None:
        stale = Mutant("stale", ("sweep",), (("persistence/durable.py", "what is not there", ""),))
        with pytest.raises(ValueError, match="'stale' does not apply"):
            apply_to_copy(stale, PACKAGE, tmp_path)
