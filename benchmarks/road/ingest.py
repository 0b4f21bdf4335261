"""Durable writes: every answer comes after the rows were flushed to disk. Bodies are made before the clock starts.

Beside them, round by round, the same without a journal (``durability=none``): what is between the two is its price.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

from race.peers.contract import Absent

from road.client import Client, as_form, as_upsert
from road.contenders import chroma, vdb

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from road.options import Options
    from road.work import Work

__all__ = ["measure"]

_LEVELS: Final = {"": "fsync", ", no journal": "none"}
"""What is added to a line's name, and the durability it is measured at."""

_CLIENTS: Final = 4
_JSON_PART: Final = 500
_NPY_PART: Final = 2_000
_CHROMA_ROWS: Final = 4_000
_CHROMA_PART: Final = 500

Bodies = "Sequence[tuple[bytes, str]]"


def measure(work: Work, options: Options, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Write the rows into fresh libraries, JSON and ``.npy`` in turn; rows a second of each round."""
    total = len(work.rows)
    as_json = [
        (
            as_upsert(work.chunks[begin : begin + _JSON_PART], work.rows[begin : begin + _JSON_PART]),
            "application/json",
        )
        for begin in range(0, total, _JSON_PART)
    ]
    as_forms = [
        as_form(work.chunks[begin : begin + _NPY_PART], work.rows[begin : begin + _NPY_PART])
        for begin in range(0, total, _NPY_PART)
    ]
    rates: dict[str, list[float]] = {f"{name}{level}": [] for name in ("JSON", ".npy") for level in _LEVELS}
    absent: dict[str, str] = {}
    with ExitStack() as stack:
        clients: dict[str, list[Client]] = {}
        for level, durability in _LEVELS.items():
            port = stack.enter_context(
                vdb.running(folder / durability, folder / f"{durability}.log", durability=durability)
            )
            clients[level] = [
                stack.enter_context(Client(port, prefix=vdb.PREFIX, key=vdb.KEY)) for _ in range(_CLIENTS)
            ]
        peer: Client | None = None
        if options.chroma:
            try:
                peer = stack.enter_context(chroma.running(folder / "chroma", folder / "chroma.log"))
                rates["Chroma"] = []
            except Absent as error:
                absent["chroma"] = str(error)
        few = min(total, _CHROMA_ROWS)
        theirs = [chroma.add(work, begin, begin + _CHROMA_PART) for begin in range(0, few, _CHROMA_PART)]
        for number in range(options.rounds):
            say(f"ingest: round {number + 1} of {options.rounds} ...")
            for name, route, bodies in (("JSON", "upsert", as_json), (".npy", "bulk", as_forms)):
                library = f"{route}-{number}"
                for level, group in clients.items():
                    group[0].call("POST", "", {"id": library, "name": library})
                    seconds = _write(group, f"/{library}/chunks/{route}", bodies)
                    chunks = group[0].call("GET", f"/{library}")["chunks"]
                    if chunks != total:
                        raise SystemExit(f"{library}: expected {total} chunks, the server has {chunks}")
                    group[0].call("DELETE", f"/{library}")
                    rates[f"{name}{level}"].append(total / seconds)
            if peer is not None:
                collection = chroma.create(peer, f"round-{number}")
                started = time.perf_counter()
                for body in theirs:
                    peer.send("POST", f"/{collection}/add", body)
                rates["Chroma"].append(few / (time.perf_counter() - started))
    return {
        "absent": absent,
        "clients": _CLIENTS,
        "json_bytes_a_row": sum(len(body) for body, _ in as_json) / total,
        "lines": [{"name": name, "rows_s": measured} for name, measured in rates.items()],
    }


def _write(clients: Sequence[Client], path: str, bodies: Sequence[tuple[bytes, str]]) -> float:
    """Send all bodies, shared out among the clients; returns seconds from the first byte to the last answer."""

    def work(number: int) -> None:
        for body, content_type in bodies[number :: len(clients)]:
            clients[number].send("POST", path, body, content_type)

    with ThreadPoolExecutor(len(clients)) as threads:
        started = time.perf_counter()
        list(threads.map(work, range(len(clients))))
        return time.perf_counter() - started
