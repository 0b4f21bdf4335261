"""A library is deleted and made anew, with another metric and dimension, again and again while clients use it."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING

from history.operations import ExportLibrary
from history.service_side import ask_services
from history.workload import Workload
from server_kit import FULL

from vdb_core.errors import CallerError
from vdb_core.services import EngineSettings, open_services

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

ROUNDS = 200 if FULL else 25
METRICS = ("cosine", "dot", "l2")


def test_nobody_sees_more_than_one_library_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every answer is an answer or the caller's error, and what a restart finds is what was served."""
    monkeypatch.setattr("vdb_core.engine.folding._FOLD_ROWS", 20)
    monkeypatch.setattr("vdb_core.engine.folding._DEAD_ROWS", 5)
    failures: list[BaseException] = []
    done = threading.Event()
    counts = {"ok": 0, "refused": 0}
    dimension = 3

    def use(number: int) -> None:
        chance = random.Random(number)
        try:
            while not done.is_set():
                work = Workload(chance, f"c{number}", dimension=dimension, chunks=15, large=20)
                for _ in range(5):
                    try:
                        counts[ask_services(services, "lib", work.next()).outcome] += 1
                        if chance.random() < 0.1:
                            services.indexing.start(
                                "lib", {"type": chance.choice(["brute", "ivf_flat", "numpy"])}
                            )
                    except CallerError:
                        counts["refused"] += 1  # among them vectors of the other library's dimension
        except BaseException as error:  # noqa: BLE001 - raised again below
            failures.append(error)

    with open_services(EngineSettings(data_dir=tmp_path)) as services:
        services.libraries.create({"id": "lib", "name": "lib"}).result(30)
        threads = [threading.Thread(target=use, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for number in range(1, ROUNDS + 1):
            done.wait(0.01)
            services.libraries.delete("lib").result(30)
            dimension = 3 + number % 2
            metric = METRICS[number % 3]
            body = {"id": "lib", "name": "lib", "metric": metric, "metadata": {"made": number}}
            services.libraries.create(body).result(30)
        done.wait(0.2)
        done.set()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
        if failures:
            raise failures[0]
        assert counts["ok"] > ROUNDS
        served = ask_services(services, "lib", ExportLibrary())
        assert services.libraries.get("lib").metadata["made"] == ROUNDS
    with open_services(EngineSettings(data_dir=tmp_path)) as services:
        assert ask_services(services, "lib", ExportLibrary()) == served
        assert services.health()["damaged_libraries"] == []
    assert sorted(one.name for one in tmp_path.iterdir() if not one.name.startswith("_")) == ["lib"]
