"""Tests of an index from build to close: files, memory, cancelling, progress, what it tells about itself."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING

import orjson
import pytest

from vdb_core.engine.accelerator import wrong_with
from vdb_core.errors import BuildCancelled, IndexDamaged
from vdb_core.indexes import Index, IndexStats, bitmap
from vdb_core.testing import memory
from vdb_core.testing.index_suite import IndexSuite
from vdb_core.testing.problems import long_problem, make_problem
from vdb_core.testing.workshop import Watch, contents, each, mapped_file

if TYPE_CHECKING:
    from pathlib import Path

    from vdb_core.indexes import Metric
    from vdb_core.testing.workshop import Workshop

__all__ = ["IndexLife"]


class IndexLife(IndexSuite):
    """The part of the suite that builds, saves, loads, cancels and closes."""

    def test_inputs_are_left_alone(self, workshop: Workshop, metric: Metric, tmp_path: Path) -> None:
        """Rows, queries and bitmaps are as they were after build, search and save."""
        problem = make_problem("normal", metric)
        rows, queries = problem.rows.copy(), problem.queries.copy()
        allowed = bitmap.full(len(rows)) if self.index_type.capabilities.native_filter else None
        index = workshop.build(rows, metric)
        _ = index.search(queries, 10, allowed=allowed)
        index.save(tmp_path)
        index.close()
        assert rows.tobytes() == problem.rows.tobytes(), (
            "build(), search() or save() changed the rows; they belong to the engine: copy what you change"
        )
        assert queries.tobytes() == problem.queries.tobytes(), (
            "search() changed its queries; copy what you change"
        )
        if allowed is not None:
            assert allowed.tobytes() == bitmap.full(len(rows)).tobytes(), (
                "search() changed its bitmap; copy what you change"
            )

    def test_rows_may_be_mapped_from_a_file(self, workshop: Workshop, metric: Metric, tmp_path: Path) -> None:
        """Rows may be a read-only memory-mapped file, with the same hits."""
        problem, index = workshop.kept("normal", metric)
        mapped = mapped_file(problem.rows, tmp_path / "vectors.npy")
        over_file = workshop.build(mapped, metric)
        expected, found = index.search(problem.queries, 10)[0], over_file.search(problem.queries, 10)[0]
        over_file.close()
        assert expected.shape == found.shape
        if self.index_type.capabilities.deterministic:
            assert expected.tolist() == found.tolist(), (
                "rows that are mapped give other hits than rows in memory"
            )

    def test_rows_are_not_copied(self, workshop: Workshop, one_metric: Metric, tmp_path: Path) -> None:
        """An index holds less than 0.6 of the rows' size beside them: no second float32 copy (measured)."""
        rows = long_problem(self.long_rows, one_metric).rows
        mapped = mapped_file(rows, tmp_path / "vectors.npy")
        grown = limit = int(0.6 * rows.nbytes)
        # The first build pays for what is loaded and cached once, such as the buffers of a BLAS.
        for _ in range(2):
            grown = memory.growth(lambda: workshop.build(mapped, one_metric))
            if grown < limit:
                break
        assert grown < limit, (
            f"the index holds {grown:,} bytes beside rows of {rows.nbytes:,} bytes; expected less than {limit:,}. Keep the "
            "view that build() was given, and make no float32 copy of it."
        )

    def test_save_and_load(self, workshop: Workshop, metric: Metric, tmp_path: Path) -> None:
        """What load() opens answers and counts as what was saved, also after a second save and load."""
        for number, (problem, index, case) in enumerate(each(workshop, metric)):
            once, twice = tmp_path / f"{number}-once", tmp_path / f"{number}-twice"
            once.mkdir()
            twice.mkdir()
            index.save(once)
            loaded = workshop.load(once, problem.rows, metric)
            loaded.save(twice)
            again = workshop.load(twice, problem.rows, metric)
            expected = index.search(problem.queries, 10)
            for one in (loaded, again):
                answer = one.search(problem.queries, 10)
                assert answer[0].tolist() == expected[0].tolist(), f"{case}: other hits after loading"
                assert answer[1].tobytes() == expected[1].tobytes(), f"{case}: other distances after loading"
                assert one.stats().rows == index.stats().rows, f"{case}: another number of rows after loading"
                one.close()

    def test_saving_again_gives_the_same_bytes(
        self, workshop: Workshop, metric: Metric, tmp_path: Path
    ) -> None:
        """save() writes the same files, byte by byte, each time, and so does an index that was loaded from them."""
        problem, index = workshop.kept("clusters", metric)
        places = [tmp_path / name for name in ("once", "again", "loaded")]
        for place in places:
            place.mkdir()
        index.save(places[0])
        index.save(places[1])
        loaded = workshop.load(places[0], problem.rows, metric)
        loaded.save(places[2])
        loaded.close()
        first, *others = [contents(place) for place in places]
        for name, other in zip(("a second save()", "save() of what was loaded"), others, strict=True):
            differ = sorted(
                path for path in first.keys() | other.keys() if first.get(path) != other.get(path)
            )
            assert not differ, (
                f"{metric}: {name} wrote other bytes in {', '.join(differ)}; expected the same. Times, addresses and the "
                "order of a set do not belong into files."
            )

    def test_saved_files_may_be_moved(self, workshop: Workshop, one_metric: Metric, tmp_path: Path) -> None:
        """What save() wrote opens in another directory: data directories are moved, copied and restored."""
        problem, index = workshop.kept("clusters", one_metric)
        (tmp_path / "before").mkdir()
        index.save(tmp_path / "before")
        told: list[list[list[int]]] = []
        for place in ("before", "after"):
            if place == "after":
                _ = (tmp_path / "before").rename(tmp_path / "after")
            loaded = workshop.load(tmp_path / place, problem.rows, one_metric)
            told.append(loaded.search(problem.queries, 10)[0].tolist())
            loaded.close()
        assert told[0] == told[1], "moved to another directory, the files make an index of other hits"

    def test_loading_leaves_the_files_alone(
        self, workshop: Workshop, one_metric: Metric, tmp_path: Path
    ) -> None:
        """load(), search() and close() change nothing in the directory: the engine has a checksum of every file."""
        problem, index = workshop.kept("clusters", one_metric)
        index.save(tmp_path)
        before = contents(tmp_path)
        loaded = workshop.load(tmp_path, problem.rows, one_metric)
        _ = loaded.search(problem.queries, 5)
        loaded.close()
        after = contents(tmp_path)
        changed = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
        assert not changed, (
            f"load(), search() or close() changed {', '.join(changed)}; expected files as save() left them"
        )

    def test_saved_files_do_not_repeat_the_rows(
        self, workshop: Workshop, one_metric: Metric, tmp_path: Path
    ) -> None:
        """The files of save() take less than 0.6 of the rows' size: the rows are the engine's."""
        made = workshop.long(self.long_rows, one_metric)
        made.index.save(tmp_path)
        written, size = sum(map(len, contents(tmp_path).values())), made.problem.rows.nbytes
        assert written < 0.6 * size, (
            f"save() wrote {written:,} bytes for rows of {size:,} bytes; expected less than 0.6 of that. The rows come back "
            "with load()."
        )

    def test_damaged_files_are_told(self, workshop: Workshop, one_metric: Metric, tmp_path: Path) -> None:
        """Where a file is cut in half or missing, load() raises IndexDamaged, and nothing else."""
        problem, index = workshop.kept("normal", one_metric)
        index.save(tmp_path)
        for file in sorted(path for path in tmp_path.rglob("*") if path.is_file()):
            whole = file.read_bytes()
            for damage in ("truncated", "missing"):
                if damage == "truncated":
                    _ = file.write_bytes(whole[: len(whole) // 2])
                else:
                    file.unlink()
                with pytest.raises(IndexDamaged):
                    _ = workshop.load(tmp_path, problem.rows, one_metric)
            _ = file.write_bytes(whole)

    def test_close_lets_go_of_the_rows(self, workshop: Workshop, one_metric: Metric) -> None:
        """After close() nothing holds the rows: their memory, or file, can go."""
        problem = make_problem("normal", one_metric)
        rows = problem.rows.copy()
        index = workshop.build(rows, one_metric)
        _ = index.search(problem.queries, 3)
        index.close()
        gone = weakref.ref(rows)
        del rows
        _ = gc.collect()
        assert gone() is None, (
            "after close() something still holds the rows; expected nothing to. Let go of the array, of views of it, and of what holds them (threads, caches)"
        )

    def test_cancel(self, workshop: Workshop, one_metric: Metric) -> None:
        """A build asks cancelled(), and raises BuildCancelled where that is true, and only there."""
        problem = make_problem("clusters", one_metric)
        for nth in (1, 2, 5):
            watch = Watch(cancel_at=nth)
            try:
                index = workshop.build(problem.rows, one_metric, watch=watch)
            except BuildCancelled:
                assert watch.asked >= nth, (
                    "BuildCancelled was raised although cancelled() had not been true; expected a whole index"
                )
                continue
            index.close()
            assert watch.asked < nth, (
                f"cancelled() was true at call {nth}, and the build returned an index; expected BuildCancelled"
            )
            assert nth > 1, "the build never asked cancelled(); expected at least once, also for few rows"

    def test_a_build_asks_often_whether_to_stop(self, workshop: Workshop, one_metric: Metric) -> None:
        """A build asks cancelled() at least every two seconds, so that a cancel is heard (measured)."""
        made = workshop.long(self.long_rows, one_metric)
        silence = max(made.watch.longest_silence, made.seconds if not made.watch.asked else 0.0)
        assert silence < 2.0, (
            f"a build of {len(made.problem.rows)} rows did not ask cancelled() for {silence:.1f} s; expected less than 2 s. "
            "Ask within the loops, not between them."
        )

    def test_progress(self, workshop: Workshop, one_metric: Metric) -> None:
        """progress() is called at most ten times a second, with phases in turn and steps that never go back."""
        made = workshop.long(self.long_rows, one_metric)
        reports = made.watch.reports
        phases = dict.fromkeys(phase for phase, _, _ in reports)
        most = 10 * made.seconds + 2 * len(phases) + 1
        assert len(reports) <= most, (
            f"progress() was called {len(reports)} times in {made.seconds:.2f} s; expected ten times a second at most, and "
            "twice a phase. Keep the time of the last report."
        )
        before: tuple[str, int] = ("", 0)
        over: set[str] = set()
        for phase, done, total in reports:
            assert isinstance(phase, str), f"a phase is a string; received {phase!r}"
            assert phase, "a phase has a name; received an empty one"
            assert 0 <= done <= total, (
                f"phase {phase!r}: expected 0 <= done <= total; received {done} of {total}"
            )
            if phase != before[0]:
                assert phase not in over, (
                    f"phase {phase!r} came back after another; expected phases one after the other"
                )
                over.add(before[0])
            else:
                assert done >= before[1], f"phase {phase!r} went back: {done} after {before[1]}"
            before = (phase, done)

    def test_stats(self, workshop: Workshop, metric: Metric) -> None:
        """stats() returns IndexStats: rows, bytes by part that are no negative numbers, details that are JSON."""
        for problem, index, case in each(workshop, metric):
            stats = index.stats()
            assert isinstance(index, Index), f"{case}: no Index, a method is missing"
            assert isinstance(stats, IndexStats), (
                f"{case}: stats() returns IndexStats; received {type(stats)}"
            )
            assert 0 <= stats.rows <= len(problem.rows), f"{case}: {stats.rows} of {len(problem.rows)} rows"
            if self.index_type.capabilities.exact:
                assert stats.rows == len(problem.rows), f"{case}: an exact index finds every row"
            for part, size in stats.bytes.items():
                assert isinstance(size, int), f"{case}: bytes of {part!r} are an int; received {size!r}"
                assert size >= 0, f"{case}: bytes of {part!r} are {size}"
            _ = orjson.dumps(dict(stats.details))

    def test_the_estimate_of_memory_is_near(self, workshop: Workshop, one_metric: Metric) -> None:
        """estimate_memory, where the type has one, is within a factor of four of what stats() tells."""
        estimate = self.index_type.estimate_memory
        if estimate is None:
            return
        made = workshop.long(self.long_rows, one_metric)
        rows, dimension = made.problem.rows.shape
        held = sum(made.index.stats().bytes.values())
        told = estimate(rows, dimension, workshop.params)
        slack = 1 << 20
        assert (held - slack) / 4 <= told <= 4 * held + slack, (
            f"estimate_memory({rows}, {dimension}, ...) tells {told:,} bytes, and stats() of such an index {held:,}; expected "
            "one within a factor of four of the other"
        )

    def test_the_accelerator_changes_nothing(self) -> None:
        """The accelerator of a type, where it offers one, changes no bit of an answer."""
        make = self.index_type.accelerator
        if make is None:
            return
        wrong = wrong_with(make())
        assert wrong is None, f"{wrong}; see vdb_core.indexes.Accelerator, or offer none"
