"""The suite for index types: each test is one sentence of the contract, or one claim that a type makes.

A claim that is not made is not tested: its tests are not collected, rather than skipped.
"""

from __future__ import annotations

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ClassVar, TypeVar

import numpy as np
import orjson
import pytest

from vdb_core.errors import BuildCancelled, IndexDamaged, ValidationFailed
from vdb_core.indexes import METRICS, NO_SLOT, Index, IndexStats, bitmap
from vdb_core.plugins import IndexType, validate_params
from vdb_core.plugins.validation import check_records
from vdb_core.testing import answers, memory
from vdb_core.testing.pauses import longest_pause, until_slow
from vdb_core.testing.problems import filters, long_rows, make_problem
from vdb_core.testing.workshop import Watch, Workshop, each, mapped_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from vdb_core.indexes import Metric

__all__ = ["IndexConformance"]

TestT = TypeVar("TestT", bound="Callable[..., None]")


def claim(name: str) -> Callable[[TestT], TestT]:
    """Mark a test of a capability: it is collected only for types that claim it."""

    def mark(test: TestT) -> TestT:
        test.__dict__["claim"] = name
        return test

    return mark


class IndexConformance:
    """Subclass it, name it ``Test...``, and set ``index_type``."""

    index_type: ClassVar[IndexType]
    """The type that is tested."""

    params: ClassVar[Mapping[str, object]] = {}
    """Build parameters to test with; subclass again to test others."""

    search_params: ClassVar[Sequence[Mapping[str, object]]] = ({},)
    """Search parameters to test with, one search each."""

    recall_floor: ClassVar[float] = 0.0
    """The least recall@10 over the ``normal`` and the ``clusters`` problem, with each of ``search_params``."""

    long_rows: ClassVar[int] = 20_000
    """Rows of the tests of memory, progress and the GIL; fewer for an index that is slow to build."""

    def __init_subclass__(cls) -> None:
        """Take the tests of claims away that the type does not make."""
        super().__init_subclass__()
        if not hasattr(cls, "index_type"):
            return
        for name in dir(cls):
            claimed = getattr(getattr(cls, name), "claim", None)
            if claimed is not None and not getattr(cls.index_type.capabilities, claimed):
                setattr(cls, name, None)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run each test that names a metric under every metric of the type."""
        if "metric" in metafunc.fixturenames:
            metafunc.parametrize("metric", [each for each in METRICS if each in self.index_type.metrics])

    @pytest.fixture(scope="class")
    @classmethod
    def workshop(cls) -> Iterator[Workshop]:
        """Indexes that several tests ask, built once."""
        made = Workshop(cls.index_type, cls.params)
        yield made
        made.close()

    @pytest.fixture
    def one_metric(self) -> Metric:
        """A metric, for what does not depend on it."""
        return next(each for each in METRICS if each in self.index_type.metrics)

    # The record

    def test_the_record_is_well_formed(self) -> None:
        _ = check_records("vdb_register_index_types", [self.index_type])

    @pytest.mark.parametrize("which", ["params", "search_params"])
    def test_unknown_parameters_are_refused(self, which: str) -> None:
        model = self.index_type.params if which == "params" else self.index_type.search_params
        with pytest.raises(ValidationFailed, match="no_such_parameter"):
            _ = validate_params(model, {"no_such_parameter": 1}, "")

    # Answers

    def test_shapes_and_types(self, workshop: Workshop, metric: Metric) -> None:
        for problem, index, case in each(workshop, metric):
            for k in (1, 10, len(problem.rows) + 3):
                answers.check_shape(index.search(problem.queries, k), len(problem.queries), k, case)
            none = index.search(problem.queries[:0], 5)
            answers.check_shape(none, 0, 5, f"{case}, no queries")

    def test_slots_are_rows_without_repeats(self, workshop: Workshop, metric: Metric) -> None:
        for problem, index, case in each(workshop, metric):
            for k in (1, 10, len(problem.rows) + 3):
                answers.check_slots(index.search(problem.queries, k), len(problem.rows), case)

    def test_what_is_missing_is_padded(self, workshop: Workshop, metric: Metric) -> None:
        for problem, index, case in each(workshop, metric):
            for k in (1, 10, len(problem.rows) + 3):
                answers.check_padding(index.search(problem.queries, k), case)

    def test_distances_ascend(self, workshop: Workshop, metric: Metric) -> None:
        for problem, index, case in each(workshop, metric):
            for k in (1, 10, len(problem.rows) + 3):
                answers.check_order(index.search(problem.queries, k), case)

    def test_equal_rows_come_by_slot(self, workshop: Workshop, metric: Metric) -> None:
        for problem, index, case in each(workshop, metric):
            answers.check_equal_rows(problem, index.search(problem.queries, 50), case)

    def test_search_parameters(self, workshop: Workshop, metric: Metric) -> None:
        for problem, index, case in each(workshop, metric):
            for given in self.search_params:
                params = validate_params(self.index_type.search_params, given, "/params")
                answer = index.search(problem.queries, 10, params=params)
                where = f"{case}, {dict(given)}"
                answers.check_shape(answer, len(problem.queries), 10, where)
                answers.check_slots(answer, len(problem.rows), where)
                answers.check_padding(answer, where)
                answers.check_order(answer, where)

    def test_recall(self, workshop: Workshop, metric: Metric) -> None:
        for name in ("normal", "clusters"):
            problem, index = workshop.kept(name, metric)
            for given in self.search_params:
                params = validate_params(self.index_type.search_params, given, "/params")
                reached = answers.recall(problem, index.search(problem.queries, 10, params=params))
                assert reached >= self.recall_floor, f"{name}, {metric}, {dict(given)}: recall@10 {reached}"

    @claim("exact")
    def test_exact(self, workshop: Workshop, metric: Metric) -> None:
        for problem, index, case in each(workshop, metric):
            everything = np.arange(len(problem.rows))
            for k in (1, 10, len(problem.rows) + 3):
                answer = index.search(problem.queries, k)
                answers.check_exact(problem, answer, everything, distances=True, case=f"{case}, k {k}")

    # Filters

    @claim("native_filter")
    def test_only_allowed_rows_come_back(self, workshop: Workshop, metric: Metric) -> None:
        for problem, index, case in each(workshop, metric):
            for share, words in filters(len(problem.rows)):
                where = f"{case}, {share} of the rows allowed"
                allowed = bitmap.to_slots(words)
                answer = index.search(problem.queries, 10, allowed=words)
                answers.check_shape(answer, len(problem.queries), 10, where)
                answers.check_padding(answer, where)
                answers.check_order(answer, where)
                found = answer[0][answer[0] != NO_SLOT]
                strays = found[~np.isin(found, allowed)]
                assert len(strays) == 0, f"{where}: row {strays[0]} came back"
                if self.index_type.capabilities.exact:
                    answers.check_exact(problem, answer, allowed, distances=True, case=where)

    # Claims

    @claim("deterministic")
    def test_threads_and_repetition_change_nothing(self, workshop: Workshop, metric: Metric) -> None:
        problem = make_problem("clusters", metric)
        first: bytes | None = None
        for build_threads, search_threads in ((1, 1), (3, 1), (1, 3), (3, 3)):
            index = workshop.build(problem.rows, metric, threads=build_threads)
            slots, distances = index.search(problem.queries, 20, threads=search_threads)
            index.close()
            told = slots.tobytes() + distances.tobytes()
            first = told if first is None else first
            assert told == first, f"{metric}: built by {build_threads}, searched by {search_threads} threads"

    @claim("releases_gil")
    def test_other_python_threads_go_on_during_a_search(self, workshop: Workshop, one_metric: Metric) -> None:
        problem, rows = long_rows(self.long_rows, one_metric)
        index = workshop.build(rows, one_metric)
        queries = np.resize(problem.queries, (1 << 16, rows.shape[1]))
        count = until_slow(lambda many: index.search(queries[:many], 10), seconds=0.4, most=len(queries))
        # A busy machine may hold the watching thread up as well, but hardly three times in a row.
        stalls: list[float] = []
        for _ in range(3):
            took, pause = longest_pause(lambda: index.search(queries[:count], 10))
            stalls.append(pause / took)
            if stalls[-1] < 0.5:
                break
        index.close()
        assert min(stalls) < 0.5, f"another thread stood still for {min(stalls):.0%} of a search"

    # Life

    def test_concurrent_searches_agree(self, workshop: Workshop, metric: Metric) -> None:
        problem, index = workshop.kept("clusters", metric)
        alone = [
            index.search(problem.queries[i : i + 1], 10)[0].tolist() for i in range(len(problem.queries))
        ]
        with ThreadPoolExecutor(4) as pool:
            again = list(
                pool.map(
                    lambda i: index.search(problem.queries[i : i + 1], 10)[0].tolist(),
                    [i for _ in range(8) for i in range(len(problem.queries))],
                )
            )
        assert again == alone * 8, f"{metric}: a search beside others gave another answer"

    def test_inputs_are_left_alone(self, workshop: Workshop, metric: Metric, tmp_path: Path) -> None:
        problem = make_problem("normal", metric)
        rows, queries = problem.rows.copy(), problem.queries.copy()
        allowed = bitmap.full(len(rows)) if self.index_type.capabilities.native_filter else None
        index = workshop.build(rows, metric)
        _ = index.search(queries, 10, allowed=allowed)
        index.save(tmp_path)
        index.close()
        assert rows.tobytes() == problem.rows.tobytes(), "the rows were changed; they belong to the engine"
        assert queries.tobytes() == problem.queries.tobytes(), "the queries were changed"
        if allowed is not None:
            assert allowed.tobytes() == bitmap.full(len(rows)).tobytes(), "the bitmap was changed"

    def test_rows_may_be_mapped_from_a_file(self, workshop: Workshop, metric: Metric, tmp_path: Path) -> None:
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
        _, rows = long_rows(self.long_rows, one_metric)
        mapped = mapped_file(rows, tmp_path / "vectors.npy")
        # The first build pays for what is loaded and cached once.
        workshop.build(mapped[:256], one_metric).close()
        grown = memory.growth(lambda: workshop.build(mapped, one_metric))
        assert grown < 0.6 * rows.nbytes, f"the index holds {grown} bytes beside rows of {rows.nbytes} bytes"

    def test_save_and_load(self, workshop: Workshop, metric: Metric, tmp_path: Path) -> None:
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

    def test_saved_files_do_not_repeat_the_rows(
        self, workshop: Workshop, one_metric: Metric, tmp_path: Path
    ) -> None:
        _, rows = long_rows(self.long_rows, one_metric)
        index = workshop.build(rows, one_metric)
        index.save(tmp_path)
        index.close()
        written = sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file())
        assert written < 0.6 * rows.nbytes, f"{written} bytes saved beside rows of {rows.nbytes} bytes"

    def test_damaged_files_are_told(self, workshop: Workshop, one_metric: Metric, tmp_path: Path) -> None:
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
        problem = make_problem("normal", one_metric)
        rows = problem.rows.copy()
        index = workshop.build(rows, one_metric)
        _ = index.search(problem.queries, 3)
        index.close()
        gone = weakref.ref(rows)
        del rows
        _ = gc.collect()
        assert gone() is None, "the index still holds the rows after close()"

    def test_cancel(self, workshop: Workshop, one_metric: Metric) -> None:
        problem = make_problem("clusters", one_metric)
        for nth in (1, 2, 5):
            watch = Watch(cancel_at=nth)
            try:
                index = workshop.build(problem.rows, one_metric, watch=watch)
            except BuildCancelled:
                assert watch.asked >= nth, "BuildCancelled was raised although cancelled() was false"
                continue
            index.close()
            assert watch.asked < nth, f"cancelled() was true at call {nth}, and the build went on"
            assert nth > 1, "a build asks cancelled() at least once"

    def test_progress(self, workshop: Workshop, one_metric: Metric) -> None:
        _, rows = long_rows(self.long_rows, one_metric)
        watch = Watch()
        workshop.build(rows, one_metric, watch=watch).close()
        elapsed = watch.elapsed
        phases = dict.fromkeys(phase for phase, _, _ in watch.reports)
        most = 10 * elapsed + 2 * len(phases) + 1
        told = len(watch.reports)
        assert told <= most, (
            f"progress was called {told} times in {elapsed:.2f} s; at most ten times a second"
        )
        before: tuple[str, int] = ("", 0)
        for phase, done, total in watch.reports:
            assert isinstance(phase, str), f"a phase is a string; received {phase!r}"
            assert phase, "a phase has a name"
            assert 0 <= done <= total, f"{phase}: {done} of {total}"
            assert phase != before[0] or done >= before[1], f"{phase}: {done} after {before[1]}"
            before = (phase, done)

    def test_stats(self, workshop: Workshop, metric: Metric) -> None:
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
        estimate = self.index_type.estimate_memory
        if estimate is None:
            return
        _, rows = long_rows(self.long_rows, one_metric)
        index = workshop.build(rows, one_metric)
        held = sum(index.stats().bytes.values())
        index.close()
        told = estimate(len(rows), rows.shape[1], workshop.params)
        slack = 1 << 20
        assert (held - slack) / 4 <= told <= 4 * held + slack, f"estimated {told} bytes, stats() tells {held}"
