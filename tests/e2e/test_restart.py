"""A restart: from the start of the process to the first answer of the index, every checksum verified; and SIGTERM."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import numpy as np
import psutil
from server_kit import FULL, ServerProcess, wait_until_quiet

import vdb_sdk

if TYPE_CHECKING:
    from pathlib import Path

ROWS, DIMENSION = (200_000, 384) if FULL else (20_000, 64)
BATCH = 5_000
LIMIT_S = 2.0
"""Of processor time, from the start of the process: what the clock shows on a machine that has nothing else to do, and
what other work on the same cores cannot stretch."""


def test_the_first_answer_after_a_restart_is_the_indexs_and_comes_soon(tmp_path: Path) -> None:
    data = tmp_path / "data"
    chance = np.random.default_rng(7)
    centers = chance.standard_normal((100, DIMENSION), dtype=np.float32)
    with (
        ServerProcess(data, "--durability", "os") as server,
        vdb_sdk.connect(server.url, timeout=600) as client,
    ):
        library = client.create_library("restart", id="restart", dimension=DIMENSION)
        for begin in range(0, ROWS, BATCH):
            noise = chance.standard_normal((BATCH, DIMENSION), dtype=np.float32)
            library.upsert(
                ids=[f"c{number}" for number in range(begin, begin + BATCH)],
                embeddings=centers[chance.integers(0, 100, BATCH)] + 0.5 * noise,
                texts=[f"the text of chunk number {number}" for number in range(begin, begin + BATCH)],
                metadatas=[{"n": number, "lang": "de" if number % 3 else "en"} for number in range(BATCH)],
            )
        wait_until_quiet(library)
        library.build_index("ivf_flat", timeout=600)
        queries = centers[:5]
        before = [[(hit.id, hit.score) for hit in library.search(query, k=10).hits] for query in queries]
    begun = time.perf_counter()
    with ServerProcess(data) as server, vdb_sdk.connect(server.url) as client:
        result = client.library("restart").search(queries[0], k=10)
        seconds = time.perf_counter() - begun
        used = sum(psutil.Process(server.process.pid).cpu_times()[:2])
        print(f"\n{ROWS} x {DIMENSION}: first answer after {seconds:.2f} s, {used:.2f} s of processor time")
        assert (result.index.type, result.index.exact) == ("ivf_flat", False)
        assert [(hit.id, hit.score) for hit in result.hits] == before[0]
        library = client.library("restart")
        after = [[(hit.id, hit.score) for hit in library.search(query, k=10).hits] for query in queries]
        assert after == before
    assert used < LIMIT_S


def test_sigterm_ends_in_time_and_leaves_a_checkpoint(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with ServerProcess(data) as server:
        with vdb_sdk.connect(server.url) as client:
            library = client.create_library("stopped", id="stopped", dimension=2)
            library.upsert(ids=["a", "b"], embeddings=[[1.0, 2.0], [3.0, 4.0]])
        begun = time.perf_counter()
        assert server.stop() == 0
        assert time.perf_counter() - begun < 30
    assert json.loads((data / "stopped" / "manifest.json").read_text())["generation"] == 1
    with ServerProcess(data) as server, vdb_sdk.connect(server.url) as client:
        assert client.library("stopped").info().chunks == 2
