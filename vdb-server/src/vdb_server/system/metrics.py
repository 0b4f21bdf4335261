"""What is measured of requests and searches, in a registry of each application's own; the engine's gauges come at scrapes.

Labels are templates of routes, names of installed index types and words of this program, never what a caller sends: their
number stays bounded. What each metric means is in ``docs/reference/metrics.md``, which a test compares with this module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from vdb_server.system.engine_metrics import EngineCollector
from vdb_server.system.recorder import Durations, Totals, added, cumulative

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from prometheus_client.metrics_core import Metric

    from vdb_core.services import SearchAnswer, Services

__all__ = ["Metrics"]

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PATCH", "DELETE", "PUT", "OPTIONS"})
_MOST_ROUTES: Final = 1_000
"""So many ways that searches took are known by heart; what else comes is put together each time."""

_Key = TypeVar("_Key", bound=tuple[str, str, object])

_Search = tuple[str, str, str]
"""Index type, route, ``true`` or ``false`` for an exact answer."""


class Metrics(Collector):
    """Counts requests and searches. Safe to call from any thread."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests: dict[tuple[str, str, int], Durations] = {}
        self._searches: dict[_Search, Durations] = {}
        self._known: dict[tuple[object, ...], Durations] = {}
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        key = (method, route, status)
        durations = self._requests.get(key)
        if durations is None:
            if method not in _METHODS:
                key = ("other", route, status)
            durations = self._requests.setdefault(key, Durations())
        durations.observe(seconds)

    def searched(self, answer: SearchAnswer) -> None:
        """Count one query."""
        key = (answer.index["type"], answer.index["exact"], *answer.route)
        durations = self._known.get(key)
        if durations is None:
            durations = self._search(answer)
            if len(self._known) < _MOST_ROUTES:
                self._known[key] = durations
        durations.observe(answer.took_ms / 1000.0)

    def searched_batch(self, answers: Sequence[SearchAnswer]) -> None:
        """Count the queries of a batch, each with the time that all which were searched together took."""
        for answer in answers:
            self.searched(answer)

    def _search(self, answer: SearchAnswer) -> Durations:
        # A delta has many segments, and an index has its name in a label of its own.
        steps = dict.fromkeys(
            step.partition(":")[0] if step.startswith("index:") else step for step in answer.route
        )
        exact = "true" if answer.index["exact"] else "false"
        key = (str(answer.index["type"]), "+".join(steps) or "nothing", exact)
        return self._searches.setdefault(key, Durations())

    def watch(self, services: Services) -> None:
        """Show an engine's figures, asked for at each scrape."""
        self._registry.register(EngineCollector(services))

    def render(self) -> bytes:
        """The text format of Prometheus."""
        return generate_latest(self._registry)

    def describe(self) -> Iterator[Metric]:
        """What is collected, without figures."""
        return self._families({}, {})

    def collect(self) -> Iterator[Metric]:
        """What was counted so far."""
        return self._families(
            {key: durations.totals() for key, durations in list(self._requests.items())},
            {key: durations.totals() for key, durations in list(self._searches.items())},
        )

    @staticmethod
    def _families(
        requests: Mapping[tuple[str, str, int], Totals], searches: Mapping[_Search, Totals]
    ) -> Iterator[Metric]:
        yield _counted("vdb_http_requests", "Requests answered.", ("method", "route", "status"), requests)
        yield _timed(
            "vdb_http_request_seconds",
            "Time from the first byte of a request to the last of its answer.",
            ("method", "route"),
            requests,
        )
        yield _counted("vdb_searches", "Queries answered.", ("index_type", "route", "exact"), searches)
        yield _timed(
            "vdb_search_seconds",
            "Time a query took in the engine, waiting for a lock included.",
            ("index_type", "route"),
            searches,
        )


def _counted(name: str, text: str, labels: Sequence[str], durations: Mapping[_Key, Totals]) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for key, (counts, _) in durations.items():
        family.add_metric([str(part) for part in key], float(sum(counts)))
    return family


def _timed(name: str, text: str, labels: Sequence[str], durations: Mapping[_Key, Totals]) -> Metric:
    """Durations by all labels but the last, which counters alone have."""
    family = HistogramMetricFamily(name, text, labels=labels)
    groups: dict[tuple[str, str], list[Totals]] = {}
    for (first, second, _), totals in durations.items():
        groups.setdefault((first, second), []).append(totals)
    for key, members in groups.items():
        totals = added(members)
        family.add_metric(list(key), buckets=cumulative(totals), sum_value=totals[1])
    return family
