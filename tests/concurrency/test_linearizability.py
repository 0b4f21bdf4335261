"""Concurrent clients see each library as if one write was made after the other: over the services and over HTTP."""

from __future__ import annotations

import itertools
import random
import time
from typing import TYPE_CHECKING

import pytest
from history.checker import check_history
from history.clients import run_beside, run_clients
from history.events import Event, is_write
from history.http_side import Connection
from history.model import Model
from history.operations import ExportLibrary, ListChunks, Search
from history.service_side import ask_services
from history.settling import differences
from server_kit import FULL, ServerProcess

from vdb_core.errors import BuildInProgress
from vdb_core.services import EngineSettings, Services, open_services

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vdb_core.indexes import Metric

CLIENTS = 6
OPERATIONS = 400 if FULL else 60
DIMENSION = 4
TYPES = ("ivf_flat", "brute", "ivf_pq", "numpy")


def check(events: list[Event], metric: Metric) -> Model:
    """Check a history, and that it is one worth checking: every kind of operation, many of them at the same time."""
    model = check_history(events, Model(metric, name="lib"))
    kinds = {type(event.operation) for event in events if event.reply.outcome == "ok"}
    assert {Search, ListChunks} <= kinds
    assert len(kinds) > 10
    assert {event.reply.outcome for event in events} == {"ok", "refused"}
    times = sorted([(event.begin, 1) for event in events] + [(event.end or 0, -1) for event in events])
    assert max(itertools.accumulate(step for _, step in times)) == CLIENTS
    writes = sum(event.reply.outcome == "ok" and is_write(event.operation) for event in events)
    print(f"\n{metric}: {len(events)} operations, {writes} writes, explained by {model.revision} revisions")
    return model


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_the_services_are_linearizable(
    metric: Metric, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With everything that happens beside the traffic happening often: folds, swaps of the index, full segments."""
    monkeypatch.setattr("vdb_core.engine.folding._FOLD_ROWS", 30)
    monkeypatch.setattr("vdb_core.engine.folding._DEAD_ROWS", 10)
    monkeypatch.setattr("vdb_core.engine.search._FEW_ROWS", 0)
    monkeypatch.setattr("vdb_core.engine.segments.SMALL_ROWS", 6)
    with open_services(EngineSettings(data_dir=tmp_path)) as services:
        services.libraries.create({"id": "lib", "name": "lib", "metric": metric}).result(30)
        build = builds_of(services, random.Random(metric))
        events = run_beside(
            lambda: run_clients(
                [lambda one: ask_services(services, "lib", one)] * CLIENTS,
                seed=1,
                operations=OPERATIONS,
                dimension=DIMENSION,
                large=40,
            ),
            build,
        )
        model = check(events, metric)
        assert differences(model, ask_services(services, "lib", ExportLibrary()).value) == []
        assert any(not answer["exact"] for answer in answers_of(events)), "no search went through an index"
    with open_services(EngineSettings(data_dir=tmp_path)) as services:
        assert differences(model, ask_services(services, "lib", ExportLibrary()).value) == []


def builds_of(services: Services, chance: random.Random) -> Callable[[], None]:
    """Start builds and snapshots, wait for some, cancel some."""

    def build() -> None:
        try:
            if chance.random() < 0.2:
                job = services.indexing.snapshot("lib")
            else:
                job = services.indexing.start("lib", {"type": chance.choice(TYPES)})
        except BuildInProgress:
            time.sleep(0.005)
            return
        if chance.random() < 0.2:
            services.indexing.cancel(job.id)
        assert job.wait(60)
        assert job.state in {"succeeded", "cancelled"}, job.error

    return build


def answers_of(events: list[Event]) -> list[dict[str, object]]:
    """Every answer to a search."""
    searches = (one for one in events if isinstance(one.operation, Search) and one.reply.outcome == "ok")
    return [answer for one in searches for answer in one.reply.value]  # type: ignore[attr-defined]


def test_the_server_is_linearizable(tmp_path: Path) -> None:
    """The same over HTTP, where the event loop answers some searches itself and threads the others."""
    with ServerProcess(tmp_path / "data") as server:
        connections = [Connection(server.url) for _ in range(CLIENTS + 1)]
        *clients, builder = connections
        assert builder.json("POST", "/v1/libraries", {"id": "lib", "name": "lib", "metric": "l2"})[0] == 201
        chance = random.Random(3)

        def build() -> None:
            body = {"type": chance.choice(TYPES), "wait": chance.random() < 0.5}
            status, answer = builder.json("POST", "/v1/libraries/lib/index", body)
            assert status in {200, 202, 409}, answer
            time.sleep(0.01)

        events = run_beside(
            lambda: run_clients(
                [lambda one, connection=one_of: connection.send("lib", one) for one_of in clients],
                seed=2,
                operations=OPERATIONS,
                dimension=DIMENSION,
                large=300,
            ),
            build,
        )
        model = check(events, "l2")
        assert differences(model, builder.send("lib", ExportLibrary()).value) == []
        for connection in connections:
            connection.close()
