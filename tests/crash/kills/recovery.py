"""What is there after a crash: everything read back, every way of reading it compared, nothing left over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
from history.checker import Violation, check_history
from history.events import ask
from history.http_side import Failure
from history.operations import (
    ExportLibrary,
    GetChunk,
    GetDocument,
    GetLibrary,
    ListChunks,
    ListDocuments,
    Search,
)
from history.workload import Workload

if TYPE_CHECKING:
    import random
    from pathlib import Path

    from history.events import Event
    from history.http_side import Connection
    from history.model import Model
    from history.operations import Read
    from history.settling import Recovered

__all__ = ["agree", "check_files", "library_ids", "look"]


def library_ids(connection: Connection) -> list[str]:
    """Every library, page by page; a list leaves out what is unavailable, so health is asked too."""
    status, health = connection.json("GET", "/readyz")
    if status != 200 or health["damaged_libraries"]:
        raise Violation(f"not all libraries are served: {status} {health}")
    found: list[str] = []
    query = "limit=3"
    while True:
        status, page = connection.json("GET", f"/v1/libraries?{query}")
        if status != 200:
            raise Violation(f"the libraries cannot be listed: {status} {page}")
        found += [one["id"] for one in page["items"]]
        if page["next_cursor"] is None:
            break
        query = f"limit=3&cursor={page['next_cursor']}"
    # Some are opened by being listed, and found to be damaged only then.
    status, health = connection.json("GET", "/readyz")
    if status != 200 or health["damaged_libraries"]:
        raise Violation(f"not all libraries can be opened: {status} {health}")
    return found


def look(connection: Connection, library_id: str) -> Recovered:
    """Read all there is of a library through its lists; nobody writes to it meanwhile."""
    library = _get(connection, library_id, GetLibrary())
    chunks: list[dict[str, object]] = []
    cursor: str | None = None
    while True:
        page = _get(connection, library_id, ListChunks(limit=1000, cursor=cursor))
        chunks += page["items"]
        cursor = page["cursor"]
        if cursor is None:
            break
    documents = _get(connection, library_id, ListDocuments(limit=1000))["items"]
    return {"library": library, "chunks": chunks, "documents": {one["id"]: one for one in documents}}


def _get(connection: Connection, library_id: str, operation: Read) -> dict[str, Any]:
    reply = connection.send(library_id, operation)
    if reply.outcome in {"unknown", "unsent"}:
        raise Failure(sent=reply.outcome == "unknown")
    if reply.outcome != "ok":
        raise Violation(f"library {library_id!r} cannot be read: {operation} was answered {reply}")
    return cast("dict[str, Any]", reply.value)


def agree(
    connection: Connection, library_id: str, model: Model, chance: random.Random, *, dimension: int
) -> int:
    """Check that get, list, count, filter, exact search and export agree with a model; returns how many were asked."""
    workload = Workload(chance, "recovery", dimension=dimension)
    some = chance.sample(list(model.rows), min(4, len(model.rows)))
    everything = len(model.rows) + 1
    reads: list[Read] = [
        GetLibrary(),
        *(GetChunk(id=one) for one in some),
        GetChunk(id="never sent"),
        *(GetDocument(id=one) for one in list(model.documents)[:2]),
        ListDocuments(limit=1000),
        *(ListChunks(limit=1000, filter=workload.filter()) for _ in range(2)),
        Search(queries=(workload.vector(),), k=everything),
        Search(queries=(workload.vector(), workload.vector()), k=10, filter=workload.filter()),
        ExportLibrary(),
    ]
    if some:
        # A row is the closest to itself, or as close as another one.
        vector = np.frombuffer(model.rows[some[0]].embedding, dtype=np.float32)
        reads.append(Search(queries=(vector,), k=3))
    events: list[Event] = []
    for read in reads:
        if isinstance(read, Search) and not np.any(read.queries[0]):
            continue
        ask(events, "recovery", read, lambda one: connection.send(library_id, one))
    if len([one for one in events if one.reply.outcome in {"ok", "refused"}]) != len(events):
        raise Violation(f"library {library_id!r} was not answered for: {[str(one) for one in events]}")
    check_history(events, model)
    status, index = connection.json("GET", f"/v1/libraries/{library_id}/index")
    if status != 200 or index["warnings"]:
        raise Violation(f"the index of {library_id!r} did not survive: {status} {index}")
    rows = index["rows"] + index["delta_rows"] - index["dead_rows"]
    if rows != len(model.rows):
        raise Violation(
            f"the index of {library_id!r} counts {rows} live rows; expected {len(model.rows)}: {index}"
        )
    return len(events)


def check_files(data: Path, libraries: list[str]) -> None:
    """Check a data directory after its server ended: nothing in quarantine, nothing of libraries that are gone."""
    folders = sorted(one.name for one in data.iterdir() if one.is_dir())
    left = [one for one in folders if one not in libraries and not one.startswith("_")]
    if left:
        raise Violation(f"what is left of deleted libraries: {left}")
    quarantined = [str(one) for one in (data / "_quarantine").rglob("*")] if "_quarantine" in folders else []
    if quarantined:
        raise Violation(f"a kill damaged what it must not: {quarantined}")
