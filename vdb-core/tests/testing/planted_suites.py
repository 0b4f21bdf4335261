"""Index types with one planted fault each, under the conformance kit; `test_index_conformance.py` runs this file."""

from __future__ import annotations

import ctypes
import time
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from vdb_core.errors import BuildCancelled, IndexDamaged
from vdb_core.indexes import NO_SLOT, IndexStats, NumpyExactIndex
from vdb_core.plugins import Capabilities, IndexType
from vdb_core.testing import IndexConformance

# Not `releases_gil`, which takes seconds to check: two of the types below claim it.
MOST = Capabilities(exact=True, native_filter=True, deterministic=True)


class SearchParams(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    effort: int = 1


class Honest:
    """Keeps every sentence of the contract; the others break one."""

    claims: ClassVar[Capabilities] = MOST
    fields: ClassVar[dict[str, Any]] = {}

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


class ReturnsRowsThatAreNotAllowed(Honest):
    def search(self, queries, k, *, allowed=None, params=None, threads=1):
        slots, distances = super().search(queries, k, allowed=allowed)
        if allowed is not None and len(self.rows) and k > 1:
            slots[:, -1], distances[:, -1] = NO_SLOT, np.inf
            stray = next((s for s in range(len(self.rows)) if s not in slots), None)
            if stray is not None and (slots[:, -2] != NO_SLOT).all():
                slots[:, -1] = stray
        return slots, distances


class IgnoresTheBitmap(Honest):
    def search(self, queries, k, *, allowed=None, params=None, threads=1):
        return super().search(queries, k)


class ReturnsSignedSlots(Honest):
    def search(self, queries, k, *, allowed=None, params=None, threads=1):
        slots, distances = super().search(queries, k, allowed=allowed)
        return slots.astype(np.int64), distances


class ReturnsFewerColumns(Honest):
    def search(self, queries, k, *, allowed=None, params=None, threads=1):
        return super().search(queries, min(k, max(1, len(self.rows))), allowed=allowed)


class ReturnsTheFarthestFirst(Honest):
    def search(self, queries, k, *, allowed=None, params=None, threads=1):
        slots, distances = super().search(queries, k, allowed=allowed)
        for row, told in zip(slots, distances, strict=True):
            found = int((row != NO_SLOT).sum())
            row[:found], told[:found] = row[:found][::-1].copy(), told[:found][::-1].copy()
        return slots, distances


class PadsWithZeroDistance(Honest):
    def search(self, queries, k, *, allowed=None, params=None, threads=1):
        slots, distances = super().search(queries, k, allowed=allowed)
        distances[slots == NO_SLOT] = np.finfo(np.float32).max
        return slots, distances


class RepeatsARow(Honest):
    def search(self, queries, k, *, allowed=None, params=None, threads=1):
        slots, distances = super().search(queries, k, allowed=allowed)
        if k == 10:
            slots[:, 1:2], distances[:, 1:2] = slots[:, :1], distances[:, :1]
        return slots, distances


class ReturnsARowThatIsNotThere(Honest):
    def search(self, queries, k, *, allowed=None, params=None, threads=1):
        slots, distances = super().search(queries, k, allowed=allowed)
        if k == 1 and len(self.rows):
            slots[:] = len(self.rows)
        return slots, distances


class PrefersLargerSlots(Honest):
    claims = Capabilities(native_filter=True)

    def search(self, queries, k, *, allowed=None, params=None, threads=1):
        slots, distances = super().search(queries, k, allowed=allowed)
        signed = np.where(slots == NO_SLOT, 1, -slots.astype(np.int64))
        order = np.lexsort((signed, distances), axis=1)
        return np.take_along_axis(slots, order, axis=1), np.take_along_axis(distances, order, axis=1)


class CallsFloat32Exact(Honest):
    """The usual kernel: float32 all the way, and believed to be exact."""

    def search(self, queries, k, *, allowed=None, params=None, threads=1):
        with np.errstate(all="ignore"):
            dots = queries @ self.rows.T
            near = -dots if self.metric == "dot" else 1 - dots
            if self.metric == "l2":
                near = np.square(queries[:, None, :] - self.rows[None]).sum(axis=2, dtype=np.float32)
        near = np.nan_to_num(near, nan=np.inf)
        slots = np.full((len(queries), k), NO_SLOT, np.uint32)
        distances = np.full((len(queries), k), np.inf, np.float32)
        for position in range(len(queries)):
            chosen = np.arange(len(self.rows))
            if allowed is not None:
                chosen = np.flatnonzero(
                    np.unpackbits(allowed.view(np.uint8), bitorder="little")[: len(self.rows)]
                )
            best = chosen[np.argsort(near[position, chosen], kind="stable")[:k]]
            slots[position, : len(best)], distances[position, : len(best)] = best, near[position, best]
        return slots, distances


class ForgetsARow(Honest):
    """Says it is exact and never finds the last row."""

    def search(self, queries, k, *, allowed=None, params=None, threads=1):
        index = NumpyExactIndex(self.rows[:-1], metric=self.metric)
        if allowed is not None:
            return super().search(queries, k, allowed=allowed)
        return index.search(queries, k)


class EstimatesDistances(Honest):
    def search(self, queries, k, *, allowed=None, params=None, threads=1):
        slots, distances = super().search(queries, k, allowed=allowed)
        return slots, distances + np.where(np.isfinite(distances), np.abs(distances) * np.float32(0.01), 0)


class WritesIntoQueries(Honest):
    def search(self, queries, k, *, allowed=None, params=None, threads=1):
        answer = super().search(queries, k, allowed=allowed)
        if queries.flags.writeable:
            queries *= 2
        return answer


class WritesIntoRows(Honest):
    def __init__(self, rows, metric):
        super().__init__(rows, metric)
        if rows.flags.writeable and len(rows):
            rows[0] += 1


class CopiesTheRows(Honest):
    def __init__(self, rows, metric):
        super().__init__(rows, metric)
        self.copy = np.array(rows)


class CannotTakeAFile(Honest):
    def __init__(self, rows, metric):
        if isinstance(rows, np.memmap):
            raise TypeError("no files")
        super().__init__(rows, metric)


class KeepsTheRowsAfterClose(Honest):
    def close(self):
        pass


class HoldsTheGil(Honest):
    claims = Capabilities(releases_gil=True)

    def search(self, queries, k, *, allowed=None, params=None, threads=1):
        if len(queries) < 16:
            return super().search(queries, k, allowed=allowed)
        # Called through PyDLL, a C function keeps the GIL.
        ctypes.PyDLL(None).usleep(500_000)
        return None


class DependsOnThreads(Honest):
    claims = Capabilities(deterministic=True)

    def search(self, queries, k, *, allowed=None, params=None, threads=1):
        return NumpyExactIndex(self.rows[: len(self.rows) // threads], metric=self.metric).search(queries, k)


class SharesABuffer(Honest):
    def search(self, queries, k, *, allowed=None, params=None, threads=1):
        self.asked = queries
        time.sleep(0.001)
        return super().search(self.asked, k, allowed=allowed) if len(self.asked) == len(queries) else None


class IgnoresCancel(Honest):
    @classmethod
    def build(cls, rows, *, metric, params, seed, threads, progress, cancelled):
        cancelled()
        return cls(rows, metric)


class NeverAsksForCancel(Honest):
    @classmethod
    def build(cls, rows, *, metric, params, seed, threads, progress, cancelled):
        return cls(rows, metric)


class ReportsEveryRow(Honest):
    @classmethod
    def build(cls, rows, *, metric, params, seed, threads, progress, cancelled):
        for row in range(len(rows)):
            progress("build", row, len(rows))
        return super().build(
            rows,
            metric=metric,
            params=params,
            seed=seed,
            threads=threads,
            progress=progress,
            cancelled=cancelled,
        )


class ReportsBackwards(Honest):
    @classmethod
    def build(cls, rows, *, metric, params, seed, threads, progress, cancelled):
        progress("build", 4, 4)
        return super().build(
            rows,
            metric=metric,
            params=params,
            seed=seed,
            threads=threads,
            progress=progress,
            cancelled=cancelled,
        )


class LosesSomethingOnSave(Honest):
    @classmethod
    def load(cls, directory, rows, *, metric, params):
        made = super().load(directory, rows, metric=metric, params=params)
        made.exact = NumpyExactIndex(rows[::-1], metric=metric)
        return made


class SavesTheRows(Honest):
    def save(self, directory):
        super().save(directory)
        np.save(directory / "vectors.npy", self.rows)

    @classmethod
    def load(cls, directory, rows, *, metric, params):
        try:
            np.load(directory / "vectors.npy")
        except (OSError, ValueError, EOFError) as error:
            raise IndexDamaged(str(error)) from error
        return super().load(directory, rows, metric=metric, params=params)


class TrustsItsFiles(Honest):
    @classmethod
    def load(cls, directory, rows, *, metric, params):
        return cls(rows, metric)


class FailsWithItsOwnError(Honest):
    @classmethod
    def load(cls, directory, rows, *, metric, params):
        np.load(directory / "rows.npy")
        return cls(rows, metric)


class CountsTooMany(Honest):
    def stats(self):
        return IndexStats(rows=len(self.rows) + 1)


class EstimatesTooLittle(Honest):
    fields: ClassVar[dict[str, Any]] = {"estimate_memory": lambda rows, dimension, params: 7}

    def stats(self):
        return IndexStats(rows=len(self.rows), bytes={"graph": 64 << 20})


class LaxParams(BaseModel):
    effort: int = 1


class TakesAnyParameter(Honest):
    fields: ClassVar[dict[str, Any]] = {"search_params": LaxParams}


class BreaksOnParameters(Honest):
    def search(self, queries, k, *, allowed=None, params=None, threads=1):
        slots, distances = super().search(queries, k, allowed=allowed)
        return (
            (slots, distances)
            if params is None or params.effort == 1
            else (slots[:, ::-1], distances[:, ::-1])
        )


class FindsHalf(Honest):
    claims = Capabilities(native_filter=True, deterministic=True)

    def search(self, queries, k, *, allowed=None, params=None, threads=1):
        if allowed is not None:
            return super().search(queries, k, allowed=allowed)
        return NumpyExactIndex(self.rows[: len(self.rows) // 2], metric=self.metric).search(queries, k)


class HonestInEverything(Honest):
    claims = Capabilities(exact=True, native_filter=True, deterministic=True, releases_gil=True)
    fields: ClassVar[dict[str, Any]] = {"metrics": frozenset({"cosine", "dot", "l2"})}


class ClaimsNothing(Honest):
    """No claim, so nothing is held against it: no filter, no order of threads, half of the rows."""

    claims = Capabilities()

    def search(self, queries, k, *, allowed=None, params=None, threads=1):
        return NumpyExactIndex(self.rows[: len(self.rows) // threads], metric=self.metric).search(queries, k)


def _suites() -> dict[str, type[IndexConformance]]:
    pending, suites = [Honest], {}
    while pending:
        index = pending.pop()
        pending.extend(index.__subclasses__())
        given = {
            "index_type": type_of(index),
            "search_params": ({}, {"effort": 2}),
            "long_rows": 4_000,
            "recall_floor": 0.0 if index is ClaimsNothing else 0.9,
        }
        suites[f"Test{index.__name__}"] = type(f"Test{index.__name__}", (IndexConformance,), given)
    return suites


globals().update(_suites())
