"""An index type that keeps every sentence of the contract, from which those with one planted fault are made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from vdb_core.errors import BuildCancelled, IndexDamaged
from vdb_core.indexes import IndexStats, NumpyExactIndex
from vdb_core.plugins import Capabilities, IndexType
from vdb_core.testing import IndexConformance

if TYPE_CHECKING:
    from collections.abc import Iterable

# Not `releases_gil`, which takes seconds to check: two of the types claim it.
MOST = Capabilities(exact=True, native_filter=True, deterministic=True)


class SearchParams(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    effort: int = 1


class Honest:
    """Keeps every sentence of the contract; the others break one."""

    claims: ClassVar[Capabilities] = MOST
    fields: ClassVar[dict[str, Any]] = {}
    kills: ClassVar[int] = 0
    """No process is killed, which takes seconds, but for the faults that show then."""
    floor: ClassVar[float] = 0.9

    def __init__(self, rows, metric):
        self.rows, self.metric = rows, metric
        self.exact = NumpyExactIndex(rows, metric=metric)

    @classmethod
    def build(cls, rows, *, metric, params, seed, threads, progress, cancelled):
        for step in range(5):
            if cancelled():
                raise BuildCancelled("cancelled")
            if step in {0, 4}:
                progress("build", step, 4)
        return cls(rows, metric)

    @classmethod
    def load(cls, directory, rows, *, metric, params):
        try:
            count = int(np.load(directory / "rows.npy")[0])
        except (OSError, ValueError, IndexError, EOFError) as error:
            raise IndexDamaged(str(error)) from error
        if count != len(rows):
            raise IndexDamaged(f"{count} rows were saved; received {len(rows)}")
        return cls(rows, metric)

    def search(self, queries, k, *, allowed=None, params=None, threads=1):
        return self.exact.search(queries, k, allowed=allowed)

    def save(self, directory):
        np.save(directory / "rows.npy", np.array([len(self.rows)]))

    def stats(self):
        return IndexStats(rows=len(self.rows), bytes={"none": 0}, details={"metric": self.metric})

    def close(self):
        self.rows = self.rows[:0].copy()
        self.exact.close()


def type_of(index: type[Honest]) -> IndexType:
    given = {
        "name": "planted",
        "summary": "A planted fault.",
        "build": index.build,
        "load": index.load,
        "capabilities": index.claims,
        "search_params": SearchParams,
        "metrics": frozenset({"l2"}),
        **index.fields,
    }
    return IndexType(**given)


def suites(kinds: Iterable[object]) -> dict[str, type[IndexConformance]]:
    """A suite for each type among the values of a module, by the name under which pytest finds it."""
    made = {}
    for index in kinds:
        if isinstance(index, type) and issubclass(index, Honest):
            given = {
                "index_type": type_of(index),
                "search_params": ({}, {"effort": 2}),
                "long_rows": 4_000,
                "recall_floor": index.floor,
                "kills": index.kills,
                "__module__": index.__module__,
            }
            made[f"Test{index.__name__}"] = type(f"Test{index.__name__}", (IndexConformance,), given)
    return made
