"""The SDK in this process beside what it calls: the query service, and the bare index. One query at a time, in turns."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from race.peers.common import import_peer

from road.work import K

if TYPE_CHECKING:
    from collections.abc import Callable

    from road.options import Options
    from road.work import Work

__all__ = ["measure"]

_PART: Final = 10_000
_TURNS: Final = 300


def measure(work: Work, options: Options, say: Callable[[str], None]) -> dict[str, Any]:
    """Median microseconds of a query, each way, round after round."""
    say("embedded: filling ...")
    sdk: Any = import_peer("vdb_sdk")
    plugins = import_peer("vdb_core.plugins").PluginManager()
    plugins.load()
    kind: Any = plugins.index_types[options.index]
    bare = kind.build(
        work.rows,
        metric="cosine",
        params=kind.params(),
        seed=0,
        threads=1,
        progress=lambda *_: None,
        cancelled=lambda: False,
    )
    search_params = kind.search_params()
    with sdk.connect() as client:
        library = client.create_library("rows", index=options.index)
        for begin in range(0, len(work.rows), _PART):
            part = slice(begin, begin + _PART)
            library.upsert(
                embeddings=work.rows[part],
                ids=[chunk["id"] for chunk in work.chunks[part]],
                texts=[chunk["text"] for chunk in work.chunks[part]],
                metadatas=[chunk["metadata"] for chunk in work.chunks[part]],
            )
        library.build_index(wait=True)

        def through_sdk(query: np.ndarray[Any, Any]) -> object:
            return library.search(query, k=K)

        def through_index(query: np.ndarray[Any, Any]) -> object:
            return bare.search(query[np.newaxis], K, params=search_params)

        ways: dict[str, Callable[[np.ndarray[Any, Any]], object]] = {
            "sdk": through_sdk,
            "index": through_index,
        }
        medians: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(options.rounds):
            spent: dict[str, list[float]] = {name: [] for name in ways}
            for turn in range(_TURNS):
                query = work.queries[turn % len(work.queries)]
                for name, way in ways.items():
                    started = time.perf_counter()
                    way(query)
                    spent[name].append(1e6 * (time.perf_counter() - started))
            for name, measured in spent.items():
                medians[name].append(statistics.median(measured))
    bare.close()
    return {"medians_us": medians}
