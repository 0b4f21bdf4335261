"""Eight clients at once against one server, until it is gone."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from history.checker import Violation
from history.events import Event, ask
from history.http_side import Connection, Failure
from history.workload import Workload, follow
from slots import Slot

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Clients", "Counts"]

_SHARED_TYPES = ("brute", "ivf_flat", "ivf_pq")
_LARGE = 300
"""Rows of a large upload: more than go into a segment with others (256)."""


@dataclass(slots=True)
class Counts:
    """What was done, for a report."""

    requests: int = 0
    acknowledged: int = 0
    unknown: int = 0
    builds: int = 0

    def add(self, event: Event) -> None:
        """Count one operation."""
        self.requests += 1
        self.acknowledged += event.reply.outcome == "ok"
        self.unknown += event.reply.outcome == "unknown"


@dataclass(slots=True)
class Clients:
    """The clients of one data directory: what they did since the last look, and the libraries they own."""

    shared: Sequence[str]
    seed: int
    dimension: int
    count: int = 8
    events: dict[str, list[Event]] = field(default_factory=dict)
    """By shared library, since the last recovery that was looked at."""
    slots: list[Slot] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)
    failures: list[BaseException] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)
    _round: int = 0

    def __post_init__(self) -> None:
        self.slots = [
            Slot(f"slot{number}", random.Random(f"{self.seed} slot {number}"), dimension=self.dimension)
            for number in range(self.count)
        ]
        self.forget()

    def forget(self) -> None:
        """Begin new histories."""
        self.events = {one: [] for one in self.shared}

    def start(self, url: str) -> None:
        """Let all of them begin."""
        self._round += 1
        self._threads = [
            threading.Thread(target=self._run, args=(number, url), name=f"client {number}")
            for number in range(self.count)
        ]
        for thread in self._threads:
            thread.start()

    def wait_for(self, requests: int, *, timeout: float) -> None:
        """Wait until so many more requests were made, or a client met a failure, or the time in seconds is over."""
        goal, deadline = self.counts.requests + requests, time.monotonic() + timeout
        while self.counts.requests < goal and not self.failures and time.monotonic() < deadline:
            time.sleep(0.001)

    def join(self) -> None:
        """Wait until none of them gets an answer any more; raises what went wrong."""
        for thread in self._threads:
            thread.join(120)
            if thread.is_alive():
                raise Violation(f"{thread.name} still waits for an answer of a server that is gone")
        if self.failures:
            raise self.failures[0]

    def _run(self, number: int, url: str) -> None:
        name = f"k{self._round}-{number}"
        chance = random.Random(f"{self.seed} {name}")
        works = {
            one: Workload(chance, name, dimension=self.dimension, reads=0.3, large=_LARGE)
            for one in self.shared
        }
        try:
            with Connection(url) as connection:
                while self._step(connection, name, chance, works, self.slots[number]):
                    pass
        except BaseException as error:  # noqa: BLE001 - raised again by who waits for this thread
            self.failures.append(error)

    def _step(
        self,
        connection: Connection,
        name: str,
        chance: random.Random,
        works: dict[str, Workload],
        slot: Slot,
    ) -> bool:
        """Do one thing; false where the server is gone."""
        turn = chance.random()
        if turn < 0.2:
            self.counts.requests += 1
            return slot.step(connection)
        library_id = chance.choice(self.shared)
        if turn < 0.24:
            return self._build(connection, library_id, chance)
        work = works[library_id]
        operation = work.next()
        while operation is not None:
            event = ask(
                self.events[library_id], name, operation, lambda one: connection.send(library_id, one)
            )
            self.counts.add(event)
            if event.reply.outcome in {"unknown", "unsent"}:
                return False
            work.saw(event)
            operation = follow(event)
        return True

    def _build(self, connection: Connection, library_id: str, chance: random.Random) -> bool:
        """Another index, a snapshot, a look at what is being built, an end to it."""
        self.counts.builds += 1
        base = f"/v1/libraries/{library_id}"
        try:
            if chance.random() < 0.5:
                body = {"type": chance.choice(_SHARED_TYPES), "wait": chance.random() < 0.2}
                status, answer = connection.json("POST", f"{base}/index", body)
            else:
                status, answer = connection.json("POST", f"{base}/snapshot", {"wait": chance.random() < 0.2})
            if status == 409 and chance.random() < 0.2:
                status, answer = connection.json("DELETE", f"/v1/jobs/{answer['job_id']}")
        except Failure:
            return False
        if status not in {200, 202, 409} or answer.get("state") == "failed":
            raise Violation(f"a build of {library_id!r} was answered {status}: {answer}")
        return True
