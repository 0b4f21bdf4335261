"""Any interleaving of writes, reads, builds, restarts and kill -9, against a model: promises 1 to 3.

The engine runs in a process of its own and is killed for real: idle, amid writes, amid the replacement of a library, while
it builds, while it recovers.
"""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from history.checker import check_history
from history.engine_process import EngineProcess
from history.events import Event, Reply
from history.model import Model
from history.operations import ExportLibrary, ListChunks, Search
from history.settling import Recovered, differences, settle
from history.workload import Workload, follow
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

METRICS = ("cosine", "dot", "l2")
TYPES = (None, "snapshot", "brute", "ivf_flat", "ivf_pq", "numpy")
DIMENSION = 3

seeds = st.integers(0, 2**32 - 1)
moments = st.integers(0, 6_000)
"""Microseconds until a kill: opening a directory takes about as long as the longest, a write less."""


class CrashMachine(RuleBasedStateMachine):
    """Drives an engine and its model side by side, and kills the engine."""

    def __init__(self) -> None:
        super().__init__()
        self.place: Path | None = None
        self.clock = 0
        self.made = 0

    @initialize(metric=st.sampled_from(METRICS))
    def open(self, metric: Any) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="vdb-crash-machine-"))
        self.engine = self._start()
        self.model = self._create(metric)

    def teardown(self) -> None:
        if self.place is not None:
            self.engine.kill()
            self.engine.discard()
            shutil.rmtree(self.place)

    def _start(self) -> EngineProcess:
        assert self.place is not None
        engine = EngineProcess(self.place)
        engine.wait_until_open()
        return engine

    def _body(self, metric: str) -> dict[str, object]:
        self.made += 1
        return {"id": "lib", "name": f"lib {self.made}", "metric": metric, "metadata": {"made": self.made}}

    def _create(self, metric: Any) -> Model:
        body = self._body(metric)
        self.engine.call("create", body)
        return Model(metric, name=str(body["name"]), metadata={"made": self.made})

    def _event(self, operation: Any, reply: Reply) -> Event:
        self.clock += 2
        end = None if reply.outcome == "unknown" else self.clock + 1
        return Event("machine", operation, self.clock, end, reply)

    @rule(seed=seeds, count=st.integers(1, 6))
    def ask(self, seed: int, count: int) -> None:
        """Some operations, one after the other: each is answered as the model would."""
        work = Workload(random.Random(seed), "w", dimension=DIMENSION, chunks=12, documents=3)
        for _ in range(count):
            operation: Any = work.next()
            while operation is not None:
                event = self._event(operation, self.engine.call("ask", operation))
                self.model = check_history([event], self.model)
                operation = follow(event)

    @rule(kind=st.sampled_from(TYPES), wait=st.booleans())
    def build(self, kind: str | None, wait: bool) -> None:
        error = self.engine.call("build", kind, wait)
        assert error is None or "cancelled" in error

    @rule()
    def restart(self) -> None:
        self.engine.call("close")
        self.engine.discard()
        self.engine = self._start()
        self._compare(self._look())

    @rule()
    def crash(self) -> None:
        self._kill()
        self.engine = self._start()
        self._compare(self._look())

    @rule(seed=seeds, count=st.integers(1, 8), moment=moments)
    def crash_amid_writes(self, seed: int, count: int, moment: int) -> None:
        """What was answered before is there; of the rest all or nothing of each, in the order in which it was sent."""
        work = Workload(random.Random(seed), "k", dimension=DIMENSION, chunks=12, documents=3, reads=0.0)
        sent = [work.next() for _ in range(count)]
        self.engine.begin("burst", sent)
        time.sleep(moment / 1e6)
        self._kill(discard=False)
        replies = self.engine.heard()[:count]
        self.engine.discard()
        events = [self._event(one, reply) for one, reply in zip(sent, replies, strict=False)]
        if len(replies) < count:
            # One after the other: only the first that was not answered can have been begun.
            events.append(self._event(sent[len(replies)], Reply("unknown")))
        self.engine = self._start()
        self.model, _ = settle(events, self.model, self._look())

    @rule(moments_of_death=st.lists(moments, min_size=1, max_size=3))
    def crash_while_recovering(self, moments_of_death: list[int]) -> None:
        assert self.place is not None
        self._kill()
        for moment in moments_of_death:
            self.engine = EngineProcess(self.place)
            self.engine.begin("exists")
            time.sleep(moment / 1e6)
            self._kill()
        self.engine = self._start()
        self._compare(self._look())

    @rule(metric=st.sampled_from(METRICS), moment=st.none() | moments)
    def replace_the_library(self, metric: Any, moment: int | None) -> None:
        """Deleted, and another one made under its id: the old one, none or the new one, nothing between."""
        body = self._body(metric)
        fresh = Model(metric, name=str(body["name"]), metadata={"made": self.made})
        self.engine.begin("replace", body)
        if moment is None:
            for _ in range(2):
                assert self.engine._receive().outcome == "ok"
            self.model = fresh
            return
        time.sleep(moment / 1e6)
        self._kill(discard=False)
        heard = len(self.engine.heard())
        self.engine.discard()
        self.engine = self._start()
        possible: list[Model | None] = [self.model, None, fresh][heard:]
        if not self.engine.call("exists"):
            assert None in possible, "an acknowledged library is lost"
            assert self.engine.call("health")["damaged_libraries"] == []
            self.model = self._create(metric)
            return
        found = self._look()
        chosen = [model for model in possible if model is not None and not differences(model, found)]
        assert chosen, f"neither the old library nor the new one: {found}"
        self.model = chosen[0]

    def _kill(self, *, discard: bool = True) -> None:
        self.engine.kill()
        if discard:
            self.engine.discard()

    def _look(self) -> Recovered:
        reply: Reply = self.engine.call("ask", ExportLibrary())
        assert reply.outcome == "ok", reply
        return reply.value  # type: ignore[return-value]

    def _compare(self, found: Recovered) -> None:
        """Export, list and search tell the same."""
        assert differences(self.model, found) == []
        work = Workload(random.Random(self.clock), "r", dimension=DIMENSION, chunks=12, documents=3)
        reads = [
            ListChunks(limit=1000),
            ListChunks(limit=1000, filter=work.filter()),
            Search(queries=(work.vector(),), k=1000),
            Search(queries=(work.vector(), work.vector()), k=3, filter=work.filter()),
        ]
        check_history([self._event(read, self.engine.call("ask", read)) for read in reads], self.model)


CrashMachine.TestCase.settings = settings(
    max_examples=20,
    stateful_step_count=12,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    # A kill comes at another moment each time, so that what failed may pass when it is tried again with less.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
TestEngineUnderCrashes = CrashMachine.TestCase
