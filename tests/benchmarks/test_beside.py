"""Runs beside each other: a column a run, of a line the worst, and the page of results holds what its files say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from race.beside import render

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "explanation" / "benchmark-results.md"
MACHINES = ("zen5", "zen4", "zen3", "xeon", "xeon-amx")


def run(name: str = "rows", **costs: tuple[float, float]) -> dict[str, Any]:
    """Results of filters alone: ``index=(cost, recall)``."""
    line = {"kind": "random", "share": 0.1, "batch_cost": 1.0, "unfiltered_recall": 0.95, "all_found": True}
    filtered = [
        {**line, "index": index.replace("_", " (", 1), "single_cost": cost, "recall": recall}
        for index, (cost, recall) in costs.items()
    ]
    parts = {"families": [], "filtered": filtered, "scaling": []}
    return {"workloads": [{"name": name, "rows": 100_000, "dimension": 8, "metric": "l2", **parts}]}


def cells(text: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if "|" in line
    ]


def test_a_line_counts_by_its_worst_setting() -> None:
    told = cells(render({"one": run(flat_a=(1.2, 0.95), flat_b=(1.9, 0.95)), "two": run(flat_a=(1.5, 0.95))}))
    assert told[0] == ["goal", "wanted", "one", "two"]
    assert told[2:] == [["flat, filtered", "<= 2x", "1.90x", "1.50x"]]
    # One that loses rows is worse than one that is dear.
    told = cells(render({"one": run(flat_a=(1.2, 0.90), flat_b=(1.9, 0.95))}))
    assert told[2:] == [["flat, filtered", "<= 2x", "**1.20x, recall 0.900**"]]


def test_runs_over_other_rows_have_a_table_of_their_own_and_what_is_not_measured_stays_empty() -> None:
    text = render(
        {"one": run(flat_a=(1.2, 0.95)), "two": run(pq_a=(2.5, 0.95)), "three": run("others", pq_a=(1, 1))}
    )
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "## rows: 100,000 x 8, l2",
        "## others: 100,000 x 8, l2",
    ]
    first, second = text.split("\n\n## others")
    assert cells(first)[2:] == [
        ["flat, filtered", "<= 2x", "1.20x", ""],
        ["pq, filtered", "<= 2x", "", "**2.50x**"],
    ]
    assert cells(second)[0] == ["goal", "wanted", "three"]


@pytest.mark.parametrize("data", ["glosses-cosine", "generated-128-l2"])
def test_the_page_of_results_holds_what_the_files_say(data: str) -> None:
    files = {name: json.loads((RESULTS / data / f"{name}.json").read_text("utf-8")) for name in MACHINES}
    assert {file.stem for file in (RESULTS / data).iterdir()} == set(MACHINES)
    assert render(files) in PAGE.read_text("utf-8"), f"--beside over results/{data} prints another table"
