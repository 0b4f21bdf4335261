"""What `/metrics` says of searches and of the engine, and that its page says the same."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from vdb_core.engine.jobs import Job
from vdb_core.services import SearchAnswer
from vdb_server.system.metrics import Metrics
from vdb_server.system.recorder import BOUNDS_S, Durations, added, cumulative

if TYPE_CHECKING:
    from collections.abc import Callable

L = "/v1/libraries/glossary"
PAGE = Path(__file__).resolve().parents[2] / "docs/reference/metrics.md"


def figures(client: Any) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Every sample by name and labels."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(client("GET", "/metrics").body.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def labels(**given: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(given.items()))


def test_searches_are_counted_by_index_type_and_route(glossary: Any) -> None:
    query = {"embedding": [1, 0, 0]}
    glossary("POST", f"{L}/search", query)  # everything is delta
    assert glossary("POST", f"{L}/index", {"wait": True}).json()["state"] == "succeeded"
    glossary("POST", f"{L}/search", query)  # everything is base
    glossary("POST", f"{L}/chunks", {"id": "new", "embedding": [0, 0, 1]})
    for _ in range(2):
        glossary("POST", f"{L}/search", query)
    glossary("POST", f"{L}/search/batch", {"queries": [query] * 5})
    glossary("POST", f"{L}/search", {**query, "filter": {"lang": "none"}})
    glossary("POST", f"{L}/search", {"embedding": [1, 0]})  # a 422 is no search
    counted = figures(glossary)["vdb_searches_total"]
    assert counted == {
        labels(index_type="numpy", route="delta", exact="true"): 1,
        labels(index_type="numpy", route="index", exact="true"): 1,
        labels(index_type="numpy", route="index+delta", exact="true"): 7,
        labels(index_type="numpy", route="nothing", exact="true"): 1,
    }
    timed = figures(glossary)
    assert timed["vdb_search_seconds_count"][labels(index_type="numpy", route="index+delta")] == 7
    assert 0 < timed["vdb_search_seconds_sum"][labels(index_type="numpy", route="index+delta")] < 7


def test_the_long_way_counts_searches_too(glossary: Any) -> None:
    glossary.app.short_way = None
    glossary("POST", f"{L}/search", {"embedding": [1, 0, 0]})
    assert sum(figures(glossary)["vdb_searches_total"].values()) == 1


def answer(index_type: str, exact: bool, *route: str) -> SearchAnswer:
    return SearchAnswer(
        hits=[],  # pyright: ignore[reportArgumentType]
        index={"type": index_type, "exact": exact},
        revision=1,
        took_ms=2.0,
        route=route,
    )


def test_routes_are_few_words_however_many_segments_a_delta_has() -> None:
    metrics = Metrics()
    for segments in range(2_000):
        metrics.searched(answer("ivf_flat", False, "index:ivf_flat", *["delta"] * segments))
    metrics.searched(answer("ivf_flat", True, "index:ivf_flat", "delta", "exact:short"))
    text = metrics.render().decode()
    assert 'vdb_searches_total{exact="false",index_type="ivf_flat",route="index+delta"} 1999.0' in text
    assert 'vdb_searches_total{exact="false",index_type="ivf_flat",route="index"} 1.0' in text
    assert (
        'vdb_searches_total{exact="true",index_type="ivf_flat",route="index+delta+exact:short"} 1.0' in text
    )
    assert len(metrics._known) <= 1_000


def test_nothing_that_callers_send_becomes_a_label(glossary: Any) -> None:
    def series() -> int:
        return len(figures(glossary)["vdb_http_requests_total"]) + len(
            figures(glossary)["vdb_http_request_seconds_count"]
        )

    def probe(number: int) -> None:
        glossary("GET", f"/v1/libraries/library-{number}")
        glossary("GET", f"{L}/chunks/chunk-{number}")
        glossary("GET", f"/nowhere/{number}")
        glossary(f"METHOD{number}", "/v1/libraries")
        glossary("POST", f"/v1/libraries/library-{number}/search", {"embedding": [1]})

    series()
    probe(0)
    series()
    before = series()
    for number in range(1, 20):
        probe(number)
    assert series() == before


def test_histograms_are_what_prometheus_expects() -> None:
    durations = Durations()
    for bound in BOUNDS_S:
        durations.observe(bound)
    durations.observe(1e9)
    durations.observe(0.0, times=3)
    counts, total = durations.totals()
    assert sum(counts) == len(BOUNDS_S) + 4
    assert total == pytest.approx(sum(BOUNDS_S) + 1e9)
    buckets = cumulative((counts, total))
    # A bound belongs to its own bucket: `le` is less or equal.
    assert [count for _, count in buckets] == [3.0 + n for n in range(1, len(BOUNDS_S) + 2)]
    assert buckets[-1][0] == "+Inf"
    assert [float(name) for name, _ in buckets[:-1]] == list(BOUNDS_S)
    assert added([(counts, total), (counts, total)])[0] == [2 * count for count in counts]


def test_nothing_is_lost_where_many_count_at_once() -> None:
    metrics = Metrics()

    def work() -> None:
        for _ in range(2_000):
            metrics.observe("GET", "/x", 200, 0.01)
            metrics.searched(answer("brute", True, "exact"))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    text = metrics.render().decode()
    assert 'vdb_http_requests_total{method="GET",route="/x",status="200"} 16000.0' in text
    assert 'vdb_searches_total{exact="true",index_type="brute",route="exact"} 16000.0' in text


def test_figures_of_the_engine(serve: Callable[..., Any], tmp_path: Path) -> None:
    with serve(None, tmp_path / "data") as client:
        client("POST", "/v1/libraries", {"id": "glossary", "name": "x", "dimension": 64})
        before = figures(client)["vdb_journal_bytes"][()]
        rows = [{"id": f"c-{n}", "embedding": [n + 1.0] * 64, "text": "t" * 1000} for n in range(200)]
        client("POST", f"{L}/chunks/upsert", {"chunks": rows, "create_documents": True})
        now = figures(client)
        assert now["vdb_journal_bytes"][()] > before
        assert now["vdb_delta_rows"][()] == now["vdb_chunks"][()] == 200
        assert now["vdb_bytes"][labels(part="vectors")] >= 200 * 64 * 4
        assert now["vdb_pending_writes_limit"][()] == 1024
        client("POST", f"{L}/index", {"wait": True})
        client("POST", f"{L}/chunks/delete", {"ids": ["c-1", "c-2"]})
        now = figures(client)
        assert (now["vdb_delta_rows"][()], now["vdb_dead_rows"][()], now["vdb_chunks"][()]) == (0, 2, 198)
        assert now["vdb_jobs_total"][labels(kind="index", state="succeeded")] == 1
        assert (now["vdb_damaged_libraries"][()], now["vdb_failed_plugins"][()]) == (0, 0)
        assert len(now["vdb_build_info"]) == 1


def test_a_running_build_shows_how_far_it_is(client: Any) -> None:
    jobs = client._state["services"]._engine.jobs
    far, near = (jobs.add(Job(name, "a", "index")) for name in ("far", "near"))
    for job, done in ((far, 3), (near, 8)):
        job.start()
        job.report("training", done, 10)
    assert figures(client)["vdb_job_progress_ratio"] == {labels(kind="index"): 0.3}
    far.finish("failed")
    assert figures(client)["vdb_job_progress_ratio"] == {labels(kind="index"): 0.8}
    near.finish("cancelled")
    now = figures(client)
    assert "vdb_job_progress_ratio" not in now
    assert now["vdb_jobs_total"] == {
        labels(kind="index", state="failed"): 1,
        labels(kind="index", state="cancelled"): 1,
    }


def test_the_page_lists_every_metric_with_its_type_and_labels(
    serve: Callable[..., Any], tmp_path: Path
) -> None:
    with serve(None, tmp_path / "data") as client:
        client("POST", "/v1/libraries", {"id": "glossary", "name": "x"})
        client("POST", f"{L}/chunks", {"id": "a", "embedding": [1]})
        client("POST", f"{L}/search", {"embedding": [1]})
        client("POST", f"{L}/snapshot", {"wait": True})
        job = client._state["services"]._engine.jobs.add(Job("j", "a", "index"))
        job.start()
        client("GET", "/metrics")
        text = client("GET", "/metrics").body.decode()
        job.finish("cancelled")
    told = {
        name: (kind, frozenset(re.findall(r"`(\w+)`", given)))
        for name, kind, given in re.findall(
            r"(?m)^\| `(vdb_\w+)` \| (\w+) \| ([^|]*)\|", PAGE.read_text("utf-8")
        )
    }
    measured: dict[str, tuple[str, frozenset[str]]] = {}
    for family in text_string_to_metric_families(text):
        if family.name.startswith("vdb_"):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            names = {label for sample in family.samples for label in sample.labels} - {"le"}
            measured[name] = (family.type, frozenset(names))
    assert told == measured


def test_alerts_ask_for_metrics_that_are_there() -> None:
    text = PAGE.read_text("utf-8")
    told = set(re.findall(r"(?m)^\| `(vdb_\w+)` \|", text))
    block = re.findall(r"(?ms)^```yaml\ngroups:.*?^```$", text)[0]
    asked = set(re.findall(r"vdb_\w+", block))
    assert {name.removesuffix("_bucket") for name in asked} <= told
    assert len(asked) >= 6
