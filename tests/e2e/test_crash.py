"""Promise 3 over HTTP: kill -9 at any moment, and what was acknowledged is there, whole."""

from __future__ import annotations

import os
import random
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
from server_kit import FULL, ServerProcess

import vdb_sdk

if TYPE_CHECKING:
    from pathlib import Path

ROUNDS = int(os.environ.get("VDB_CRASH_ROUNDS", "25" if FULL else "4"))
BATCH = 50


def test_acknowledged_writes_survive_kill_9(tmp_path: Path) -> None:
    data = tmp_path / "data"
    seed = int(os.environ.get("VDB_CRASH_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 30)
    print(f"\nVDB_CRASH_SEED={seed}")
    chance = random.Random(seed)
    acknowledged: dict[str, int] = {}
    """Chunk id to the last acknowledged version, -1 where the deletion was acknowledged."""
    attempted: dict[str, set[int]] = {}
    version = 0
    for number in range(ROUNDS):
        with ServerProcess(data) as server:
            with vdb_sdk.connect(server.url) as client:
                library = client.create_library("crash", id="crash", dimension=8, exist_ok=True)
                _check(library, acknowledged, attempted)
            killer = threading.Timer(chance.uniform(0.05, 1.0), server.kill)
            killer.start()
            try:
                with vdb_sdk.connect(server.url, retries=0, timeout=10) as client:
                    library = client.library("crash")
                    if number % 3 == 2:
                        library.build_index("ivf_flat", wait=False)
                    while True:
                        version += 1
                        ids = [f"c{chance.randrange(2000)}" for _ in range(BATCH)]
                        ids = list(dict.fromkeys(ids))
                        for one in ids:
                            attempted.setdefault(one, set()).add(version)
                        library.upsert(
                            ids=ids,
                            embeddings=np.full((len(ids), 8), float(version), dtype=np.float32),
                            metadatas=[{"version": version} for _ in ids],
                        )
                        acknowledged.update(dict.fromkeys(ids, version))
                        doomed = ids[:5]
                        for one in doomed:
                            attempted[one].add(-version)
                        library.delete(doomed)
                        acknowledged.update(dict.fromkeys(doomed, -version))
            except vdb_sdk.VdbSdkError:
                pass
            killer.join()
            while server.process.poll() is None:
                time.sleep(0.01)
    with ServerProcess(data) as server, vdb_sdk.connect(server.url) as client:
        _check(client.library("crash"), acknowledged, attempted)
        assert client.library("crash").index_status().warnings == ()


def _check(
    library: vdb_sdk.LibraryHandle, acknowledged: dict[str, int], attempted: dict[str, set[int]]
) -> None:
    """Each chunk is at its last acknowledged version, or at a later one whose answer the crash cut off."""
    found = {chunk.id: int(str(chunk.metadata["version"])) for chunk in library.chunks(page_size=1000)}
    for one, versions in attempted.items():
        last = acknowledged.get(one, 0)
        later = {abs(v) for v in versions if abs(v) >= abs(last)}
        if one in found:
            assert found[one] in later, f"{one} is at {found[one]}; acknowledged {last}, attempted {versions}"
            if found[one] == abs(last):
                assert last > 0, f"{one} came back after its deletion at {-last}"
            acknowledged[one] = found[one]
        else:
            assert last <= 0 or any(v < 0 and -v >= last for v in versions), f"{one} is lost: {last}"
            acknowledged[one] = min(-abs(last), 0)
        attempted[one] = {acknowledged[one]}
    # A batch is there as a whole or not at all: the rows of its version that were not touched since.
    results = library.search(np.ones(8, dtype=np.float32), k=10)
    assert all(hit.id in found for hit in results.hits)
