"""Fast searches of one library, alone and beside slow work on another of the same server: what it does to their p99."""

from __future__ import annotations

import statistics
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from road import wrk
from road.client import Client, as_npy, as_query
from road.contenders import vdb
from road.contenders.contract import Kit
from road.work import K

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from road.options import Options
    from road.work import Work

__all__ = ["measure"]


def measure(work: Work, options: Options, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure the p99 of fast searches: alone, then beside each kind of slow work, round after round."""
    with (
        vdb.running(folder / "data", folder / "log") as port,
        Client(port, prefix=vdb.PREFIX, key=vdb.KEY) as client,
    ):
        say("stall: filling two libraries ...")
        vdb.fill(client, "fast", work, options.index)
        vdb.fill(client, "slow", work, "brute")
        params, _ = vdb.tuned(client, "fast", Kit(work=work, options=options, folder=folder))
        url = f"http://127.0.0.1:{port}{vdb.PREFIX}"
        fast = wrk.Load(
            url=f"{url}/fast/search",
            bodies=wrk.write_bodies(
                folder / "fast", [as_query(one, K, params=params) for one in work.queries]
            ),
            key=vdb.KEY,
            connections=options.connections,
        )
        exact = replace(
            fast,
            url=f"{url}/slow/search",
            bodies=wrk.write_bodies(folder / "slow", [as_query(one, K) for one in work.queries]),
            connections=1,
        )
        batch = replace(
            exact,
            url=f"{url}/slow/search/batch?k={K}",
            bodies=wrk.write_bodies(folder / "batch", [as_npy(work.queries)]),
            content_type="application/x-npy",
        )
        beside = {
            "an exact search over all rows": exact,
            f"a batch of {len(work.queries):,} exact searches": batch,
        }
        wrk.warm_up(fast)
        wrk.warm_up(exact)
        alone: list[float] = []
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in beside}
        for number in range(options.rounds):
            say(f"stall: round {number + 1} of {options.rounds} ...")
            base = wrk.read(wrk.start(fast, options.seconds))
            alone.append(base.p99_us)
            for name, load in beside.items():
                # The slow one begins first and ends last.
                slow = wrk.start(load, options.seconds + 1)
                among = wrk.read(wrk.start(fast, options.seconds))
                took = wrk.read(slow)
                runs[name].append(
                    {
                        "alone_p99_us": base.p99_us,
                        "p99_us": among.p99_us,
                        "p50_us": among.p50_us,
                        "rate": among.rate,
                        "slow_p50_us": took.p50_us,
                    }
                )
    return {
        "alone_p99_us": alone,
        "lines": [
            {
                "name": name,
                "rounds": measured,
                "ratio": statistics.median(one["p99_us"] / one["alone_p99_us"] for one in measured),
            }
            for name, measured in runs.items()
        ],
    }
