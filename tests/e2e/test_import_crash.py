"""An import is all or nothing also under kill -9: the library is there, whole and answering as before, or it is not there."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
from archive_kit import TAR
from command_kit import Server, serving

if TYPE_CHECKING:
    from pathlib import Path

ROWS, DIMENSION, KILLS = 6_000, 64, 4
LISTED = "/v1/libraries/big/chunks?limit=1000&include=embedding"


def whole(server: Server) -> list[bytes]:
    """All of the library, to the byte."""
    told = [server("GET", "/v1/libraries/big").body]
    cursor = ""
    while True:
        page = server("GET", f"{LISTED}{cursor}")
        told.append(page.body)
        if page.json()["next_cursor"] is None:
            return told
        cursor = f"&cursor={page.json()['next_cursor']}"


def test_an_import_is_whole_or_absent_after_kill_9(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    with serving(tmp_path / "source") as server:
        made = {"id": "big", "name": "Big", "metric": "cosine"}
        assert server("POST", "/v1/libraries", made).status == 201
        for begin in range(0, ROWS, 2_000):
            rows = [
                {"id": f"c{n}", "text": f"row {n}", "embedding": rng.normal(size=DIMENSION).tolist()}
                for n in range(begin, begin + 2_000)
            ]
            assert server("POST", "/v1/libraries/big/chunks/upsert", {"chunks": rows}).status == 200
        # Gaps between rows: where they stand in lists, cursors included, comes back too.
        gone = {"ids": [f"c{n}" for n in range(0, ROWS, 7)]}
        assert server("POST", "/v1/libraries/big/chunks/delete", gone).status == 200
        archive, before = server("GET", "/v1/libraries/big/export").body, whole(server)
    chance = random.Random(7)
    outcomes: list[bool] = []
    took = 60.0
    for number in range(KILLS):
        data = tmp_path / f"data{number}"
        answered = False
        with serving(data) as server:
            # The first one is let go on until it was acknowledged; the others are killed on their way, however fast that is.
            wait = chance.uniform(0.05, 0.95) * took if number > 0 else took
            killer = threading.Timer(wait, server.process.kill)
            begun = time.perf_counter()
            killer.start()
            with contextlib.suppress(OSError):
                answered = server("POST", "/v1/libraries/import", archive, headers=TAR).status == 201
            if number == 0:
                took = time.perf_counter() - begun
            server.process.kill()
            server.process.wait()
            killer.cancel()
        with serving(data) as server:
            there = server("GET", "/v1/libraries/big").status == 200
            assert there or not answered, "an acknowledged import is gone"
            if there:
                assert whole(server) == before
            else:
                assert server("GET", "/v1/libraries").json()["items"] == []
                assert server("POST", "/v1/libraries/import", archive, headers=TAR).status == 201
                assert whole(server) == before
        outcomes.append(there)
    assert outcomes[0]
    assert not all(outcomes), "no kill came before the end: make the waits shorter"
