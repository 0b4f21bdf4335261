"""The engine's figures as gauges and counters of Prometheus, asked for at each scrape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from vdb_server import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prometheus_client.metrics_core import Metric

    from vdb_core.services import Services

__all__ = ["GAUGES", "EngineCollector"]

GAUGES: Final = {
    "libraries": "Libraries.",
    "libraries_loaded": "Libraries that are in memory; the others are read from disk when they are first touched.",
    "chunks": "Chunks of the libraries in memory.",
    "documents": "Documents of the libraries in memory.",
    "delta_rows": "Rows written since the index over the others was built; they are searched one by one.",
    "dead_rows": "Rows that were overwritten or deleted and still take room.",
    "pending_writes": "Writes that wait or are being made.",
    "running_jobs": "Builds and snapshots that wait or run.",
    "read_only": "1 since writes are refused because the storage failed.",
}
"""Metric by the engine's own name of the figure, and what it says."""


class EngineCollector(Collector):
    """Asks a running engine."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def describe(self) -> Iterator[Metric]:
        """Nothing: otherwise registering would ask an engine that is still opening."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Ask. May wait a moment for a write."""
        for name, value in self._services.statistics().items():
            text = GAUGES.get(name, f"The engine's {name.replace('_', ' ')}.")
            yield GaugeMetricFamily(f"vdb_{name}", text, value=float(value))
        measured = self._services.measurements()
        yield _by_label(
            "vdb_bytes", "Bytes of rows and indexes in memory or mapped, by part.", "part", measured.bytes
        )
        if measured.journal_bytes is not None:
            yield GaugeMetricFamily(
                "vdb_journal_bytes", "Bytes of the journal on disk.", value=measured.journal_bytes
            )
        yield GaugeMetricFamily(
            "vdb_pending_writes_limit",
            "Writes that may wait; one more is a 503.",
            value=measured.max_pending_writes,
        )
        yield GaugeMetricFamily(
            "vdb_damaged_libraries", "Libraries that could not be loaded.", value=measured.damaged_libraries
        )
        yield GaugeMetricFamily(
            "vdb_failed_plugins", "Plugins that could not be loaded.", value=measured.failed_plugins
        )
        yield _by_label(
            "vdb_job_progress_ratio",
            "How far the running job of a kind is that has most before it, from 0 to 1.",
            "kind",
            measured.progress,
        )
        ended = CounterMetricFamily(
            "vdb_jobs", "Builds and snapshots that have ended.", labels=("kind", "state")
        )
        for key, count in measured.ended.items():
            ended.add_metric(key, count)
        yield ended
        yield _by_label("vdb_build_info", "1, with the version as its label.", "version", {__version__: 1})


def _by_label(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=(label,))
    for key, value in values.items():
        family.add_metric([key], value)
    return family
