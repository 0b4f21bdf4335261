"""What the engine is asked to do while things go wrong: a few steps of every kind, few enough to fail at each call.

::

    PREPARE            two libraries with two generations each; then the process ends without closing anything
    STORIES["short"]   begins with the recovery of that; every kind of write, builds, snapshots, deletion, a reopening
    STORIES["long"]    goes on: a new library whose generations replace the journal
    STORIES["birth"]   what PREPARE does, in a directory that is empty
"""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, cast

from crash_kit.worker import PLUGINS
from vdb_core.errors import StorageFailed
from vdb_core.persistence.sqlite_journal import SqliteJournal
from vdb_core.services import EngineSettings, Services, open_services

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from vdb_core.services import Job

__all__ = ["AFTER", "PREPARE", "STORIES", "Step", "finish", "open_engine", "steps_of", "submit", "time_of"]

Step = dict[str, Any]
_WAIT = 30.0
_FILE_BYTES = 700


def _rows(numbers: range, dimension: int, *, scale: float = 1.0, **more: Any) -> list[dict[str, Any]]:
    return [
        {
            "id": f"c{n}",
            "embedding": [scale * (n + 1 + axis * axis * 0.37) for axis in range(dimension)],
            "text": f"text {n} {scale}" * (1 + n % 3),
            "metadata": {"n": n, "even": n % 2 == 0},
            **more,
        }
        for n in numbers
    ]


def _create(library: str, metric: str, index: str) -> Step:
    body = {"id": library, "name": library, "metric": metric, "index": {"type": index}}
    return {"do": "create", "library": library, "body": body}


PREPARE: list[Step] = [
    _create("notes", "l2", "ivf_flat"),
    _create("Cos", "cosine", "numpy"),
    {"do": "create_document", "library": "notes", "id": "d/1", "metadata": {"kind": "book"}},
    {"do": "upsert", "library": "notes", "rows": _rows(range(8), 3, document_id="d/1")},
    {"do": "upsert", "library": "Cos", "rows": _rows(range(6), 4)},
    {"do": "build", "library": "notes", "type": "ivf_flat"},
    {"do": "build", "library": "Cos", "type": "numpy"},
    {"do": "upsert", "library": "notes", "rows": _rows(range(6, 12), 3, scale=1.5)},
    {"do": "upsert", "library": "Cos", "rows": _rows(range(4, 7), 4, scale=0.1)},
    {"do": "snapshot", "library": "notes"},
    {"do": "snapshot", "library": "Cos"},
    {"do": "delete_chunk", "library": "Cos", "id": "c1"},
    {"do": "upsert", "library": "notes", "rows": _rows(range(12, 14), 3)},
]

_SHORT: list[Step | list[Step]] = [
    {"do": "upsert", "library": "notes", "rows": _rows(range(10, 18), 3, scale=2.0)},
    _create("Dot", "dot", "brute"),
    # Several at once: they share a commit.
    [
        {
            "do": "create_chunk",
            "library": "notes",
            "rows": [{"id": "ein Satz/1", "document_id": "d/1", "embedding": [1e-30, 5.0, -3.0]}],
        },
        {"do": "upsert", "library": "Cos", "rows": _rows(range(5, 9), 4, scale=3.0)},
        {
            "do": "upsert",
            "library": "Dot",
            "rows": _rows(range(3), 2, document_id="made"),
            "create_documents": True,
        },
        {"do": "create_document", "library": "Cos", "id": "e", "metadata": {"x": [1, None]}},
    ],
    {
        "do": "patch_chunk",
        "library": "notes",
        "id": "c3",
        "body": {"text": "patched", "embedding": [9.0, 8.0, 7.0], "metadata": {"patched": True}},
    },
    {"do": "build", "library": "notes", "type": "brute"},
    {"do": "delete_filter", "library": "notes", "from": 16},
    {"do": "build", "library": "Cos", "type": "ivf_flat"},
    {"do": "upsert", "library": "notes", "rows": _rows(range(20, 21), 3, text="long " * 5000)},
    {"do": "delete_document", "library": "notes", "id": "d/1"},
    {"do": "snapshot", "library": "notes"},
    {"do": "delete_library", "library": "Dot"},
    _create("Dot", "l2", "numpy"),
    {"do": "patch_library", "library": "Dot", "name": "the second of this name"},
    {"do": "reopen", "library": ""},
    {"do": "upsert", "library": "Dot", "rows": _rows(range(2), 5)},
    {"do": "patch_document", "library": "Cos", "id": "e", "metadata": {"y": "ß"}},
    {"do": "delete_chunk", "library": "notes", "id": "c7"},
]

