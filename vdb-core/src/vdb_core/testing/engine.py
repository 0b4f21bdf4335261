"""An engine with one type of a suite's in it, and a library to write to and to search."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, ClassVar, Protocol, cast

import numpy as np

from vdb_core.plugins import IndexType, PluginManager, hookimpl
from vdb_core.services import EngineSettings, Services, open_services

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from vdb_core.indexes import Metric

__all__ = [
    "LIBRARY",
    "Shelf",
    "SuiteOfIndex",
    "build",
    "ids",
    "name_in_engine",
    "open_with",
    "wait_until_ready",
]

LIBRARY = "conformance"


class SuiteOfIndex(Protocol):
    """What a suite for index types tells."""

    index_type: ClassVar[IndexType]
    params: ClassVar[Mapping[str, object]]


class _Plugin:
    def __init__(self, index_type: IndexType) -> None:
        self.index_type = index_type

    @hookimpl
    def vdb_register_index_types(self) -> Iterable[IndexType]:
        """Register the type that is tested."""
        return [self.index_type]


def name_in_engine(index_type: IndexType) -> str:
    """What the type is called where it is tested: its own name may be that of a built-in type."""
    return f"tested_{index_type.name}"[:64]


def open_with(index_type: IndexType, data_dir: Path) -> Services:
    """Open an engine that has the built-in types and one more."""
    manager = PluginManager(entry_points=lambda: ())
    manager.load()
    tested = dataclasses.replace(index_type, name=name_in_engine(index_type))
    report = manager.register(_Plugin(tested), name="tested")
    assert report.state == "loaded", f"the plugin manager refuses the type: {report.reason}"
    return open_services(EngineSettings(data_dir=data_dir), plugins=manager)


class Shelf:
    """Chunks of a library as the test knows them: what an exact answer is computed from."""

    def __init__(self, services: Services, metric: Metric, count: int = 0) -> None:
        self.services = services
        self.metric = metric
        self._rng = np.random.default_rng(17)
        self.rows: dict[str, tuple[NDArray[np.float32], int]] = {}
        if count:
            body = {"id": LIBRARY, "name": "Conformance", "metric": metric}
            _ = services.libraries.create(body).result(60)
            self.add(count)

    def add(self, count: int) -> None:
        """Write chunks; the metadata of the n-th is ``{"n": n}``."""
        first = len(self.rows)
        vectors = self._rng.standard_normal((count, 16), dtype=np.float32)
        made = {f"c{first + at}": (vector, first + at) for at, vector in enumerate(vectors)}
        chunks = [
            {"id": key, "embedding": vector.tolist(), "metadata": {"n": n}}
            for key, (vector, n) in made.items()
        ]
        for start in range(0, count, 1000):
            _ = self.services.libraries.upsert_chunks(LIBRARY, chunks[start : start + 1000]).result(60)
        self.rows |= made

    def delete(self, keys: Sequence[str]) -> None:
        """Delete chunks."""
        told = self.services.libraries.delete_chunks(LIBRARY, {"ids": list(keys)}).result(60).deleted
        assert told == len(keys)
        for key in keys:
            del self.rows[key]

    def query(self) -> list[float]:
        """A query like the rows."""
        return cast("list[float]", self._rng.standard_normal(16, dtype=np.float32).tolist())

    def nearest(self, query: Sequence[float], k: int, below: int | None) -> list[str]:
        """Ids of the k nearest chunks whose n is below a number, by float64 arithmetic."""
        matching = [key for key, (_, n) in self.rows.items() if below is None or n < below]
        matrix = np.array([self.rows[key][0] for key in matching], dtype=np.float64).reshape(
            len(matching), 16
        )
        wide = np.array(query, dtype=np.float64)
        dots = matrix @ wide
        if self.metric == "l2":
            distances = np.square(matrix - wide).sum(axis=1)
        else:
            distances = -dots if self.metric == "dot" else -dots / np.linalg.norm(matrix, axis=1)
        return [matching[at] for at in np.argsort(distances, kind="stable")[:k]]

    def search(self, query: Sequence[float], k: int, below: int | None) -> list[str]:
        """Ids of the hits of the engine."""
        body: dict[str, object] = {"embedding": list(query), "k": k}
        if below is not None:
            body["filter"] = {"n": {"$lt": below}}
        return ids(self.services, body)


def ids(services: Services, body: Mapping[str, object]) -> list[str]:
    """Ids of the hits of a search."""
    return [cast("str", hit["id"]) for hit in services.queries.search(LIBRARY, body).hits]


def build(services: Services, suite: type[SuiteOfIndex]) -> None:
    """Build an index of the type, and insist on it."""
    body = {"type": name_in_engine(suite.index_type), "params": dict(suite.params)}
    job = services.indexing.start(LIBRARY, body)
    assert job.wait(300), "a build through the engine did not end within five minutes"
    assert job.state == "succeeded", f"a build through the engine {job.state}: {job.error}"


def wait_until_ready(services: Services, seconds: float = 120.0) -> Mapping[str, object]:
    """Wait until no build runs; returns the status of the index."""
    deadline = time.monotonic() + seconds
    while (status := services.indexing.status(LIBRARY))[
        "state"
    ] == "building" and time.monotonic() < deadline:
        time.sleep(0.02)
    return status
