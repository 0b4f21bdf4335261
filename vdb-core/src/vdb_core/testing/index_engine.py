"""Tests of an index type within an engine, and of its files where the process is killed: what a user gets to see."""

from __future__ import annotations

import dataclasses
import itertools
import random
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from vdb_core.errors import IndexDamaged, SnapshotDamaged
from vdb_core.persistence.numpy_snapshots import NumpySnapshotStore
from vdb_core.testing.children import child, say
from vdb_core.testing.engine import LIBRARY, Shelf, build, ids, name_in_engine, open_with, wait_until_ready
from vdb_core.testing.index_suite import IndexSuite
from vdb_core.testing.problems import make_problem
from vdb_core.testing.workshop import Workshop, first_metric

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vdb_core.indexes import Index, IndexStats, Metric

__all__ = ["IndexInEngine", "build_forever", "save_forever"]


class IndexInEngine(IndexSuite):
    """The part of the suite that opens engines and ends processes."""

    def test_the_engine_always_gives_min_k_matches(self, one_metric: Metric, tmp_path: Path) -> None:
        """Through the engine a search returns min(k, matches) hits: any filter, after writes, after a restart."""
        with open_with(self.index_type, tmp_path / "data") as services:
            shelf = Shelf(services, one_metric, 700)
            build(services, type(self))
            self._check_counts(shelf, "after the build")
            shelf.add(60)
            shelf.delete([f"c{n}" for n in range(0, 700, 3)])
            self._check_counts(shelf, "after writes and deletes")
        with open_with(self.index_type, tmp_path / "data") as services:
            shelf.services = services
            self._check_counts(shelf, "after a restart")
            told = services.indexing.status(LIBRARY)
            assert not told["warnings"], (
                f"after a restart the engine says {told['warnings']}; expected load() to open what save() wrote"
            )

    def _check_counts(self, shelf: Shelf, when: str) -> None:
        for k, below in itertools.product((1, 10, 400, 2000), (None, 0, 7, 350)):
            query = shelf.query()
            found, expected = shelf.search(query, k, below), shelf.nearest(query, k, below)
            where = f"{when}, k {k}, filter {'none' if below is None else f'n < {below}'}"
            assert len(found) == len(set(found)) == len(expected), (
                f"{where}: expected {len(expected)} different chunks; received {len(found)}"
            )
            strays = sorted(set(found) - set(shelf.nearest(query, 2000, below)))
            assert not strays, f"{where}: received {strays[0]}, which was deleted or does not match"

    def test_a_deleted_chunk_never_comes_back(self, one_metric: Metric, tmp_path: Path) -> None:
        """Through the engine a chunk that was deleted is never found: not as its own nearest, not after a new build."""
        with open_with(self.index_type, tmp_path / "data") as services:
            shelf = Shelf(services, one_metric, 500)
            build(services, type(self))
            gone = {f"c{n}": shelf.rows[f"c{n}"][0] for n in range(0, 500, 11)}
            shelf.delete(list(gone))
            for again in ("before", "after"):
                for key, vector in gone.items():
                    found = ids(services, {"embedding": vector.tolist(), "k": 20})
                    back = sorted(gone.keys() & set(found))
                    assert not back, (
                        f"{again} a new build: {key} was asked for, and {back[0]}, deleted, came back"
                    )
                build(services, type(self))

    def test_a_killed_save_leaves_no_lie(self, tmp_path: Path) -> None:
        """Where a process is killed within save(), load() says IndexDamaged or answers as the whole index does."""
        metric = first_metric(self.index_type)
        problem, workshop = make_problem("clusters", metric), Workshop(self.index_type, self.params)
        chance = random.Random(3)  # noqa: S311 - the moment of a kill
        for number in range(self.kills):
            folder = tmp_path / str(number)
            folder.mkdir()
            with child(type(self), f"{__name__}:save_forever", str(folder), beside=tmp_path) as process:
                began = [time.monotonic() for _ in range(4) if process.wait_for("saving")]
                time.sleep(chance.uniform(0, max(began[-1] - began[-2], 0.001)))
                process.kill()
            saved = sorted(folder.iterdir(), key=lambda path: int(path.name))
            whole = self._answers(workshop, saved[0], problem.rows, problem.queries, metric)
            for place in saved[1:]:
                try:
                    told = self._answers(workshop, place, problem.rows, problem.queries, metric)
                except IndexDamaged:
                    # One that was announced after this one was whole.
                    assert place in saved[-2:], (
                        f"save() number {place.name} had ended, and load() calls it damaged"
                    )
                    continue
                assert told == whole, (
                    f"save() number {place.name} was killed, load() opened what there was, and a search gave other "
                    "hits; expected IndexDamaged or the same hits. Check in load() that every file is complete."
                )

    def _answers(
        self,
        workshop: Workshop,
        place: Path,
        rows: NDArray[np.float32],
        queries: NDArray[np.float32],
        metric: Metric,
    ) -> list[list[int]]:
        index = workshop.load(place, rows, metric)
        slots = cast("list[list[int]]", index.search(queries, 20)[0].tolist())
        index.close()
        return slots

    def test_the_engine_survives_a_kill_within_save(self, tmp_path: Path) -> None:
        """A process that is killed within save() loses nothing: the library opens, its index is there, or is rebuilt."""
        metric = first_metric(self.index_type)
        chance = random.Random(4)  # noqa: S311 - the moment of a kill
        for number in range(self.kills):
            data = tmp_path / f"data-{number}"
            with child(
                type(self), f"{__name__}:build_forever", str(data), metric, beside=tmp_path
            ) as process:
                # Within the second save, or the third: an index that was complete must not suffer by it.
                for _ in range(2 + number):
                    _ = process.wait_for("saving")
                time.sleep(chance.uniform(0, 0.05))
                process.kill()
            self._check_generations(data)
            with open_with(self.index_type, data) as services:
                status = wait_until_ready(services)
                assert status["type"] == name_in_engine(self.index_type), (
                    f"after a kill within save() the library is indexed by {status['type']}"
                )
                assert status["state"] == "ready", (
                    f"after a kill within save() the index is {status['state']}, not ready: {status['warnings']}. "
                    "save() may write into its own directory alone, and build() must not need what a save left."
                )
                shelf = Shelf(services, metric)
                query = shelf.query()
                found = ids(services, {"embedding": query, "k": 1000})
                assert len(found) == 300, (
                    f"300 chunks were acknowledged; received {len(found)} after the kill"
                )

    def _check_generations(self, data: Path) -> None:
        """Every generation that was complete is: a later save has not touched it."""
        with closing(NumpySnapshotStore(data)) as store:
            try:
                for generation in store.generations(LIBRARY):
                    _ = store.read(LIBRARY, generation)
            except SnapshotDamaged as error:
                raise AssertionError(
                    f"a generation was complete when the process was killed within a later save(), and is damaged: {error} "
                    "save() may write into its own directory alone."
                ) from error


