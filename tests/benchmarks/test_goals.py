"""Verdicts: the hardest peer counts, memory and filters have their bounds, and what cannot be told stays open."""

from __future__ import annotations

from typing import Any

import pytest
from race.goals import verdicts


def match(peer: str, value: float, *, mode: str = "single", build: float = 0.5) -> dict[str, Any]:
    point = {"index": f"{peer} index", "single_s": [value], "batch_s": [value], "recall": 0.95}
    return {
        "peer": peer,
        "target": 0.95,
        "mode": mode,
        "theirs": point,
        "ours": {**point, "index": "ours"},
        "ratio": {"value": value, "low": value, "high": value},
        "build_ratio": build,
    }


def workload(**parts: Any) -> dict[str, Any]:
    return {"rows": 100_000, "dimension": 10, "families": [], "filtered": [], "scaling": [], **parts}


def entry(total: int, build_s: float = 1.0) -> dict[str, Any]:
    sizes = {"total": total, "parts": {"codes": total}}
    return {"peer": "vdb", "index": "ours", "build_s": [build_s], "sizes": sizes}


def told(work: dict[str, Any]) -> dict[str, bool | None]:
    return {each.line: each.met for each in verdicts(work)}


def test_the_hardest_peer_decides() -> None:
    family = {"family": "ivf_pq", "built": [], "matches": [match("scann", 1.5), match("faiss", 2.5)]}
    lines = told(workload(families=[family]))
    assert lines["ivf_pq recall 0.95, single, beside scann scann index"] is False
    assert lines["ivf_pq recall 0.95, build, beside faiss faiss index"] is True
    family["matches"] = [match("scann", 2.0), match("faiss", 2.5, build=0.8)]
    lines = told(workload(families=[family]))
    assert lines["ivf_pq recall 0.95, single, beside scann scann index"] is True
    assert lines["ivf_pq recall 0.95, build, beside faiss faiss index"] is False


def test_a_peer_that_no_goal_names_decides_nothing() -> None:
    family = {"family": "ivf_pq", "built": [], "matches": [match("usearch", 0.1)]}
    assert told(workload(families=[family])) == {}


def test_memory_and_the_rate_of_codes() -> None:
    rows_bytes = 4 * 100_000 * 10
    family = {
        "family": "brute",
        "built": [entry(rows_bytes * 3 // 10, build_s=rows_bytes / 0.5e9)],
        "matches": [match("faiss", 7.0)],
    }
    lines = told(workload(families=[family]))
    assert lines["ours: memory beside the rows"] is True
    assert lines["brute: codes made of rows"] is False
    family["built"] = [entry(rows_bytes, build_s=rows_bytes / 2e9)]
    lines = told(workload(families=[family]))
    assert lines["ours: memory beside the rows"] is False
    assert lines["brute: codes made of rows"] is True
    family["built"][0]["sizes"]["parts"] = {"norms": 400_000}
    assert "brute: codes made of rows" not in told(workload(families=[family]))
    # A small one keeps nothing beside the rows.
    family["built"] = [entry(0)]
    assert told(workload(families=[family]))["ours: memory beside the rows"] is True


@pytest.mark.parametrize(
    ("change", "met"),
    [
        ({}, True),
        ({"single_cost": 2.1}, False),
        ({"batch_cost": 2.1}, False),
        ({"recall": 0.949}, False),
        ({"all_found": False}, False),
    ],
)
def test_a_filter_must_hold_in_every_respect(change: dict[str, Any], met: bool) -> None:
    line = {
        "index": "ours",
        "kind": "random",
        "share": 0.01,
        "single_cost": 1.9,
        "batch_cost": 1.0,
        "recall": 0.951,
        "unfiltered_recall": 0.952,
        "all_found": True,
        **change,
    }
    assert list(told(workload(filtered=[line])).values()) == [met]


@pytest.mark.parametrize(("gain", "met"), [(1.7, True), (1.3, None), (1.0, False)])
def test_threads_are_judged_only_beyond_both_resources(gain: float, met: bool | None) -> None:
    line = {"index": "ours", "gain": {"arithmetic": 1.85, "memory": 1.2, "batch": gain, "build": gain}}
    assert list(told(workload(scaling=[line])).values()) == [met, met]


def test_threads_are_not_judged_on_a_busy_machine() -> None:
    line = {"index": "ours", "gain": {"arithmetic": 1.1, "memory": 1.0, "batch": 0.8, "build": 1.9}}
    assert list(told(workload(scaling=[line])).values()) == [None, None]
