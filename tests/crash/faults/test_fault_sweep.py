"""Every call by which vdb changes its data directory fails in turn, in every way, or is the last one before the end.

After a fault the process goes on, and is held to what it says; then it ends as in a crash, and what it left is opened
twice: acknowledged is there bit for bit, refused is not, unknown is there as a whole or not at all, never sent is not.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from crash_kit.figures import figures
from crash_kit.forks import Forks
from crash_kit.scratch import scratch
from crash_kit.settings import LONG
from crash_kit.shim import Fault
from crash_kit.template import make_template

if TYPE_CHECKING:
    from crash_kit.forks import Outcome

SHORT = (
    (Fault.EIO, False),
    (Fault.ENOSPC, True),
    (Fault.SHORT_WRITE, False),
    (Fault.KILL_BEFORE, False),
    (Fault.KILL_AFTER, False),
)
KINDS = (*SHORT, (Fault.EIO, True), (Fault.ENOSPC, False)) if LONG else SHORT


def name_of(job: dict[str, Any]) -> str:
    """What a run injected."""
    return f"{Fault(job['fault']).name}{' from then on' if job['sticky'] else ''}"


def told(outcome: Outcome) -> str:
    """What is wrong with a run, or nothing."""
    problem = outcome.error or outcome.result["problem"]
    if not problem:
        return ""
    stage = outcome.result["stage"] if outcome.result else ""
    state = outcome.state
    return (
        f"{name_of(outcome.job)} at call {outcome.job['at']} ({state.name} {state.path}), {stage}:\n{problem}"
    )


if sys.platform == "linux":  # The shim is LD_PRELOAD's; what it finds is true of other systems as well.

    def test_a_fault_at_every_call_loses_nothing() -> None:
        begin = time.monotonic()
        with scratch() as base, Forks(warm=["crash_kit.play"]) as forks:
            make_template(forks, base)
            quiet = forks.one("crash_kit.play:sweep", base=str(base))
            assert not told(quiet), told(quiet)
            calls = quiet.state.count
            assert calls >= 300, f"the workload makes {calls} calls; expected 300 at least"
            jobs = (
                {"base": str(base), "at": at, "fault": int(fault), "sticky": sticky}
                for at, (fault, sticky) in itertools.product(range(1, calls + 1), KINDS)
            )
            outcomes = forks.map("crash_kit.play:sweep", jobs, inline=True)
            ran, struck = Counter[str](), Counter[str]()
            calls_struck = Counter[str]()
            problems: list[str] = []
            for outcome in outcomes:
                if problem := told(outcome):
                    problems.append(problem)
                    if len(problems) >= 20:
                        break
                ran[name_of(outcome.job)] += 1
                if outcome.state.struck:
                    struck[name_of(outcome.job)] += 1
                    calls_struck[outcome.state.name] += 1
        assert not problems, f"{len(problems)} runs lost something or more:\n" + "\n".join(problems[:5])
        # The journal's log is emptied in lulls, which come or do not: the last calls of a run are not in every other.
        for kind, count in struck.items():
            if not kind.startswith("SHORT"):
                assert count >= 0.9 * ran[kind], f"{kind}: {count} of {ran[kind]} runs were struck"
        assert {
            "open",
            "write",
            "pwrite",
            "fsync",
            "fdatasync",
            "rename",
            "ftruncate",
            "unlink",
            "mkdir",
        } <= set(calls_struck), calls_struck
        figures(
            "fault at every call",
            calls=calls,
            runs=sum(ran.values()),
            **struck,
            lost=0,
            seconds=round(time.monotonic() - begin),
        )
        figures("  calls struck", **calls_struck)
