"""Damages a small data directory byte by byte, and sees whether anybody notices. Runs in the pool.

::

    "crashed"        a log with commits that are nowhere else
    "checkpointed"   the same, and all of the log copied into the file as well
    "closed"         no log

What may happen: it is *detected* (an error of vdb's own, or a library that is said to be damaged), it is *harmless*
(everything reads as before, be it from an older generation and the journal), or, in a log that was left behind and
nowhere else, it is *taken for a crash*: a log that ends early is what power loss leaves. Then the commits before the
damage are there, whole, and nothing else.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any, Final

import orjson

from crash_kit.journal_places import JOURNAL, LOG, commits_of
from crash_kit.trees import lay_down, read_tree
from crash_kit.worker import in_fork
from crash_kit.workload import finish, open_engine, submit
from crash_kit.world import DamagedError, World, differences, dump
from vdb_core.errors import VdbError
from vdb_core.persistence.journal_files import ENTRIES
from vdb_core.persistence.numpy_snapshots import NumpySnapshotStore
from vdb_core.persistence.sqlite_journal import SqliteJournal

__all__ = ["KINDS", "engine", "journal", "prepare", "snapshots"]

KINDS: Final = ("crashed", "checkpointed", "closed")
_LIBRARY: Final = "small"
_STEPS: Final[list[dict[str, Any]]] = [
    {
        "do": "create",
        "body": {"id": _LIBRARY, "name": "klein", "metric": "cosine", "index": {"type": "ivf_flat"}},
    },
    {"do": "create_document", "id": "d", "metadata": {"k": 1}},
    {
        "do": "upsert",
        "rows": [
            {"id": f"c{n}", "document_id": "d", "embedding": [1.0, n, 2.0], "text": "t"} for n in range(5)
        ],
    },
    {"do": "build", "type": "ivf_flat"},
    {"do": "upsert", "rows": [{"id": "c5", "embedding": [3.0, 1.0, 2.0], "metadata": {"n": 5}}]},
    {"do": "snapshot"},
    {"do": "upsert", "rows": [{"id": "c6", "embedding": [3.0, 1.0, 9.0], "metadata": {"n": 6}}]},
    {"do": "delete_chunk", "id": "c1"},
    # Large enough to get a file of its own.
    {
        "do": "upsert",
        "rows": [{"id": f"d{n}", "embedding": [0.1, n, 3.0], "text": "long " * 20} for n in range(6)],
    },
    {"do": "upsert", "rows": [{"id": "c7", "embedding": [0.5, 1.0, 9.0], "text": "last"}]},
]


def prepare(base: str, kind: str) -> list[World]:
    """Make the directory; gives the worlds that there were since its log was last empty, the last of them the present one."""
    root = Path(base) / kind
    services = open_engine(root)
    worlds: list[World] = []
    for step in _STEPS:
        finish(submit(services, {"library": _LIBRARY, **step}))
        if step["do"] == "snapshot":
            worlds = []
        worlds.append(dump(services))
    if kind == "closed":
        services.close()
    elif kind == "checkpointed":
        found = services._engine.storage._journal
        assert isinstance(found, SqliteJournal)
        found.checkpoint()
    return worlds


# ---- what is damaged -----------------------------------------------------------------------------------------


def _damaged(data: bytes, how: str, at: int) -> bytes:
    match how:
        case "flip":
            return data[:at] + bytes([data[at] ^ (1 << at % 8)]) + data[at + 1 :]
        case "invert":
            return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]
        case "cut":
            return data[:at]
        case "zeros":
            return data[:at] + bytes(len(data[at : at + 512])) + data[at + 512 :]
        case other:
            raise ValueError(other)


# ---- the snapshot store --------------------------------------------------------------------------------------


def _content(root: Path) -> dict[str, Any]:
    store = NumpySnapshotStore(root)
    found: dict[str, Any] = {"libraries": list(store.libraries())}
    for generation in store.generations(_LIBRARY):
        stored = store.read(_LIBRARY, generation)
        header = orjson.dumps(dict(stored.header), option=orjson.OPT_SORT_KEYS)
        found[str(generation)] = (
            header,
            {name: (stored.directory / name).read_bytes() for name in stored.files},
        )
    return found


def snapshots(base: str, kind: str, how: str, step: int, part: int, parts: int) -> dict[str, Any]:
    """Damage every ``step``-th byte of the files of generations, one at a time; reads them back through the store."""
    root = Path(base) / f"{kind}-{how}-{part}"
    tree = read_tree(Path(base) / kind)
    lay_down(tree, root)
    sound, counts, problems = _content(root), Counter[str](), list[str]()
    files = sorted(path for path, data in tree.items() if data and path.startswith(_LIBRARY))
    places = [(path, at) for path in files for at in range(0, len(tree[path] or b""), step)]
    for path, at in places[part::parts]:
        data = tree[path] or b""
        (root / path).write_bytes(_damaged(data, how, at))
        counts["damages"] += 1
        try:
            found = _content(root)
        except VdbError:
            counts["detected"] += 1
        except Exception as error:  # noqa: BLE001 - what is no error of vdb's is a finding
            problems.append(f"{how} of byte {at} of {path}: {error!r}")
        else:
            if found == sound:
                counts["harmless"] += 1
            else:
                problems.append(f"{how} of byte {at} of {path} is not noticed")
        (root / path).write_bytes(data)
    return {"problems": problems[:20], **counts}


# ---- the journal ---------------------------------------------------------------------------------------------


def _entries(root: Path) -> list[Any]:
    journal = SqliteJournal(root)
    try:
        found: list[Any] = [journal.position, list(journal.libraries())]
        for position, entry in journal.replay(_LIBRARY, 0):
            rows = None if entry.vectors is None else entry.vectors.tobytes()
            found.append((position, entry.operation, rows))
        return found
    finally:
        journal.close()


def _journal_of(tree: dict[str, Any]) -> dict[str, bytes | None]:
    return {path: data for path, data in tree.items() if path in {JOURNAL, LOG} or path.startswith(ENTRIES)}


def journal(base: str, kind: str, file: str, how: str, places: list[int], part: int) -> dict[str, Any]:
    """Damage a file of the journal at each of some places, one at a time; reads it back."""
    root = Path(base) / f"{kind}-journal-{part}"
    tree = _journal_of(read_tree(Path(base) / kind))
    lay_down(tree, root)
    sound, counts, problems = _entries(root), Counter[str](), list[str]()
    ends = commits_of(tree.get(LOG) or b"")
    for at in places:
        lay_down(tree | {file: _damaged(tree[file] or b"", how, at)}, root)
        counts["damages"] += 1
        try:
            found = _entries(root)
        except VdbError:
            counts["detected"] += 1
            continue
        except Exception as error:  # noqa: BLE001 - what is no error of vdb's is a finding
            problems.append(f"{kind}: {how} of byte {at} of {file}: {error!r}")
            continue
        before = sum(end <= at for end in ends)
        if found == sound:
            counts["harmless"] += 1
        elif file == LOG and _is_shorter(found, sound, len(ends) - before):
            counts["taken_for_a_crash"] += 1
            counts["of_those_in_the_last_commit"] += before == len(ends) - 1
        else:
            problems.append(f"{kind}: {how} of byte {at} of {file} is not noticed")
    return {"problems": problems[:20], **counts}


def _is_shorter(found: list[Any], sound: list[Any], lost: int) -> bool:
    """Whether it is what was there some commits before the end, ``lost`` at most, and nothing else."""
    kept = len(found) - 2
    if len(sound) - len(found) > lost or found[2:] != sound[2 : kept + 2]:
        return False
    last: int = found[-1][0] if kept else sound[2][0] - 1
    return found[0] == last and found[1] == ([_LIBRARY] if kept else [])


# ---- the whole engine ----------------------------------------------------------------------------------------


def _outcome(root: str, worlds: list[World], in_log: bool) -> str:
    try:
        found = dump(open_engine(Path(root)))
    except (VdbError, DamagedError):
        return "detected"
    for number, world in enumerate(reversed(worlds)):
        told = differences(world, found)
        # An older generation may have been built by another index: which one serves is no data.
        if not told or told.startswith(f"/{_LIBRARY}/index"):
            if number and not in_log:
                return f"an older state is shown: {number} commits are missing"
            return "taken_for_a_crash" if number else "harmless"
    return f"something else is shown: {differences(worlds[-1], found)}"


def engine(base: str, kind: str, seed: str, count: int, worlds: list[World]) -> dict[str, Any]:
    """Damage places drawn by chance, one at a time; opens the whole engine."""
    tree, chance = read_tree(Path(base) / kind), random.Random(seed)
    root = Path(base) / f"{kind}-engine-{seed}"
    counts, problems = Counter[str](), list[str]()
    files = sorted(path for path, data in tree.items() if data)
    for _ in range(count):
        path = chance.choice([LOG, JOURNAL, *files] if LOG in files else files)
        data = tree[path] or b""
        how, at = chance.choice(("flip", "flip", "invert", "cut", "zeros")), chance.randrange(len(data))
        lay_down(tree | {path: _damaged(data, how, at)}, root)
        counts["damages"] += 1
        said, error, _ = in_fork(_outcome, str(root), worlds, path == LOG)
        healed = path.startswith(_LIBRARY)  # the other generation and the journal take over
        if error or said not in ({"harmless"} if healed else {"detected", "harmless", "taken_for_a_crash"}):
            problems.append(f"{kind}: {how} of byte {at} of {path}: {error or said}")
        else:
            counts[said] += 1
    return {"problems": problems[:20], **counts}
