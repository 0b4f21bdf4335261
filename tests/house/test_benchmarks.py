"""The benchmark runs without a peer, on data of its own making, and measures every index type."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
INDEX_TYPES = ("brute", "ivf_flat", "ivf_pq")


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "benchmarks/run.py", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONWARNINGS": "error"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_measures_each_index_type_and_says_who_is_absent(tmp_path: Path) -> None:
    small = ("--case", "2000x16:l2", "--n-queries", "50", "--rounds", "1", "--peers", "numpy")
    done = bench(*small, "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    for name in ("faiss", "scann", "hnswlib", "usearch"):
        assert f"Absent: {name}: left out by --peers" in done.stdout
    results = json.loads((tmp_path / "results.json").read_text("utf-8"))
    assert results["machine"]["threads"] == 1
    (workload,) = results["workloads"]
    assert [family["family"] for family in workload["families"]] == list(INDEX_TYPES)
    for family in workload["families"]:
        matches = [match for match in family["matches"] if match["ours"]]
        assert matches, family["family"]
        assert all(match["ours"]["recall"] >= match["target"] for match in matches)
        assert any(point["peer"] == "vdb" and point["batch_s"] for point in family["points"])
        assert all(entry["build_s"][0] > 0 for entry in family["built"] if entry["peer"] == "vdb")
    assert [match["ratio"]["value"] > 0 for match in workload["families"][0]["matches"]] == [True, True]
    assert {line["index"].split()[0] for line in workload["filtered"]} == set(INDEX_TYPES)
    assert all(line["all_found"] for line in workload["filtered"])
    assert {line["index"].split()[0] for line in workload["scaling"]} == set(INDEX_TYPES)
    # Shown again from the file, the tables are the same.
    again = bench("--redraw", str(tmp_path / "results.json"), "--out", str(tmp_path))
    assert again.returncode == 0, again.stderr
    tables = again.stdout.split("## generated", 1)[1].split("\nno plots")[0].split("\ndrew")[0]
    assert tables.strip() in done.stdout
    # Two of one name are two columns.
    twin = tmp_path / "twin" / "results.json"
    twin.parent.mkdir()
    twin.write_bytes((tmp_path / "results.json").read_bytes())
    both = bench("--beside", str(tmp_path / "results.json"), str(twin))
    assert both.returncode == 0, both.stderr
    assert str(tmp_path / "results.json") in both.stdout
    assert str(twin) in both.stdout
    wrong = bench("--beside", str(tmp_path))
    assert wrong.returncode == 1
    assert "expected the results.json of a run" in wrong.stderr


def test_data_that_does_not_fit_is_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "rows.npy"
    file.write_bytes(b"no array")
    done = bench("--data", str(file))
    assert done.returncode == 1
    assert "rows.npy: expected a .npy file of rows" in done.stderr
    assert "Traceback" not in done.stderr
