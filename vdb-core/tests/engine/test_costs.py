"""Costs: cheap searches are told from slow ones by what they spend, and a bad start is not held against a library."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from engine_kit import fill

from vdb_core.engine.costs import Costs, Stopwatch
from vdb_core.engine.search import Request
from vdb_core.errors import ValidationFailed
from vdb_core.services import WouldBlock

if TYPE_CHECKING:
    from collections.abc import Callable

    from vdb_core.services import Services


def test_an_average_follows_and_kinds_are_bounded() -> None:
    costs = Costs()
    assert costs.expected("a") is None
    costs.learn("a", 0.002)
    assert costs.expected("a") == 0.002
    for _ in range(60):
        costs.learn("a", 0.0001)
    expected = costs.expected("a")
    assert expected is not None
    assert expected == pytest.approx(0.0001, rel=0.01)
    # Held up once for a second, it is still cheap; always slow, it is not.
    costs.learn("a", 1.0)
    expected = costs.expected("a")
    assert expected is not None
    assert expected == pytest.approx(0.00088, rel=0.05)
    for kind in range(1000):
        costs.learn(kind, 0.001)
    assert costs.expected("a") is None
    assert costs.expected(999) == 0.001
    assert sum(costs.expected(kind) is not None for kind in range(1000)) == 256


def test_waiting_for_the_processor_is_no_cost_but_a_stall_is() -> None:
    watch = Stopwatch()
    time.sleep(0.005)
    assert watch.seconds() < 0.004
    time.sleep(0.03)
    assert watch.seconds() > 0.03


def test_a_cheap_search_that_was_held_up_is_a_reason_to_look_closer_and_no_more() -> None:
    costs = Costs()
    costs.learn("a", 0.0002)
    for _ in range(5):
        watch = Stopwatch(costs.expected("a"))
        time.sleep(0.03)
        costs.learn("a", watch.seconds())
    # Three were taken for what they may have been, the rest for the stalls that they were.
    expected = costs.expected("a")
    assert expected is not None
    assert 0.001 < expected < 0.004
    costs.learn("b", 0.0002)
    watch = Stopwatch(costs.expected("b"))
    time.sleep(0.03)
    costs.learn("b", watch.seconds())
    expected = costs.expected("b")
    assert expected is not None
    assert expected < 0.0004


def test_a_slow_start_is_not_held_against_a_library(opener: Callable[..., Services]) -> None:
    services = opener()
    services.libraries.create({"id": "lib", "name": "lib"}).result()
    rows = np.random.default_rng(0).standard_normal((50, 8)).astype(np.float32)
    services.libraries.upsert_chunks(
        "lib", [{"id": str(n), "metadata": {"n": n % 3}} for n in range(50)], vectors=rows
    ).result()
    query = {"embedding": rows[0].tolist(), "k": 5}
    state = services.queries._engine.entry("lib").state
    assert state is not None
    services.queries.search("lib", query)
    (kind,) = state.costs._seconds
    for _ in range(30):
        state.costs.learn(kind, 0.5)
    with pytest.raises(WouldBlock):
        services.queries.search("lib", query, wait=False)
    # Other kinds of searches are judged by themselves.
    assert services.queries.search("lib", {**query, "k": 40}, wait=False).hits
    assert services.queries.search("lib", {**query, "filter": {"n": 1}}, wait=False).hits
    for _ in range(60):
        services.queries.search("lib", query)
    assert services.queries.search("lib", query, wait=False).hits


def test_what_shows_much_or_filters_anew_is_not_done_without_waiting(
    opener: Callable[..., Services], monkeypatch: pytest.MonkeyPatch
) -> None:
    services = opener()
    services.libraries.create({"id": "lib", "name": "lib"}).result()
    rows = np.random.default_rng(0).standard_normal((600, 8)).astype(np.float32)
    services.libraries.upsert_chunks(
        "lib", [{"id": str(n), "metadata": {"n": n % 3}} for n in range(600)], vectors=rows
    ).result()
    query = {"embedding": rows[0].tolist()}
    assert len(services.queries.search("lib", {**query, "k": 100}, wait=False).hits) == 100
    with pytest.raises(WouldBlock):
        services.queries.search("lib", {**query, "k": 600}, wait=False)
    monkeypatch.setattr("vdb_core.services.queries._FILTERED_ROW_S", 1.0)
    filtered = {**query, "filter": {"n": 2}}
    with pytest.raises(WouldBlock):
        services.queries.search("lib", filtered, wait=False)
    assert services.queries.search("lib", filtered).hits
    # Its bitmap is known now.
    assert services.queries.search("lib", filtered, wait=False).hits


def test_parameters_that_only_equal_known_ones_are_looked_at_anew(opener: Callable[..., Services]) -> None:
    services = opener()
    services.libraries.create({"id": "lib", "name": "lib", "index": {"type": "half"}}).result()
    rows = np.random.default_rng(0).standard_normal((20, 4)).astype(np.float32)
    services.libraries.upsert_chunks("lib", [{"id": str(n)} for n in range(20)], vectors=rows).result()
    query = {"embedding": rows[0].tolist(), "k": 3}
    for _ in range(2):
        assert services.queries.search("lib", {**query, "params": {"effort": 1}}).hits
        for wrong in (
            {"effort": "x"},
            {"effort": None},
            {"effort": [1]},
            {"other": 1},
            {"effort": 1, "other": 1},
        ):
            with pytest.raises(ValidationFailed, match="params"):
                services.queries.search("lib", {**query, "params": wrong})


def test_a_batch_leaves_a_core_to_queries_that_cannot_wait(
    opener: Callable[..., Services], monkeypatch: pytest.MonkeyPatch
) -> None:
    services = opener()
    fill(services)
    threads: list[int] = []

    def noting(**named: Any) -> Request:
        threads.append(named["threads"])
        return Request(**named)

    monkeypatch.setattr("vdb_core.services.queries.Request", noting)
    queries, query = services.queries, {"embedding": [1.0, 1.0]}
    matrix = np.ones((3, 2), dtype=np.float32)

    def of_batches() -> list[int]:
        threads.clear()
        queries.search_matrix("lib", matrix)
        queries.search_batch("lib", [query, query])
        return threads[:]

    monkeypatch.setattr(queries._engine, "search_threads", 4)
    assert of_batches() == [4, 4]
    queries.search("lib", query)
    assert of_batches() == [4, 4], "who waits needs no core of its own"
    queries.search("lib", query, wait=False)
    assert of_batches() == [3, 3]
    monkeypatch.setattr(queries._engine, "search_threads", 1)
    assert of_batches() == [1, 1]
    monkeypatch.setattr(queries._engine, "search_threads", 4)
    queries._hurried_at -= 1
    assert of_batches() == [4, 4], "a while later"


def test_threads_that_were_asked_for_are_all_used(
    opener: Callable[..., Services], monkeypatch: pytest.MonkeyPatch
) -> None:
    services = opener(search_threads=3)
    fill(services)
    services.queries.search("lib", {"embedding": [1.0, 1.0]}, wait=False)
    assert services.queries.is_hurried()
    assert services.queries._batch_threads() == 3
