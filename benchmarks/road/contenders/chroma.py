"""Chroma's own server, ``chroma run``, at the cheapest ``ef_search`` that reaches the recall."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import orjson
from race.peers.common import import_peer

from road.client import Client
from road.contenders.contract import Target
from road.servers import free_port, serving
from road.work import FILTERS, K
from road.wrk import Load, write_bodies

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from race.truth import Truth

    from road.contenders.contract import Kit
    from road.work import Work

__all__ = ["add", "create", "running", "targets"]

_PREFIX: Final = "/api/v2/tenants/default_tenant/databases/default_database/collections"
_PART: Final = 1_000
_EFFORTS: Final = (10, 16, 24, 32, 48, 64, 100, 200, 400)


@contextmanager
def running(data_dir: Path, log: Path) -> Generator[Client]:
    """Run ``chroma run``; gives a client of it.

    Raises:
        Absent: it is not installed.
    """
    import_peer("chromadb")
    port = free_port()
    command = [str(Path(sys.executable).with_name("chroma")), "run", "--path", str(data_dir)]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    ready = f"http://127.0.0.1:{port}/api/v2/heartbeat"
    with (
        serving(command, ready=ready, log=log, environment={"ANONYMIZED_TELEMETRY": "False"}),
        Client(port, prefix=_PREFIX) as client,
    ):
        yield client


def create(client: Client, name: str, **hnsw: object) -> str:
    """Make a collection; returns its id."""
    made = client.call("POST", "", {"name": name, "configuration": {"hnsw": {"space": "cosine", **hnsw}}})
    return made["id"]


def add(work: Work, begin: int, end: int) -> bytes:
    """The body that adds some of the rows."""
    chunks = work.chunks[begin:end]
    return orjson.dumps(
        {
            "ids": [chunk["id"] for chunk in chunks],
            "embeddings": list(work.rows[begin:end]),
            "documents": [chunk["text"] for chunk in chunks],
            "metadatas": [chunk["metadata"] for chunk in chunks],
        },
        option=orjson.OPT_SERIALIZE_NUMPY,
    )


@contextmanager
def targets(kit: Kit) -> Generator[Sequence[Target]]:
    """Run the server and fill it; gives what to race."""
    folder, work, options = kit.folder, kit.work, kit.options
    with running(folder / "data", folder / "log") as client:
        collection = create(client, "rows")
        for begin in range(0, len(work.rows), _PART):
            client.send("POST", f"/{collection}/add", add(work, begin, begin + _PART))
        plain = [_query(query) for query in work.queries]
        effort, recall = 0, 0.0
        for effort in _EFFORTS:
            client.call("PUT", f"/{collection}", {"new_configuration": {"hnsw": {"ef_search": effort}}})
            recall = _recall(client, collection, plain, work.truth)
            if recall >= options.recall:
                break

        def target(name: str, bodies: Sequence[bytes], found: float) -> Target:
            return Target(
                name=name,
                load=Load(
                    url=f"http://127.0.0.1:{client.port}{_PREFIX}/{collection}/query",
                    bodies=write_bodies(folder / name.replace(" ", "-"), bodies),
                    connections=options.connections,
                ),
                recall=found,
                setting=f"HNSW ef_search {effort}",
            )

        made = [target("Chroma", plain, recall)]
        for name, where in FILTERS.items():
            bodies = [_query(query, where=where) for query in work.queries]
            found = _recall(client, collection, bodies, work.filtered[name])
            made.append(target(f"Chroma {name}", bodies, found))
        yield made


def _query(query: np.ndarray[Any, Any], **more: object) -> bytes:
    body = {
        "query_embeddings": [query],
        "n_results": K,
        "include": ["documents", "metadatas", "distances"],
        **more,
    }
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)


def _recall(client: Client, collection: str, bodies: Sequence[bytes], truth: Truth) -> float:
    slots = np.full((len(truth.queries), K), -1, dtype=np.int64)
    for at in range(len(slots)):
        ids = orjson.loads(client.send("POST", f"/{collection}/query", bodies[at]))["ids"][0]
        slots[at, : len(ids)] = [int(one.removeprefix("row-")) for one in ids]
    return truth.recall(slots)
