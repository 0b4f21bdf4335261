"""Index plugins that misbehave in known ways, and a library of points on a line to search with them."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from vdb_core.errors import BuildCancelled
from vdb_core.indexes import NO_SLOT, NumpyExactIndex
from vdb_core.plugins import Capabilities, IndexType, hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vdb_core.services import Services


class OddParams(BaseModel):
    """Build parameters of the odd types."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keep: float = 1.0


class OddSearch(BaseModel):
    """Search parameters of the odd types."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    effort: int = 1


class OddIndex:
    """Wraps the exact index and spoils its answers."""

    def __init__(self, vectors: Any, metric: Any, spoil: Callable[[Any, Any], Any]) -> None:
        self._inner = NumpyExactIndex(vectors, metric=metric)
        self._spoil = spoil
        self.closed = False

    def search(
        self, queries: Any, k: int, *, allowed: Any = None, params: Any = None, threads: int = 1
    ) -> Any:
        assert not self.closed, "searched after close"
        slots, distances = self._inner.search(queries, k, allowed=allowed, threads=threads)
        return self._spoil(slots, distances)

    def save(self, directory: Path) -> None:
        (directory / "odd.json").write_text("{}")

    def stats(self) -> Any:
        return self._inner.stats()

    def close(self) -> None:
        assert not self.closed, "closed twice"
        self.closed = True


def _half(slots: Any, distances: Any) -> Any:
    slots = slots.copy()
    slots[:, slots.shape[1] // 2 :] = NO_SLOT
    return slots, distances * 0.5


def _rubbish(slots: Any, distances: Any) -> Any:
    slots = slots.copy()
    slots[:, ::2] = slots[:, :1]
    slots[:, -1] = 4_000_000_000
    return slots, distances


def _raise(slots: Any, distances: Any) -> Any:
    raise RuntimeError("the index fell over")


def _wrong_type(slots: Any, distances: Any) -> Any:
    return slots.astype(np.int32), distances


@dataclass
class Odd:
    """Knobs of the odd plugins."""

    gate: threading.Event = field(default_factory=threading.Event)
    entered: threading.Event = field(default_factory=threading.Event)
    fail_build: bool = False
    fail_load: bool = False
    built: list[OddIndex] = field(default_factory=list)

    @hookimpl
    def vdb_register_index_types(self) -> list[IndexType]:
        def type_of(
            name: str, spoil: Callable[[Any, Any], Any], *, native: bool, slow: bool = False
        ) -> IndexType:
            def build(vectors: Any, *, metric: Any, progress: Any, cancelled: Any, **_: Any) -> Any:
                if slow:
                    self.entered.set()
                    while not self.gate.wait(0.01):
                        progress("waiting", 1, 2)
                        if cancelled():
                            raise BuildCancelled("asked to stop")
                if self.fail_build:
                    raise RuntimeError("the build fell over")
                index = OddIndex(vectors, metric, spoil)
                self.built.append(index)
                return index

            def load(directory: Path, vectors: Any, *, metric: Any, params: Any) -> Any:
                if self.fail_load:
                    raise RuntimeError("the load fell over")
                index = OddIndex(vectors, metric, spoil)
                self.built.append(index)
                return index

            return IndexType(
                name=name,
                summary="An index for tests.",
                build=build,
                load=load,
                params=OddParams,
                search_params=OddSearch,
                capabilities=Capabilities(native_filter=native),
            )

        honest = lambda slots, distances: (slots, distances)  # noqa: E731 - a table reads better
        return [
            type_of("half", _half, native=True),
            type_of("rubbish", _rubbish, native=False),
            type_of("raising", _raise, native=True),
            type_of("wrong_type", _wrong_type, native=True),
            type_of("blind", honest, native=False),
            type_of("slow", honest, native=True, slow=True),
        ]


def fill(
    services: Services, count: int = 40, *, library: str = "lib", metric: str = "l2", **index: Any
) -> None:
    """Create a library of points on a line: chunk i is at i."""
    services.libraries.create({"id": library, "name": library, "metric": metric, "index": index}).result(10)
    add(services, range(count), library=library)


def add(services: Services, numbers: Any, *, library: str = "lib") -> None:
    """Add points on the line."""
    rows = [
        {"id": f"c{n}", "embedding": [float(n), 1.0], "metadata": {"n": n, "even": n % 2 == 0}}
        for n in numbers
    ]
    services.libraries.upsert_chunks(library, rows).result(10)


def nearest(services: Services, at: float, k: int = 3, *, library: str = "lib", **query: Any) -> list[str]:
    """Ids of the points nearest to one on the line."""
    answer = services.queries.search(library, {"embedding": [at, 1.0], "k": k, **query})
    return [str(hit["id"]) for hit in answer.hits]


def build(services: Services, index_type: str, *, library: str = "lib") -> None:
    """Build an index and insist on it."""
    job = services.indexing.start(library, {"type": index_type})
    assert job.wait(20)
    assert job.state == "succeeded", job.error
