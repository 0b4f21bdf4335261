"""Lets libraries come and go for a long time, and measures what of the server's memory does not go with them.

``python tests/crash/soak/program.py --minutes 30``. Clients work in rounds; between two rounds nothing is asked, nothing is
built, and what the server holds is measured: resident memory, file descriptors, threads. After a warm-up all of them should
stay where they are. See ``docs/explanation/concurrency.md``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "kills"), str(HERE.parents[1] / "support")]

from churn import Churn
from server_kit import ServerProcess
from servers import Nursery
from trend import Trend, trend_of

if TYPE_CHECKING:
    from collections.abc import Sequence

MEGABYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class Sample:
    """What a server holds at one moment."""

    seconds: float
    resident: float
    """Megabytes."""
    private: float
    """Megabytes of it that are no pages of files."""
    descriptors: int
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What came of a soak, its warm-up left out."""

    rounds: int
    requests: int
    minutes: float
    samples: Sequence[Sample]

    @property
    def resident(self) -> Trend:
        """Megabytes an hour."""
        return trend_of([one.seconds for one in self.samples], [one.resident for one in self.samples])

    @property
    def private(self) -> Trend:
        """Megabytes an hour."""
        return trend_of([one.seconds for one in self.samples], [one.private for one in self.samples])

    @property
    def growth(self) -> float:
        """Megabytes by which the lowest of the last third stands above the lowest of the first."""
        third = len(self.samples) // 3
        numbers = [one.resident for one in self.samples]
        return min(numbers[-third:]) - min(numbers[:third])

    def more(self, what: str) -> int:
        """By how much the lowest of the second half of the descriptors or threads stands above that of the first."""
        numbers = [getattr(one, what) for one in self.samples]
        half = len(numbers) // 2
        return min(numbers[half:]) - min(numbers[:half])

    def to_json(self) -> dict[str, object]:
        """All of it, for a report."""
        last = self.samples[-1]
        return {
            "minutes": round(self.minutes, 2),
            "rounds": self.rounds,
            "requests": self.requests,
            "samples": len(self.samples),
            "resident_mb": round(last.resident, 1),
            "resident_mb_an_hour": [
                round(one, 2) for one in (self.resident.slope, self.resident.low, self.resident.high)
            ],
            "private_mb_an_hour": [
                round(one, 2) for one in (self.private.slope, self.private.low, self.private.high)
            ],
            "growth_mb": round(self.growth, 2),
            "descriptors": last.descriptors,
            "more_descriptors": self.more("descriptors"),
            "threads": last.threads,
            "more_threads": self.more("threads"),
        }


def sample(process: psutil.Process, begun: float) -> Sample:
    """Measure a process."""
    memory = process.memory_info()
    return Sample(
        seconds=time.monotonic() - begun,
        resident=memory.rss / MEGABYTE,
        private=(memory.rss - getattr(memory, "shared", 0)) / MEGABYTE,
        descriptors=process.num_fds(),
        threads=process.num_threads(),
    )


def soak(
    url: str,
    pid: int,
    *,
    seconds: float,
    warm_up: float,
    clients: int,
    rows: int,
    dimension: int,
    log: Path | None,
) -> Figures:
    """Run rounds for so long, the warm-up included."""
    process = psutil.Process(pid)
    everybody = [Churn(url, number, rows=rows, dimension=dimension) for number in range(clients)]
    begun = time.monotonic()
    samples: list[Sample] = []
    rounds = 0
    with ExitStack() as stack:
        out = None if log is None else stack.enter_context(log.open("w", encoding="utf-8"))
        for one in everybody:
            stack.callback(one.close)
        while time.monotonic() - begun < seconds:
            _round(everybody)
            rounds += 1
            held = sample(process, begun)
            if out is not None:
                out.write(
                    f"{held.seconds:.1f} {held.resident:.2f} {held.private:.2f} {held.descriptors} {held.threads}\n"
                )
                out.flush()
            if held.seconds >= warm_up:
                samples.append(held)
    return Figures(
        rounds=rounds,
        requests=sum(one.requests for one in everybody),
        minutes=(time.monotonic() - begun) / 60.0,
        samples=samples,
    )


def _round(everybody: Sequence[Churn]) -> None:
    failures: list[BaseException] = []

    def run(one: Churn) -> None:
        try:
            one.round()
        except BaseException as error:  # noqa: BLE001 - raised again below
            failures.append(error)

    threads = [threading.Thread(target=run, args=(one,)) for one in everybody]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def run(options: argparse.Namespace) -> Figures:
    """Start a server, let clients at it, stop it."""
    seconds = 60.0 * options.minutes
    warm_up = seconds / 3 if options.warm_up is None else 60.0 * options.warm_up
    place = Path(tempfile.mkdtemp(prefix="vdb-soak-", dir=options.place))
    size = {
        "clients": options.clients,
        "rows": options.rows,
        "dimension": options.dimension,
        "log": options.log,
    }
    try:
        if options.sabotage is not None:
            with Nursery(options.sabotage) as nursery:
                forked = nursery.start(place / "data", place / "server.log")
                try:
                    forked.wait_until_ready()
                    return soak(forked.url, forked.pid, seconds=seconds, warm_up=warm_up, **size)
                finally:
                    forked.kill()
        with ServerProcess(place / "data") as server:
            return soak(server.url, server.process.pid, seconds=seconds, warm_up=warm_up, **size)
    finally:
        shutil.rmtree(place)


def main() -> None:
    """Run, and print what came of it as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=30.0, help="how long, the warm-up included (30)")
    parser.add_argument("--warm-up", type=float, default=None, help="minutes that do not count (a third)")
    parser.add_argument("--clients", type=int, default=3, help="how many at once (3)")
    parser.add_argument("--rows", type=int, default=600, help="of each library that comes and goes (600)")
    parser.add_argument("--dimension", type=int, default=64, help="of its embeddings (64)")
    parser.add_argument(
        "--place", type=Path, default=None, help="where the data directory is made (the system's)"
    )
    parser.add_argument("--log", type=Path, default=None, help="where every sample is written")
    parser.add_argument("--sabotage", default=None, help="break the server on purpose; see kills/sabotage.py")
    print(json.dumps(run(parser.parse_args()).to_json()), flush=True)


if __name__ == "__main__":
    main()
