"""Counters and histograms of requests, and gauges of the engine, in a registry of each application's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from prometheus_client.metrics_core import Metric

__all__ = ["Metrics"]

_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PATCH", "DELETE", "PUT", "OPTIONS"})


class Metrics:
    """What is measured. Labels are templates of routes, never ids: their number stays bounded."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "vdb_http_requests", "Requests answered.", ("method", "route", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "vdb_http_request_seconds",
            "Time from the first byte of a request to the last of its answer.",
            ("method", "route"),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        key = (method if method in _METHODS else "other", route, status)
        pair = self._children.get(key)
        if pair is None:
            # Looking up labelled children costs more than counting does.
            pair = (self._requests.labels(key[0], route, str(status)), self._seconds.labels(key[0], route))
            self._children[key] = pair
        pair[0].inc()
        pair[1].observe(seconds)

    def watch(self, statistics: Callable[[], Mapping[str, object]]) -> None:
        """Show the numbers of a mapping as gauges, asked for at each scrape."""
        self._registry.register(_EngineCollector(statistics))

    def render(self) -> bytes:
        """The text format of Prometheus."""
        return generate_latest(self._registry)


class _EngineCollector(Collector):
    def __init__(self, statistics: Callable[[], Mapping[str, object]]) -> None:
        self._statistics = statistics

    def describe(self) -> Iterator[Metric]:
        # Without this, registering would ask for the statistics of an engine that is still opening.
        return iter(())

    def collect(self) -> Iterator[Metric]:
        for name, value in self._statistics().items():
            if isinstance(value, (int, float)):
                yield GaugeMetricFamily(
                    f"vdb_{name}", f"The engine's {name.replace('_', ' ')}.", value=float(value)
                )
