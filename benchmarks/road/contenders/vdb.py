"""vdb's own server, as its command starts it: a key is asked for, metrics are counted, writes are durable."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import numpy as np
import orjson

from road.client import Client, as_form, as_npy, as_query
from road.contenders.contract import Target
from road.servers import free_port, serving
from road.work import FILTERS, K, first_that_reaches
from road.wrk import Load, write_bodies

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from race.truth import Truth

    from road.contenders.contract import Kit
    from road.work import Work

__all__ = ["BATCH", "KEY", "PREFIX", "fill", "running", "slots_of", "targets", "tuned"]

KEY: Final = "a-key-as-operators-set-one"
PREFIX: Final = "/v1/libraries"
BATCH: Final = 250
_PART: Final = 10_000


@contextmanager
def running(data_dir: Path, log: Path, *, durability: str = "fsync") -> Generator[int]:
    """Run ``vdb serve`` on a data directory; gives its port."""
    port = free_port()
    command = [
        str(Path(sys.executable).with_name("vdb")),
        "serve",
        "--port",
        str(port),
        "--data-dir",
        str(data_dir),
        "--durability",
        durability,
    ]
    with serving(command, ready=f"http://127.0.0.1:{port}/readyz", log=log, environment={"VDB_API_KEY": KEY}):
        yield port


def fill(client: Client, library: str, work: Work, index: str) -> None:
    """Make a library of all rows and build its index."""
    client.call("POST", "", {"id": library, "name": library, "index": {"type": index}})
    for begin in range(0, len(work.rows), _PART):
        part = slice(begin, begin + _PART)
        body, content_type = as_form(work.chunks[part], work.rows[part])
        client.send("POST", f"/{library}/chunks/bulk", body, content_type)
    client.call("POST", f"/{library}/index", {"wait": True})


def tuned(client: Client, library: str, kit: Kit) -> tuple[dict[str, Any], float]:
    """Search parameters for the recall that is wanted, and the recall."""
    work, options = kit.work, kit.options
    if options.index == "brute":
        return {}, work.truth.recall(_matrix(client, library, work, {}))
    details = client.call("GET", f"/{library}/index")["details"]

    def recall(n_probes: int) -> float:
        return work.truth.recall(_matrix(client, library, work, {"n_probes": n_probes}))

    n_probes, reached = first_that_reaches(recall, options.recall, int(details["n_lists"]))
    return {"n_probes": n_probes}, reached


@contextmanager
def targets(kit: Kit) -> Generator[Sequence[Target]]:
    """Run the server and fill it; gives what to race."""
    folder, work, options = kit.folder, kit.work, kit.options
    with running(folder / "data", folder / "log") as port, Client(port, prefix=PREFIX, key=KEY) as client:
        fill(client, "rows", work, options.index)
        params, recall = tuned(client, "rows", kit)
        setting = f"{options.index} {params}"
        url = f"http://127.0.0.1:{port}{PREFIX}/rows/search"

        def single(name: str, truth: Truth, **more: object) -> Target:
            bodies = [as_query(query, K, params=params, **more) for query in work.queries]
            answers = [
                orjson.loads(client.send("POST", "/rows/search", body))
                for body in bodies[: len(truth.queries)]
            ]
            found = truth.recall(slots_of([answer["hits"] for answer in answers]))
            file = write_bodies(folder / name.replace(" ", "-"), bodies)
            load = Load(url=url, bodies=file, key=KEY, connections=options.connections)
            return Target(name=name, load=load, recall=found, setting=setting)

        query = f"?k={K}&include=&params={quote(orjson.dumps(params).decode())}"
        parts = [as_npy(work.queries[begin : begin + BATCH]) for begin in range(0, len(work.queries), BATCH)]
        yield [
            single("vdb", work.truth),
            *(single(f"vdb {name}", work.filtered[name], filter=one) for name, one in FILTERS.items()),
            Target(
                name="vdb .npy batch",
                load=Load(
                    url=f"{url}/batch{query}",
                    bodies=write_bodies(
                        folder / "batch", [part for part in parts if len(part) == len(parts[0])]
                    ),
                    content_type="application/x-npy",
                    key=KEY,
                    connections=options.connections,
                ),
                queries=min(BATCH, len(work.queries)),
                recall=recall,
                setting=setting,
            ),
        ]


def _matrix(client: Client, library: str, work: Work, params: dict[str, Any]) -> Any:
    query = f"?k={K}&include=&params={quote(orjson.dumps(params).decode())}"
    content = client.send(
        "POST", f"/{library}/search/batch{query}", as_npy(work.checked), "application/x-npy"
    )
    return slots_of([result["hits"] for result in orjson.loads(content)["results"]])


def slots_of(answers: Sequence[Sequence[dict[str, Any]]]) -> Any:
    """Row numbers of the hits of each query, ``[q, K]``, padded with -1."""
    slots = np.full((len(answers), K), -1, dtype=np.int64)
    for at, hits in enumerate(answers):
        slots[at, : len(hits)] = [int(hit["id"].removeprefix("row-")) for hit in hits]
    return slots
