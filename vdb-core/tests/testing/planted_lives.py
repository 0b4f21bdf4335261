"""Index types with one planted fault each in how they are built, kept and closed, and some without; `test_planted_faults.py` runs this file."""

from __future__ import annotations

import time
from typing import Any, ClassVar

import numpy as np
from planted_kit import Honest, suites

from vdb_core.engine.unaccelerated import Unaccelerated
from vdb_core.errors import BuildCancelled, IndexDamaged
from vdb_core.indexes import IndexStats, NumpyExactIndex
from vdb_core.plugins import Capabilities


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


class OrdersBackwards:
    query_row = Unaccelerated.query_row
    read_row = Unaccelerated.read_row
    hits = Unaccelerated.hits

    def nearest(self, query, vectors, slots, allowed, metric, want):
        near, far = Unaccelerated().nearest(query, vectors, slots, allowed, metric, want)
        return near[::-1], far[::-1]


class OffersAnotherOrder(Honest):
    fields: ClassVar[dict[str, Any]] = {"accelerator": OrdersBackwards}


class WritesTheTime(Honest):
    def save(self, directory):
        super().save(directory)
        (directory / "saved_at.txt").write_text(str(time.perf_counter_ns()))

    @classmethod
    def load(cls, directory, rows, *, metric, params):
        if not (directory / "saved_at.txt").is_file() or len((directory / "saved_at.txt").read_text()) < 12:
            raise IndexDamaged("no time")
        return super().load(directory, rows, metric=metric, params=params)


class KeepsACacheBesideItsFiles(Honest):
    @classmethod
    def load(cls, directory, rows, *, metric, params):
        made = super().load(directory, rows, metric=metric, params=params)
        (directory / "cache.bin").write_bytes(b"cache")
        return made


class AsksOnceWhetherToStop(Honest):
    @classmethod
    def build(cls, rows, *, metric, params, seed, threads, progress, cancelled):
        if cancelled():
            raise BuildCancelled("cancelled")
        if len(rows) == 4_000:
            time.sleep(2.2)
            cancelled()
        return cls(rows, metric)


class ReportsInTurns(Honest):
    @classmethod
    def build(cls, rows, *, metric, params, seed, threads, progress, cancelled):
        for phase in ("train", "assign", "train"):
            progress(phase, 1, 1)
        return super().build(
            rows,
            metric=metric,
            params=params,
            seed=seed,
            threads=threads,
            progress=lambda *_: None,
            cancelled=cancelled,
        )


class KnowsWhereItWasSaved(Honest):
    """Loads what it saved nowhere but where it was saved."""

    def save(self, directory):
        super().save(directory)
        (directory / "place.txt").write_text(str(directory))

    @classmethod
    def load(cls, directory, rows, *, metric, params):
        if not (directory / "place.txt").is_file() or (directory / "place.txt").read_text() != str(directory):
            raise IndexDamaged("moved")
        return super().load(directory, rows, metric=metric, params=params)


class FillsItsFileLater(Honest):
    """Makes room for its file first and writes the numbers then: a file of the right size that says nothing."""

    kills = 2

    def save(self, directory):
        np.save(directory / "rows.npy", np.array([0, len(self.rows)]))
        time.sleep(0.5)
        np.save(directory / "rows.npy", np.array([len(self.rows), len(self.rows)]))

    @classmethod
    def load(cls, directory, rows, *, metric, params):
        try:
            count, expected = np.load(directory / "rows.npy").tolist()
        except (OSError, ValueError, EOFError) as error:
            raise IndexDamaged(str(error)) from error
        if expected != len(rows):
            raise IndexDamaged("other rows")
        made = cls(rows, metric)
        made.exact = NumpyExactIndex(rows[:count], metric=metric)
        return made


class WritesWhereItWasLoaded(Honest):
    """Saves into the directory that it was saved into before, which is that of a generation that is complete."""

    kills = 1
    places: ClassVar[list[Any]] = []

    def save(self, directory):
        for place in self.places:
            (place / "rows.npy").write_bytes(b"")
        super().save(directory)
        if directory.parent.parent.name != "conformance":
            return  # not within an engine
        if self.places:
            time.sleep(3)
        for place in self.places:
            np.save(place / "rows.npy", np.array([len(self.rows)]))
        self.places[:] = [directory]


class HonestInEverything(Honest):
    claims = Capabilities(exact=True, native_filter=True, deterministic=True, releases_gil=True)
    fields: ClassVar[dict[str, Any]] = {"metrics": frozenset({"cosine", "dot", "l2"})}
    kills = 1


class ClaimsNothing(Honest):
    """No claim, so nothing is held against it: no filter, no order of threads, half of the rows."""

    claims = Capabilities()
    floor = 0.0

    def search(self, queries, k, *, allowed=None, params=None, threads=1):
        return NumpyExactIndex(self.rows[: len(self.rows) // threads], metric=self.metric).search(queries, k)


globals().update(suites(list(globals().values())))
