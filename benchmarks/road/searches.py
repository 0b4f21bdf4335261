"""Searches over HTTP: all servers stay up, and the load generator goes from one to the next, round after round."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from race.peers.contract import Absent

from road import wrk
from road.contenders import bare, chroma, vdb
from road.contenders.contract import Kit, Target

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from road.options import Options
    from road.work import Work

__all__ = ["measure"]


def measure(work: Work, options: Options, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Race every contender that is there; a result is one entry for each target, with one rate for each round."""
    contenders: dict[str, Any] = {"bare": bare.targets, "vdb": vdb.targets}
    if options.chroma:
        contenders["chroma"] = chroma.targets
    absent: dict[str, str] = {}
    with ExitStack() as stack:
        targets: list[Target] = []
        for name, start in contenders.items():
            own = folder / name
            own.mkdir()
            say(f"searches: starting and filling {name} ...")
            try:
                targets += stack.enter_context(start(Kit(work=work, options=options, folder=own)))
            except Absent as error:
                absent[name] = str(error)
                say(f"searches: {name} is ABSENT: {error}")
        runs: dict[str, list[wrk.Run]] = {target.name: [] for target in targets}
        for target in targets:
            # What was never asked for is not in memory yet, and costs of searches are not known yet.
            wrk.warm_up(target.load)
        for number in range(options.rounds):
            say(f"searches: round {number + 1} of {options.rounds}, {len(targets)} loads ...")
            for target in targets[number % len(targets) :] + targets[: number % len(targets)]:
                runs[target.name].append(wrk.read(wrk.start(target.load, options.seconds)))
    return {
        "absent": absent,
        "lines": [
            {
                "name": target.name,
                "setting": target.setting,
                "recall": target.recall,
                "queries_s": [run.rate * target.queries for run in runs[target.name]],
                "p50_us": [run.p50_us for run in runs[target.name]],
                "p99_us": [run.p99_us for run in runs[target.name]],
            }
            for target in targets
        ],
    }