_MORE: list[Step | list[Step]] = [
    _create("Fresh", "l2", "numpy"),
    {"do": "upsert", "library": "Fresh", "rows": _rows(range(3), 2)},
    {"do": "snapshot", "library": "Fresh"},
    {"do": "upsert", "library": "Fresh", "rows": _rows(range(2, 5), 2, scale=2.0)},
    {"do": "snapshot", "library": "Fresh"},
    {"do": "delete_chunk", "library": "Fresh", "id": "c0"},
    {"do": "snapshot", "library": "Fresh"},
    {"do": "delete_library", "library": "notes"},
    {"do": "upsert", "library": "Fresh", "rows": _rows(range(9, 10), 2)},
]

STORIES: dict[str, list[Step | list[Step]]] = {
    "short": _SHORT,
    "long": [*_SHORT, *_MORE],
    "birth": [*PREPARE],
}


AFTER: list[Step] = [
    {"do": "upsert", "library": "notes", "rows": _rows(range(30, 32), 3)},
    {"do": "delete_chunk", "library": "Cos", "id": "c6"},
]
"""What a later process writes, after one that ended in a crash."""


def steps_of(story: str) -> list[Step]:
    """The steps of a story, and those of ``AFTER``, by the numbers that a ledger knows them by."""
    steps = [step for item in STORIES[story] for step in (item if isinstance(item, list) else [item])]
    return [*steps, *AFTER]


def small_files() -> None:
    """Let the journal give an entry of some rows a file of its own, as it does with large ones."""
    cast("dict[str, int]", SqliteJournal.__init__.__kwdefaults__)["file_bytes"] = _FILE_BYTES


def open_engine(root: Path) -> Services:
    """Open an engine with the plugins of this process; about half of its journal's entries get files of their own."""
    small_files()
    settings = EngineSettings(data_dir=root, build_threads=1, search_threads=1)
    return open_services(settings, plugins=PLUGINS)


def submit(services: Services, step: Mapping[str, Any]) -> Future[Any] | Job:
    """Ask for a step; raises where it is refused at once."""
    libraries, library = services.libraries, step["library"]
    match step["do"]:
        case "create":
            return libraries.create(step["body"])
        case "patch_library":
            return libraries.patch(library, {"name": step["name"]})
        case "delete_library":
            return libraries.delete(library)
        case "create_document":
            return libraries.create_document(library, {"id": step["id"], "metadata": step["metadata"]})
        case "patch_document":
            return libraries.patch_document(library, step["id"], {"metadata": step["metadata"]})
        case "delete_document":
            return libraries.delete_document(library, step["id"])
        case "create_chunk":
            return libraries.create_chunk(library, step["rows"][0])
        case "upsert":
            more = {"create_documents": step.get("create_documents", False)}
            return libraries.upsert_chunks(library, step["rows"], **more)
        case "patch_chunk":
            return libraries.patch_chunk(library, step["id"], step["body"])
        case "delete_chunk":
            return libraries.delete_chunk(library, step["id"])
        case "delete_filter":
            return libraries.delete_chunks(library, {"filter": {"n": {"$gte": step["from"]}}})
        case "build":
            return services.indexing.start(library, {"type": step["type"]})
        case "snapshot":
            return services.indexing.snapshot(library)
        case other:
            raise ValueError(f"no step {other!r}")


def finish(asked: Future[Any] | Job) -> None:
    """Wait for what :func:`submit` gave; raises where it was refused."""
    if isinstance(asked, Future):
        asked.result(_WAIT)
        return
    if not asked.wait(_WAIT):
        raise TimeoutError(f"job {asked.id} does not end")
    if asked.state != "succeeded":
        raise StorageFailed(f"the job is {asked.state}: {asked.error}")


def time_of(services: Services, step: Mapping[str, Any]) -> str | None:
    """When a step that was acknowledged happened, none where nothing tells."""
    libraries, library = services.libraries, step["library"]
    match step["do"]:
        case "upsert" | "create_chunk":
            body = libraries.get_chunk(library, step["rows"][0]["id"]).to_json()
        case "patch_chunk":
            body = libraries.get_chunk(library, step["id"]).to_json()
        case "create_document" | "patch_document":
            body = libraries.get_document(library, step["id"]).to_json()
        case "delete_library" | "build" | "snapshot":
            return None
        case _:
            body = libraries.get(library).to_json()
    return cast("str", body["updated_at"])
