"""The checks of the bench by name, at a size that tells a mutant soon; each gives the first thing that is wrong, or nothing."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from crash_kit.forks import gather
from crash_kit.journal_places import JOURNAL, places
from crash_kit.shim import Fault
from crash_kit.template import make_template

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from crash_kit.forks import Forks

__all__ = ["run_check"]

_SEED = 1
_FIRST = (1, 4, 2)
"""Images that show most of what is missing: all is lost that may be, names alone, bytes alone."""


def run_check(name: str, forks: Forks, base: Path) -> str:
    """Run a check; gives what is wrong, or nothing."""
    kind, _, what = name.partition(" ")
    try:
        _CHECKS[kind](forks, base, what)
    except (AssertionError, RuntimeError) as error:
        return str(error) or repr(error)
    return ""


def _power(forks: Forks, base: Path, story: str) -> None:
    make_template(forks, base)
    recorded = forks.one("crash_kit.power:record", inline=True, base=str(base), story=story)
    assert not recorded.error, recorded.error
    moments = list(range(0, recorded.result["moments"], 8))
    # In no order: what a mutant spoils is rarely at the beginning.
    random.Random(_SEED).shuffle(moments)
    for variants in (_FIRST, tuple(one for one in range(20) if one not in _FIRST)):
        jobs = (
            {
                "base": str(base),
                "story": story,
                "first": at,
                "last": at + 8,
                "variants": variants,
                "seed": _SEED,
            }
            for at in moments
        )
        gather(forks.map("crash_kit.power:cut", jobs, inline=True, timeout=300), most=1)


def _flush(forks: Forks, base: Path, _: str) -> None:
    make_template(forks, base)
    recorded = forks.one("crash_kit.power:record", inline=True, base=str(base), story="short")
    assert not recorded.error, recorded.error
    jobs = (
        {"base": str(base), "at": at, "seed": _SEED, "of_root": of_root}
        for kind, of_root in (("root_flushes", True), ("flushes", False))
        for at in range(recorded.result[kind], 0, -1)
    )
    gather(forks.map("crash_kit.power:cut_after_a_failed_flush", jobs, inline=True), most=1)


def _sweep(forks: Forks, base: Path, _: str) -> None:
    make_template(forks, base)
    quiet = forks.one("crash_kit.play:sweep", inline=True, base=str(base))
    assert not quiet.error, quiet.error
    assert not quiet.result["problem"], quiet.result["problem"]
    calls = list(range(1, quiet.state.count + 1))
    random.Random(_SEED).shuffle(calls)
    for at in calls:
        kinds = ((Fault.ENOSPC, False), (Fault.EIO, False), (Fault.KILL_AFTER, False))
        jobs = (
            {"base": str(base), "at": at, "fault": int(fault), "sticky": sticky} for fault, sticky in kinds
        )
        for outcome in forks.map("crash_kit.play:sweep", jobs, inline=True):
            problem = outcome.error or outcome.result["problem"]
            assert not problem, f"{Fault(outcome.job['fault']).name} at call {at}: {problem}"


def _damage(forks: Forks, base: Path, what: str) -> None:
    kind = "closed"  # no log, whose own checksums would notice first
    made = forks.one("crash_kit.damage:prepare", base=str(base), kind=kind)
    assert not made.error, made.error
    jobs: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
        "snapshots": lambda: ({"how": "flip", "step": 5, "part": part, "parts": 4} for part in range(4)),
        "journal": lambda: (
            {
                "file": file,
                "how": how,
                "places": list(chosen[at : at + 50]),
                "part": hash((file, how, at)) % 10**6,
            }
            for file in (JOURNAL,)
            for how in ("flip", "zeros")
            for data in [(base / kind / file).read_bytes()]
            for chosen in [
                list(places(data, 31, random.Random(_SEED)))
                if how == "flip"
                else list(range(0, len(data), 512))
            ]
            for at in range(0, len(chosen), 50)
        ),
        "engine": lambda: ({"seed": str(part), "count": 10, "worlds": made.result} for part in range(20)),
    }
    described = ({"base": str(base), "kind": kind, **job} for job in jobs[what]())
    gather(
        forks.map(f"crash_kit.damage:{what}", described, inline=what == "engine", timeout=300),
        most=1,
    )


_CHECKS: dict[str, Callable[[Forks, Path, str], None]] = {
    "power": _power,
    "flush": _flush,
    "sweep": _sweep,
    "damage": _damage,
}
