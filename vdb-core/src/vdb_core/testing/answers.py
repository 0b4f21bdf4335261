"""Checks of one answer of an index against the contract and against exact arithmetic."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vdb_core.indexes import NO_SLOT, exact_distances

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vdb_core.testing.problems import Problem

__all__ = [
    "check_equal_rows",
    "check_exact",
    "check_order",
    "check_padding",
    "check_shape",
    "check_slots",
    "recall",
]

Answer = tuple["NDArray[np.uint32]", "NDArray[np.float32]"]


def check_shape(answer: object, queries: int, k: int, case: str) -> None:
    """Check that an answer is a pair of uint32 slots and float32 distances, both ``[q, k]``."""
    assert isinstance(answer, tuple), (
        f"{case}: search() returns a tuple (slots, distances); received {type(answer)}"
    )
    assert len(answer) == 2, f"{case}: search returns (slots, distances); received {len(answer)} values"
    for name, array, dtype in (("slots", answer[0], np.uint32), ("distances", answer[1], np.float32)):
        assert isinstance(array, np.ndarray), f"{case}: {name} is a NumPy array; received {type(array)}"
        assert array.dtype == dtype, (
            f"{case}: expected {name} of {np.dtype(dtype)}; received {array.dtype}. Make it with that dtype; no cast is done for you."
        )
        assert array.shape == (queries, k), (
            f"{case}: expected {name} of shape {(queries, k)}; received {array.shape}. Pad with NO_SLOT and +inf."
        )


def check_slots(answer: Answer, rows: int, case: str) -> None:
    """Check that every slot is a row, and none comes twice in one answer."""
    for position, slots in enumerate(answer[0]):
        found = slots[slots != NO_SLOT]
        assert (found < rows).all(), (
            f"{case}, query {position}: received slot {found.max()}; expected 0 to {rows - 1}, or NO_SLOT"
        )
        assert len(np.unique(found)) == len(found), (
            f"{case}, query {position}: a slot comes twice; expected each row once. Merge candidates before the best are kept."
        )


def check_padding(answer: Answer, case: str) -> None:
    """Check that what is missing is at the end: slot 0xFFFFFFFF, distance +inf."""
    for position, (slots, distances) in enumerate(zip(*answer, strict=True)):
        missing = slots == NO_SLOT
        assert not (missing[:-1] & ~missing[1:]).any(), (
            f"{case}, query {position}: a hit behind the padding; expected NO_SLOT at the end alone"
        )
        assert (distances[missing] == np.inf).all(), (
            f"{case}, query {position}: beside NO_SLOT stands {distances[missing][0]}; expected +inf"
        )


def check_order(answer: Answer, case: str) -> None:
    """Check that distances ascend and none is NaN."""
    for position, distances in enumerate(answer[1]):
        assert not np.isnan(distances).any(), (
            f"{case}, query {position}: a distance is NaN; expected a number. What overflows is +inf: as far as can be."
        )
        ascending = distances[:-1] <= distances[1:]
        assert ascending.all(), (
            f"{case}, query {position}: distance {int(np.argmin(ascending)) + 1} is smaller than the one before; expected them ascending, "
            "whatever the metric: smaller is closer, so the dot product is negative"
        )


def check_equal_rows(problem: Problem, answer: Answer, case: str) -> None:
    """Check that rows that are equal, number by number, come in the order of their slots."""
    for position, slots in enumerate(answer[0]):
        found = slots[slots != NO_SLOT].astype(np.int64)
        equal = (problem.rows[found[:-1]] == problem.rows[found[1:]]).all(axis=1)
        assert (found[:-1] < found[1:])[equal].all(), (
            f"{case}, query {position}: of equal rows the larger slot came first; sort by distance, then by slot"
        )


def check_exact(
    problem: Problem, answer: Answer, allowed: NDArray[np.int64], *, distances: bool, case: str
) -> None:
    """Check that an answer holds the slots that float64 arithmetic ranks first, in its order, ties by slot.

    Where only the rounding of float64 itself decides between rows that are not equal, either order is right.
    """
    for position, (query, slots, told) in enumerate(zip(problem.queries, *answer, strict=True)):
        where = f"{case}, query {position}"
        exact = exact_distances(problem.rows, query, problem.metric)
        expected = allowed[np.argsort(exact[allowed], kind="stable")][: len(slots)]
        found = slots[slots != NO_SLOT].astype(np.int64)
        assert len(found) == len(expected), f"{where}: {len(expected)} rows match; {len(found)} came back"
        assert np.isin(found, allowed).all(), f"{where}: a row that is not allowed"
        size = _magnitude(problem, query)
        if not np.array_equal(found, expected):
            rounding = 0.0 if problem.integral else 8 * problem.rows.shape[1] * 2.0**-53
            slack = rounding * np.maximum(size[found], size[expected])
            off = np.abs(exact[found] - exact[expected]) > slack
            wrong = off if not problem.integral else found != expected
            assert not wrong.any(), (
                f"{where}: hit {int(np.argmax(wrong))} is row {found[np.argmax(wrong)]} at "
                f"{exact[found[np.argmax(wrong)]]!r}, expected row {expected[np.argmax(wrong)]} at "
                f"{exact[expected[np.argmax(wrong)]]!r}"
            )
            _check_first_of_equals(problem, found, allowed, where)
        if distances:
            # Beyond 1e37 a float32 sum may overflow on its way to a total that float32 could hold.
            small = np.abs(exact[found]) < 1e37
            error = np.abs(told[: len(found)].astype(np.float64) - exact[found])
            bound = 2.0**-18 * size[found] + 2.0**-126
            assert (error <= bound)[small].all(), f"{where}: a distance is not that of its row"


def recall(problem: Problem, answer: Answer) -> float:
    """Share of the true nearest rows that an answer holds; rows as near as the last of them count as well."""
    hits = wanted = 0
    for query, slots in zip(problem.queries, answer[0], strict=True):
        exact = exact_distances(problem.rows, query, problem.metric)
        k = min(len(slots), len(exact))
        border = np.partition(exact, k - 1)[k - 1]
        hits += int((exact[slots[slots != NO_SLOT]] <= border).sum())
        wanted += k
    return hits / wanted


def _magnitude(problem: Problem, query: NDArray[np.float32]) -> NDArray[np.float64]:
    """What a rounding error of a distance is relative to: the sum of the magnitudes of its terms."""
    wide, other = problem.rows.astype(np.float64), query.astype(np.float64)
    if problem.metric == "l2":
        # A kernel may expand the square.
        return (wide * wide).sum(axis=1) + (other * other).sum()
    return np.abs(wide * other).sum(axis=1) + (1.0 if problem.metric == "cosine" else 0.0)


def _check_first_of_equals(
    problem: Problem, found: NDArray[np.int64], allowed: NDArray[np.int64], where: str
) -> None:
    """Of equal rows the smaller slots come back, and in order, whatever rounding does elsewhere."""
    last: dict[bytes, int] = {}
    for slot in found.tolist():
        key = (problem.rows[slot] + np.float32(0)).tobytes()
        assert last.get(key, -1) < slot, f"{where}: equal rows, larger slot first"
        last[key] = slot
    returned = set(found.tolist())
    for slot in allowed.tolist():
        key = (problem.rows[slot] + np.float32(0)).tobytes()
        better = slot < last.get(key, -1) and slot not in returned
        assert not better, f"{where}: row {last[key]} came back, the equal row {slot} did not"
