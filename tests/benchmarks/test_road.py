"""The road benchmark's arithmetic: settings, ratios of rounds, verdicts, and what the load generator is told."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from road import wrk
from road.client import as_form, as_npy, as_query, as_upsert
from road.goals import ratio, verdicts
from road.options import parse
from road.servers import serving
from road.table import render
from road.work import first_that_reaches


@pytest.mark.parametrize("least", [1, 2, 3, 7, 8, 9, 63, 100])
def test_the_smallest_setting_is_found(least: int) -> None:
    asked: list[int] = []

    def recall(setting: int) -> float:
        asked.append(setting)
        return 0.96 if setting >= least else 0.9

    assert first_that_reaches(recall, 0.95, 100) == (least, 0.96)
    assert max(asked) <= 100
    assert len(asked) <= 15


def test_a_recall_out_of_reach_is_said() -> None:
    with pytest.raises(SystemExit, match=r"recall 0\.95.*40, has 0\.900"):
        first_that_reaches(lambda _: 0.9, 0.95, 40)


def test_a_ratio_is_the_median_of_those_of_each_round() -> None:
    assert ratio([10.0, 30.0, 5.0], [5.0, 10.0, 5.0]) == 2.0
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        ratio([1.0, 2.0], [1.0])


def line(name: str, rate: float, recall: float = 0.96) -> dict[str, Any]:
    return {
        "name": name,
        "setting": "s",
        "recall": recall,
        "queries_s": [rate],
        "p50_us": [1.0],
        "p99_us": [2.0],
    }


def results(**changes: float) -> dict[str, Any]:
    value = {
        "single": 3500.0, "recall": 0.95, "chroma": 583.0, "kept": 1750.0, "out": 1750.0, "batch": 10_000.0,
        "json": 15_000.0, "npy": 60_000.0, "stall": 3.0, "sdk": 249.0, **changes,
    }  # fmt: skip
    return {
        "machine": {
            "cpu": "c", "cores": 2, "cores_usable": 2, "load_before": None, "system": "s", "python": "3",
        },
        "data": "d", "rows": 1, "dimension": 1, "k": 10, "recall": 0.95, "connections": 8, "rounds": 1,
        "searches": {
            "absent": {"bare": "not there"},
            "lines": [
                line("vdb", value["single"], value["recall"]),
                line("vdb one third kept", value["kept"]),
                line("vdb one third filtered out", value["out"]),
                line("vdb .npy batch", value["batch"]),
                line("Chroma", value["chroma"]),
            ],
        },
        "ingest": {
            "absent": {},
            "clients": 4,
            "lines": [
                {"name": "JSON", "rows_s": [value["json"]]},
                {"name": ".npy", "rows_s": [value["npy"]]},
                {"name": "Chroma", "rows_s": [1.0]},
            ],
        },
        "stall": {
            "alone_p99_us": [1.0],
            "lines": [
                {"name": "slow", "ratio": value["stall"], "rounds": [{"p99_us": 3.0, "slow_p50_us": 9.0}]}
            ],
        },
        "embedded": {"medians_us": {"sdk": [value["sdk"]], "index": [100.0]}},
    }  # fmt: skip


def test_goals_that_are_just_reached_are_met() -> None:
    told = verdicts(results())
    assert len(told) == 9
    assert all(each.met for each in told), told


@pytest.mark.parametrize(
    ("change", "missed"),
    [
        ({"single": 3499.0, "chroma": 500.0, "kept": 1750.0, "out": 1750.0}, ["single queries"]),
        ({"recall": 0.949}, ["single queries", "beside Chroma"]),
        ({"chroma": 584.0}, ["beside Chroma"]),
        ({"kept": 1700.0}, ["one third kept"]),
        ({"out": 1700.0}, ["one third filtered out"]),
        ({"batch": 9_999.0}, [".npy batches"]),
        ({"json": 14_999.0}, ["durable writes as JSON"]),
        ({"npy": 59_999.0}, ["durable writes as .npy"]),
        ({"stall": 3.01}, ["p99 of fast searches"]),
        ({"sdk": 251.0}, ["embedded query"]),
    ],
)
def test_each_goal_can_be_missed(change: dict[str, float], missed: list[str]) -> None:
    told = [each.line for each in verdicts(results(**change)) if not each.met]
    assert len(told) == len(missed)
    assert all(each.startswith(wanted) for each, wanted in zip(told, missed, strict=True))


def test_parts_that_were_not_measured_have_no_verdict_and_no_table() -> None:
    some = results()
    for part in ("searches", "ingest", "stall"):
        del some[part]
    assert [each.line for each in verdicts(some)] == ["embedded query, over the bare index"]
    assert "queries/s" not in render(some)
    assert "Not measured: bare: not there" in render(results())
    assert "| 15,000 rows/s | met |" in render(results())


def test_options() -> None:
    small, full = parse([]), parse(["--full"])
    assert (small.rows, full.rows) == (20_000, 100_000)
    assert small.seconds < full.seconds
    assert parse(["--data", "x.npy"]).rows == 100_000
    for wrong in (["--rows", "0"], ["--queries", "x"], ["--recall", "1.5"]):
        with pytest.raises(SystemExit):
            parse(wrong)


def answer_of(**changes: int) -> str:
    counted = {
        "requests": 10, "duration_us": 2_000_000, "bytes": 1, "refused": 0, "broken": 0, "timeouts": 0,
        "p50_us": 5, "p90_us": 6, "p99_us": 7, "max_us": 8, **changes,
    }  # fmt: skip
    return f"Running 2s test\nRequests/sec: 5\n{json.dumps(counted)}\n"


class Finished:
    def __init__(self, output: str, returncode: int = 0) -> None:
        self.output = output
        self.returncode = returncode

    def communicate(self) -> tuple[str, None]:
        return self.output, None


def test_what_wrk_counted_is_read_and_failures_count_for_nothing() -> None:
    run = wrk.read(Finished(answer_of()))  # type: ignore[arg-type]
    assert (run.rate, run.p50_us, run.p99_us) == (5.0, 5, 7)
    for wrong in ({"refused": 1}, {"broken": 1}, {"timeouts": 1}):
        with pytest.raises(SystemExit, match="no success"):
            wrk.read(Finished(answer_of(**wrong)))  # type: ignore[arg-type]
    with pytest.raises(SystemExit, match="no answer within 2 s"):
        wrk.read(Finished(answer_of(requests=0)))  # type: ignore[arg-type]
    with pytest.raises(SystemExit, match="unable to connect"):
        wrk.read(Finished("unable to connect", 1))  # type: ignore[arg-type]


def test_a_slow_contender_is_warmed_up_without_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    load = wrk.Load(url="http://127.0.0.1:1/", bodies=Path("bodies"))
    answers = iter([answer_of(requests=0), answer_of(requests=0, timeouts=1)])
    monkeypatch.setattr(wrk, "start", lambda _load, _seconds: Finished(next(answers)))
    wrk.warm_up(load)
    with pytest.raises(SystemExit, match="no success"):
        wrk.warm_up(load)


def test_without_wrk_the_command_that_installs_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit, match="apt-get install wrk"):
        wrk.need_wrk()


def test_bodies_hold_what_was_given(tmp_path: Path) -> None:
    rows = np.arange(6, dtype=np.float32).reshape(2, 3)
    chunks = [{"id": "a"}, {"id": "b"}]
    assert json.loads(as_query(rows[0], 10, filter={"a": 1})) == {
        "embedding": [0, 1, 2], "k": 10, "filter": {"a": 1},
    }  # fmt: skip
    assert np.load(io.BytesIO(as_npy(rows))).tolist() == rows.tolist()
    assert json.loads(as_upsert(chunks, rows))["chunks"][1] == {"id": "b", "embedding": [3, 4, 5]}
    body, content_type = as_form(chunks, rows)
    assert content_type.partition("boundary=")[2].encode() in body
    assert as_npy(rows) in body
    file = wrk.write_bodies(tmp_path / "bodies", [b"x\n1", b"", b"yz"])
    assert file.read_bytes() == b"3\nx\n10\n2\nyz"


def test_a_server_is_started_and_ended(tmp_path: Path) -> None:
    import socket

    from road.servers import free_port

    port = free_port()
    command = [
        sys.executable,
        "-m",
        "http.server",
        str(port),
        "--bind",
        "127.0.0.1",
        "--directory",
        str(tmp_path),
    ]
    with serving(command, ready=f"http://127.0.0.1:{port}/", log=tmp_path / "log"):
        socket.create_connection(("127.0.0.1", port), 5).close()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), 5)


def test_a_server_that_ends_at_once_is_told_with_what_it_said(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; print('no such port'); sys.exit(3)"]
    with (
        pytest.raises(SystemExit, match=r"(?s)ended with 3.*no such port"),
        serving(command, ready="http://127.0.0.1:9/", log=tmp_path / "log"),
    ):
        pass
