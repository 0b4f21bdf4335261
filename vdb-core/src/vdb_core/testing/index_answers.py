"""Tests of what a search returns: shapes, padding, order, ties, the metric, exactness, filters, threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from vdb_core.indexes import NO_SLOT, bitmap, exact_distances
from vdb_core.plugins import validate_params
from vdb_core.testing import answers
from vdb_core.testing.claims import claim
from vdb_core.testing.index_suite import IndexSuite
from vdb_core.testing.pauses import longest_pause, until_slow
from vdb_core.testing.problems import filters, make_problem
from vdb_core.testing.workshop import each

if TYPE_CHECKING:
    from vdb_core.indexes import Metric
    from vdb_core.testing.workshop import Workshop

__all__ = ["IndexAnswers"]


class IndexAnswers(IndexSuite):
    """The part of the suite that asks."""

    def test_shapes_and_types(self, workshop: Workshop, metric: Metric) -> None:
        """search() returns uint32 slots and float32 distances, both [queries, k], for any k and for no queries."""
        for problem, index, case in each(workshop, metric):
            for k in (1, 10, len(problem.rows) + 3):
                answers.check_shape(index.search(problem.queries, k), len(problem.queries), k, case)
            none = index.search(problem.queries[:0], 5)
            answers.check_shape(none, 0, 5, f"{case}, no queries")

    def test_slots_are_rows_without_repeats(self, workshop: Workshop, metric: Metric) -> None:
        """Every slot is the number of a row, and none comes twice in one answer."""
        for problem, index, case in each(workshop, metric):
            for k in (1, 10, len(problem.rows) + 3):
                answers.check_slots(index.search(problem.queries, k), len(problem.rows), case)

    def test_what_is_missing_is_padded(self, workshop: Workshop, metric: Metric) -> None:
        """Where fewer than k rows come back the rest is slot 0xFFFFFFFF and distance +inf, at the end."""
        for problem, index, case in each(workshop, metric):
            for k in (1, 10, len(problem.rows) + 3):
                answers.check_padding(index.search(problem.queries, k), case)

    def test_distances_ascend(self, workshop: Workshop, metric: Metric) -> None:
        """Distances ascend, and none is NaN, whatever the numbers in rows and queries."""
        for problem, index, case in each(workshop, metric):
            for k in (1, 10, len(problem.rows) + 3):
                answers.check_order(index.search(problem.queries, k), case)

    def test_equal_rows_come_by_slot(self, workshop: Workshop, metric: Metric) -> None:
        """Of rows that are equal, number by number, the smaller slot comes first."""
        for problem, index, case in each(workshop, metric):
            answers.check_equal_rows(problem, index.search(problem.queries, 50), case)

    def test_search_parameters(self, workshop: Workshop, metric: Metric) -> None:
        """With each of the suite's search_params an answer keeps shape, slots, padding and order."""
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
        """recall@10 reaches the suite's recall_floor under each metric, with each of its search_params."""
        for name in ("normal", "clusters"):
            problem, index = workshop.kept(name, metric)
            for given in self.search_params:
                params = validate_params(self.index_type.search_params, given, "/params")
                reached = answers.recall(problem, index.search(problem.queries, 10, params=params))
                assert reached >= self.recall_floor, (
                    f"{name}, {metric}, {dict(given)}: recall@10 is {reached:.3f}; expected {self.recall_floor} (recall_floor)"
                )

    def test_hits_are_near_by_the_metric(self, workshop: Workshop, metric: Metric) -> None:
        """Hits are near by the metric that was asked for: half of them within the nearest twentieth of the rows."""
        problem, index = workshop.kept("norms_apart", metric)
        slots = index.search(problem.queries, 10)[0]
        places: list[int] = []
        for query, found in zip(problem.queries, slots, strict=True):
            order = np.argsort(exact_distances(problem.rows, query, metric), kind="stable")
            place = np.empty(len(order), dtype=np.int64)
            place[order] = np.arange(len(order))
            places += place[found[found != NO_SLOT]].tolist()
        assert places, f"{metric}: no hits at all among {len(problem.rows)} rows"
        middle = float(np.median(places))
        assert middle <= len(problem.rows) / 20, (
            f"{metric}: half of the hits are beyond place {middle:.0f} of {len(problem.rows)} rows by {metric}; expected "
            f"{len(problem.rows) // 20} at most. Does build() look at the metric?"
        )

    @claim("deterministic")
    def test_no_parameters_mean_the_defaults(self, workshop: Workshop, metric: Metric) -> None:
        """An index that claims deterministic gives without params what it gives with the defaults of search_params."""
        problem, index = workshop.kept("clusters", metric)
        bare = index.search(problem.queries, 10)[0].tolist()
        default = index.search(problem.queries, 10, params=self.index_type.search_params())[0].tolist()
        assert bare == default, (
            f"{metric}: params=None gives other hits than {self.index_type.search_params.__name__}(); take the defaults "
            "from the model where params is None"
        )

    @claim("exact")
    def test_exact(self, workshop: Workshop, metric: Metric) -> None:
        """An index that claims exact returns the rows that float64 arithmetic ranks first, ties by slot."""
        for problem, index, case in each(workshop, metric):
            everything = np.arange(len(problem.rows))
            for k in (1, 10, len(problem.rows) + 3):
                answer = index.search(problem.queries, k)
                answers.check_exact(problem, answer, everything, distances=True, case=f"{case}, k {k}")

    @claim("native_filter")
    def test_only_allowed_rows_come_back(self, workshop: Workshop, metric: Metric) -> None:
        """An index that claims native_filter returns allowed rows alone: none, one, few, half or all of them."""
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
                assert len(strays) == 0, (
                    f"{where}: row {strays[0]} came back; expected rows of `allowed` alone, or no claim of native_filter"
                )
                if self.index_type.capabilities.exact:
                    answers.check_exact(problem, answer, allowed, distances=True, case=where)

    @claim("deterministic")
    def test_threads_and_repetition_change_nothing(self, workshop: Workshop, metric: Metric) -> None:
        """An index that claims deterministic gives the same answer whatever the number of threads."""
        problem = make_problem("clusters", metric)
        first: bytes | None = None
        for build_threads, search_threads in ((1, 1), (3, 1), (1, 3), (3, 3)):
            index = workshop.build(problem.rows, metric, threads=build_threads)
            slots, distances = index.search(problem.queries, 20, threads=search_threads)
            index.close()
            told = slots.tobytes() + distances.tobytes()
            first = told if first is None else first
            assert told == first, (
                f"{metric}: built by {build_threads} and searched by {search_threads} threads it gives another answer than by one; "
                "expected the same, or no claim of deterministic. Draw random numbers by row, not by thread."
            )

    @claim("releases_gil")
    def test_other_python_threads_go_on_during_a_search(self, workshop: Workshop, one_metric: Metric) -> None:
        """While an index that claims releases_gil searches, other Python threads go on (measured)."""
        made = workshop.long(self.long_rows, one_metric)
        queries = np.resize(made.problem.queries, (1 << 16, made.problem.rows.shape[1]))
        count = until_slow(lambda many: made.index.search(queries[:many], 10), seconds=0.4, most=len(queries))
        # A busy machine may hold the watching thread up as well, but hardly three times in a row.
        stalls: list[float] = []
        for _ in range(3):
            took, pause = longest_pause(lambda: made.index.search(queries[:count], 10))
            stalls.append(pause / took)
            if stalls[-1] < 0.5:
                break
        assert min(stalls) < 0.5, (
            f"another Python thread stood still for {min(stalls):.0%} of a search of {count} queries; expected less than half. "
            "Release the GIL while you compute, or do not claim releases_gil."
        )

    def test_concurrent_searches_agree(self, workshop: Workshop, metric: Metric) -> None:
        """Searches from several threads at once give what they give alone."""
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
        assert again == alone * 8, (
            f"{metric}: a search beside others gave other hits than alone; expected the same. Share no buffer between searches."
        )
