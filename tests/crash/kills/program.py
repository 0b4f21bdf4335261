"""Kills a server at random moments under concurrent clients, and holds what it recovers against what it acknowledged.

``python tests/crash/kills/program.py --cycles 2000``. One cycle::

    traffic   eight clients write, read, build, make and delete libraries ─▶ kill -9 at a random moment
    again     started, read back ─▶ kill -9 at a random moment of that, or when all is read
    verdict   started, read back: the same, and explained by what was acknowledged, rejected and left without an answer;
              get, list, count, filter, exact search and export agree
    (now and then ended by SIGTERM instead, which must drain; a directory lives for some cycles)

The process that keeps the account is this one, which is never killed. It notes what it is about to ask before it asks, and
what came back after. See ``docs/explanation/concurrency.md``.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2] / "support")]

from history.checker import Violation
from history.http_side import Connection, Failure
from history.model import Model
from history.settling import settle
from recovery import agree, check_files, library_ids, look
from servers import Gone, Nursery, Server
from traffic import Clients

if TYPE_CHECKING:
    from collections.abc import Sequence

    from history.settling import Recovered

    from vdb_core.indexes import Metric

SHARED: dict[str, Metric] = {"cosine": "cosine", "dot": "dot", "l2": "l2"}
DIMENSION = 8
_LONGEST_S = 5.0
_JITTER_S = 0.005


@dataclass(slots=True)
class Tally:
    """What the run came to."""

    cycles: int = 0
    kills: int = 0
    kills_during_recovery: int = 0
    directories: int = 0
    requests: int = 0
    acknowledged: int = 0
    unknown: int = 0
    unknown_but_there: int = 0
    builds: int = 0
    reads_after_recovery: int = 0
    start_ms: list[float] = field(default_factory=list)
    seconds: float = 0.0


class Directory:
    """One data directory over some cycles: what should be in it, and its server."""

    def __init__(self, nursery: Nursery, place: Path, seed: int, tally: Tally) -> None:
        self._nursery = nursery
        self.place = place
        self.data = place / "data"
        self.log = place / "server.log"
        self._chance = random.Random(f"{seed} directory")
        self._tally = tally
        self.clients = Clients(list(SHARED), seed, DIMENSION)
        self.models = {one: Model(metric, name=one) for one, metric in SHARED.items()}
        self.server = self._start()
        with Connection(self.server.url) as connection:
            for one, metric in SHARED.items():
                status, answer = connection.json(
                    "POST", "/v1/libraries", {"id": one, "name": one, "metric": metric}
                )
                if status != 201:
                    raise Violation(f"library {one!r} cannot be made: {status} {answer}")

    def _start(self, *, ready: bool = True) -> Server:
        begun = time.perf_counter()
        server = self._nursery.start(self.data, self.log)
        if ready:
            server.wait_until_ready()
            self._tally.start_ms.append(1e3 * (time.perf_counter() - begun))
        return server

    def cycle(self, most: int) -> None:
        """One cycle; raises ``Violation``."""
        chance = self._chance
        self.clients.start(self.server.url)
        # By requests, so that a slow machine does as much as a fast one; and not exactly when one was answered.
        self.clients.wait_for(chance.randrange(most), timeout=_LONGEST_S)
        time.sleep(chance.uniform(0.0, _JITTER_S))
        if chance.random() < 0.1:
            self._end(signal.SIGTERM)
        else:
            self._end(signal.SIGKILL)
        self.clients.join()
        first = self._recover_once()
        self.server = self._start()
        self._judge(first)

    def _end(self, number: signal.Signals) -> None:
        code = self.server.send(number)
        self._tally.kills += number == signal.SIGKILL
        if code != (-9 if number == signal.SIGKILL else 0):
            raise Violation(f"the server ended by itself with {code}, or not as asked by {number.name}")

    def _recover_once(self) -> dict[str, Recovered] | None:
        """Recover and kill again; returns what was there, or none where the kill came before all was read."""
        chance = self._chance
        self.server = self._start(ready=False)
        if chance.random() < 0.5:
            # Somewhere between the fork and the last library that is read: libraries are opened as they are touched.
            killer = threading.Timer(chance.uniform(0.0, 0.2), self.server.kill)
            killer.start()
            try:
                self.server.wait_until_ready()
                self._look()
            except (Failure, Gone):
                pass
            killer.join()
            self._tally.kills += 1
            self._tally.kills_during_recovery += 1
            return None
        self.server.wait_until_ready()
        found = self._look()
        self._end(signal.SIGKILL)
        return found

    def _look(self) -> dict[str, Recovered]:
        with Connection(self.server.url) as connection:
            return {one: look(connection, one) for one in library_ids(connection)}

    def _judge(self, first: dict[str, Recovered] | None) -> None:
        """Settle what was left open, and compare every way of reading."""
        tally = self._tally
        with Connection(self.server.url) as connection:
            found = {one: look(connection, one) for one in library_ids(connection)}
            if first is not None and first != found:
                raise Violation(f"two recoveries differ:\n{first}\n{found}")
            expected: dict[str, Model] = {}
            for one, start in self.models.items():
                if one not in found:
                    raise Violation(f"library {one!r} is lost; there are {sorted(found)}")
                expected[one], there = settle(self.clients.events[one], start, found[one])
                tally.unknown_but_there += there
            self.models = dict(expected)
            for slot in self.clients.slots:
                slot.settle(found.get(slot.id))
                if slot.model is not None:
                    expected[slot.id] = slot.model
            if strangers := sorted(set(found) - set(expected)):
                raise Violation(f"libraries that nobody made, or that were deleted: {strangers}")
            for one, model in expected.items():
                tally.reads_after_recovery += agree(connection, one, model, self._chance, dimension=DIMENSION)
        self.clients.forget()

    def close(self) -> None:
        """End it as an operator would; what is on disk must be what is served."""
        with Connection(self.server.url) as connection:
            libraries = library_ids(connection)
        self._end(signal.SIGTERM)
        check_files(self.data, libraries)
        counts = self.clients.counts
        for name in ("requests", "acknowledged", "unknown", "builds"):
            setattr(self._tally, name, getattr(self._tally, name) + getattr(counts, name))

    def report(self, error: BaseException) -> Path:
        """Write down everything that led to a violation."""
        file = self.place / "history.txt"
        with file.open("w", encoding="utf-8") as text:
            text.write(f"{type(error).__name__}: {error}\n")
            for library_id, events in self.clients.events.items():
                text.write(f"\n{library_id} since revision {self.models[library_id].revision}\n")
                text.writelines(f"{event}\n" for event in sorted(events, key=lambda one: one.begin))
        return file


def run(options: argparse.Namespace) -> Tally:
    """Run the cycles; a violation leaves its data directory and history where they are and says where."""
    tally = Tally()
    begun = time.monotonic()
    told = begun
    with Nursery(options.sabotage) as nursery:
        while tally.cycles < options.cycles:
            place = Path(tempfile.mkdtemp(prefix="vdb-kills-", dir=options.place))
            tally.directories += 1
            directory = Directory(nursery, place, options.seed + tally.directories, tally)
            try:
                for _ in range(min(options.per_directory, options.cycles - tally.cycles)):
                    directory.cycle(options.requests)
                    tally.cycles += 1
                    if time.monotonic() - told > 10:
                        told = time.monotonic()
                        print(f"{tally.cycles} cycles, {tally.kills} kills, {told - begun:.0f} s", flush=True)
                directory.close()
            except BaseException as error:
                file = directory.report(error)
                directory.server.kill()
                print(
                    f"cycle {tally.cycles}, seed {options.seed}: see {file} and {directory.data}", flush=True
                )
                raise
            shutil.rmtree(place)
    tally.seconds = time.monotonic() - begun
    return tally


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cycles", type=int, default=60, help="how many (60)")
    parser.add_argument(
        "--seed", type=int, default=None, help="of every choice but the moments; a random one is told"
    )
    parser.add_argument("--requests", type=int, default=200, help="answered before a kill at most (200)")
    parser.add_argument("--per-directory", type=int, default=20, help="cycles on one data directory (20)")
    parser.add_argument(
        "--place", type=Path, default=None, help="where data directories are made (the system's)"
    )
    parser.add_argument("--sabotage", default=None, help="break the server on purpose; see sabotage.py")
    options = parser.parse_args(given)
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(1 << 30)
    return options


def summary(tally: Tally) -> str:
    """The figures in one line of JSON."""
    starts = sorted(tally.start_ms)
    figures: dict[str, Any] = asdict(tally)
    figures["start_ms"] = {"median": round(starts[len(starts) // 2], 1), "worst": round(starts[-1], 1)}
    figures["seconds"] = round(tally.seconds, 1)
    return json.dumps(figures)


def main() -> None:
    """Run, and print what came of it."""
    options = arguments()
    print(f"seed {options.seed}", flush=True)
    print(summary(run(options)), flush=True)


if __name__ == "__main__":
    main()