def save_forever(suite: type[IndexInEngine], folder: str) -> None:
    """What the first killed process does: saves an index again and again, each time into a new directory."""
    metric = first_metric(suite.index_type)
    problem, workshop = make_problem("clusters", metric), Workshop(suite.index_type, suite.params)
    index = workshop.build(problem.rows, metric)
    for number in itertools.count():
        place = Path(folder) / str(number)
        place.mkdir()
        say(f"saving {number}")
        index.save(place)


def build_forever(suite: type[IndexInEngine], data_dir: str, metric: Metric) -> None:
    """What the second killed process does: has an engine build, and save, the index of a library again and again."""
    kind = suite.index_type

    def announced(*arguments: Any, **named: Any) -> Index:
        return _Announced(kind.build(*arguments, **named))

    watched = dataclasses.replace(kind, build=announced)
    with open_with(watched, Path(data_dir)) as services:
        _ = Shelf(services, metric, 300)
        for _ in itertools.count():
            build(services, suite)


class _Announced:
    """An index that says when it is being saved."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def save(self, directory: Path) -> None:
        say("saving")
        self._index.save(directory)

    def stats(self) -> IndexStats:
        return self._index.stats()

    def close(self) -> None:
        self._index.close()

    def search(self, *arguments: Any, **named: Any) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
        return self._index.search(*arguments, **named)
