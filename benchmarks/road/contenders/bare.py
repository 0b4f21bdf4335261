"""Yardsticks: a FastAPI route that returns nothing, and one with orjson and FAISS in its own process."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orjson
from race.peers.common import import_peer

from road.client import Client, as_query
from road.contenders.contract import Target
from road.contenders.vdb import slots_of
from road.servers import free_port, serving
from road.work import K, first_that_reaches
from road.wrk import Load, write_bodies

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from road.contenders.contract import Kit

__all__ = ["targets"]

_REFINED: Final = 4


@contextmanager
def targets(kit: Kit) -> Generator[Sequence[Target]]:
    """Run both routes in one process; gives what to race.

    Raises:
        Absent: FAISS is not installed.
    """
    faiss = import_peer("faiss")
    folder, work, options = kit.folder, kit.work, kit.options
    n_lists = 1 << max(1, round(len(work.rows) ** 0.5 * 1.6).bit_length() - 1)
    dimension = work.rows.shape[1]
    factory = (
        f"IVF{n_lists},PQ{max(1, dimension // 4)}x4fs,RFlat" if dimension % 4 == 0 else f"IVF{n_lists},Flat"
    )
    index = faiss.index_factory(dimension, factory, faiss.METRIC_INNER_PRODUCT)
    index.train(work.rows)
    index.add(work.rows)
    inner = faiss.extract_index_ivf(index)
    if "RFlat" in factory:
        index.k_factor = float(_REFINED)

    def recall(n_probes: int) -> float:
        inner.nprobe = n_probes
        return work.truth.recall(index.search(work.checked, K)[1])

    n_probes, _ = first_that_reaches(recall, options.recall, n_lists)
    (folder / "chunks").write_bytes(orjson.dumps(list(work.chunks)))
    faiss.write_index(index, str(folder / "index"))
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--factory", "road.routes:create", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--http", "httptools", "--no-access-log", "--log-level", "warning"]
    environment = {
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        "ROAD_FOLDER": str(folder),
        "ROAD_N_PROBES": str(n_probes),
        "ROAD_K_FACTOR": str(_REFINED),
        "OMP_NUM_THREADS": "1",
    }
    url = f"http://127.0.0.1:{port}"
    with (
        serving(command, ready=f"{url}/ready", log=folder / "log", environment=environment),
        Client(port) as client,
    ):
        bodies = [as_query(query, K) for query in work.queries]
        answers = [orjson.loads(client.send("POST", "/faiss", body)) for body in bodies[: len(work.checked)]]
        found = work.truth.recall(slots_of([answer["hits"] for answer in answers]))
        file = write_bodies(folder / "bodies", bodies)
        yield [
            Target(
                name=name,
                load=Load(url=f"{url}/{path}", bodies=file, connections=options.connections),
                recall=reached,
                setting=setting,
            )
            for name, path, reached, setting in (
                ("FastAPI, returns nothing", "nothing", None, ""),
                ("FastAPI, orjson, FAISS", "faiss", found, f"{factory} nprobe {n_probes}"),
            )
        ]
