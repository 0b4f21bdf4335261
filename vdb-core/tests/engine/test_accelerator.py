"""What a plugin offers to make queries quicker is used where it changes nothing, and nowhere else."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vdb_core.domain import normalize, to_matrix
from vdb_core.engine.accelerator import accelerator_of, wrong_with
from vdb_core.engine.distances import pair_distances, row_distances
from vdb_core.engine.hits_json import hits_json
from vdb_core.engine.unaccelerated import Unaccelerated
from vdb_core.indexes import METRICS, NumpyExactIndex
from vdb_core.plugins import IndexType

if TYPE_CHECKING:
    from collections.abc import Callable

    from vdb_core.indexes import Accelerator, Metric
    from vdb_core.services import Services

OWN = Unaccelerated()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dimension", [1, 7, 8, 129, 384, 1000])
def test_a_row_is_as_far_from_one_query_as_from_many(metric: Metric, dimension: int) -> None:
    random = np.random.default_rng(dimension)
    query = random.standard_normal((1, dimension)).astype(np.float32)
    rows = random.standard_normal((37, dimension)).astype(np.float32)
    expected = pair_distances(np.repeat(query, 37, axis=0), rows, metric)
    assert row_distances(query, rows, metric).tolist() == expected.tolist()
    assert row_distances(query, rows[5:6], metric).tolist() == expected[5:6].tolist()


NUMBERS = st.lists(
    st.floats(-1e4, 1e4) | st.integers(-9, 9) | st.sampled_from([0.1, -0.0, 1e39, 10**400]),
    min_size=3,
    max_size=3,
)


@given(NUMBERS)
def test_a_text_becomes_the_row_that_its_numbers_become(numbers: list[float]) -> None:
    try:
        text = orjson.dumps(numbers)
    except TypeError:
        text = repr(numbers).encode()
    for metric in METRICS:
        read, given_row = OWN.read_row(text, 3, metric), OWN.query_row(numbers, 3, metric)
        assert (read is None) == (given_row is None)
        if read is not None and given_row is not None:
            assert read.tobytes() == given_row.tobytes()
            matrix = to_matrix([numbers], str, max_dimension=3)[0]
            assert matrix is not None
            assert read.tobytes() == (normalize(matrix)[0] if metric == "cosine" else matrix).tobytes()


@pytest.mark.parametrize(
    "text", [b"[true,1,2]", b"[1,false,2]", b"[1,2]", b"[1,2,3,4]", b"[1,2,3", b"[1,null,2]", b'{"a":1}', b"[[1],2,3]", b"", b"[0,0,0]"]
)  # fmt: skip
def test_a_text_that_deserves_a_closer_look_becomes_no_row(text: bytes) -> None:
    assert OWN.read_row(text, 3, "cosine") is None


def offering(make: Any) -> IndexType:
    def build(vectors: Any, *, metric: Any, **_: Any) -> Any:
        return NumpyExactIndex(vectors, metric=metric)

    return IndexType(
        name="brute", summary="Exact.", build=cast("Any", build), load=cast("Any", build), accelerator=make
    )


class Honest:
    """As the engine, by another name."""

    def query_row(self, row: object, dimension: int, metric: Metric) -> Any:
        return OWN.query_row(row, dimension, metric)

    def read_row(self, text: bytes, dimension: int, metric: Metric) -> Any:
        return OWN.read_row(text, dimension, metric)

    def nearest(self, *given: Any) -> Any:
        return OWN.nearest(*given)

    def hits(self, records: Any, scores: bytes, distances: bytes, text: bool, metadata: bool) -> Any:
        columns = {"score": scores[1:-1].split(b","), "distance": distances[1:-1].split(b",")}
        return hits_json(records, columns, text=text, metadata=metadata)


class TakesBooleans(Honest):
    def query_row(self, row: object, dimension: int, metric: Metric) -> Any:
        if isinstance(row, list):
            row = [float(one) if isinstance(one, bool) else one for one in row]
        return super().query_row(row, dimension, metric)


class CutsLongLists(Honest):
    def query_row(self, row: object, dimension: int, metric: Metric) -> Any:
        return super().query_row(row[-dimension:] if isinstance(row, list) else row, dimension, metric)


class TakesOtherArrays(Honest):
    def query_row(self, row: object, dimension: int, metric: Metric) -> Any:
        if isinstance(row, np.ndarray):
            row = row.astype(np.float32)
        return super().query_row(row, dimension, metric)


class NeverLooksClosely(Honest):
    def query_row(self, row: object, dimension: int, metric: Metric) -> Any:
        with np.errstate(all="ignore"):
            return np.asarray(row, dtype=np.float32)[np.newaxis]


class ForgetsTheLength(Honest):
    def query_row(self, row: object, dimension: int, metric: Metric) -> Any:
        return super().query_row(row, dimension, "dot")


class ReadsLoosely(Honest):
    def read_row(self, text: bytes, dimension: int, metric: Metric) -> Any:
        try:
            numbers = [float(one) for one in text.strip(b"[]").split(b",")]
        except ValueError:
            return None
        return super().query_row(numbers, dimension, metric)


class ReadsIntoFloat32(Honest):
    def read_row(self, text: bytes, dimension: int, metric: Metric) -> Any:
        made = super().read_row(text, dimension, "dot")
        if made is None or metric != "cosine":
            return made
        return (made / np.float32(np.sqrt(np.vecdot(made, made)))).astype(np.float32)


class SumsByAProduct(Honest):
    def nearest(self, query: Any, vectors: Any, slots: Any, allowed: Any, metric: Metric, want: int) -> Any:
        near, _ = OWN.nearest(query, vectors, slots, allowed, metric, want)
        rows, one = vectors[near].astype(np.float64), query[0].astype(np.float64)
        products = rows @ one
        raw = ((rows - one) ** 2).sum(axis=1)
        found = {"l2": raw, "dot": -products, "cosine": 1 - products}[metric]
        return near, found.tolist()


class KeepsWhatIsNamedTwice(Honest):
    def nearest(self, query: Any, vectors: Any, slots: Any, allowed: Any, metric: Metric, want: int) -> Any:
        near, far = OWN.nearest(query, vectors, slots, allowed, metric, want)
        return near[:1] + near[: want - 1], far[:1] + far[: want - 1]


class ForgetsTheBitmap(Honest):
    def nearest(self, query: Any, vectors: Any, slots: Any, allowed: Any, metric: Metric, want: int) -> Any:
        return OWN.nearest(query, vectors, slots, None, metric, want)


class OrdersTiesByTheLast(Honest):
    def nearest(self, query: Any, vectors: Any, slots: Any, allowed: Any, metric: Metric, want: int) -> Any:
        near, far = OWN.nearest(query, vectors, slots, allowed, metric, len(vectors))
        ranked = sorted(zip(far, near, strict=True), key=lambda one: (one[0], -one[1]))[:want]
        return [slot for _, slot in ranked], [distance for distance, _ in ranked]


class KeepsAll(Honest):
    def nearest(self, query: Any, vectors: Any, slots: Any, allowed: Any, metric: Metric, want: int) -> Any:
        return OWN.nearest(query, vectors, slots, allowed, metric, want + 1)


class AnswersInNumpysNumbers(Honest):
    def nearest(self, *given: Any) -> Any:
        near, far = OWN.nearest(*given)
        return near, [np.float64(one) for one in far]


class CutsAtTheFirstMark(Honest):
    def hits(self, records: Any, scores: bytes, distances: bytes, text: bool, metadata: bool) -> Any:
        if not (text and metadata):
            return None
        numbers = zip(scores[1:-1].split(b","), distances[1:-1].split(b","), strict=True)
        heads = [record.partition(b',"revision":')[0] for record in records]
        return b"[%b]" % b",".join(
            b'%b,"score":%b,"distance":%b}' % (head, *pair) for head, pair in zip(heads, numbers, strict=True)
        )


class WritesBlanks(Honest):
    """JSON that says the same, in other bytes."""

    def hits(self, *given: Any) -> Any:
        return orjson.dumps(orjson.loads(super().hits(*given)), option=orjson.OPT_INDENT_2)


class ShowsAll(Honest):
    def hits(self, records: Any, scores: bytes, distances: bytes, text: bool, metadata: bool) -> Any:
        return super().hits(records, scores, distances, True, metadata)


WRONG = [
    TakesBooleans, CutsLongLists, TakesOtherArrays, NeverLooksClosely, ForgetsTheLength, ReadsLoosely, ReadsIntoFloat32,
    SumsByAProduct, KeepsWhatIsNamedTwice, ForgetsTheBitmap, OrdersTiesByTheLast, KeepsAll, AnswersInNumpysNumbers, CutsAtTheFirstMark, WritesBlanks, ShowsAll,
]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_one_that_changes_answers_is_not_used(wrong: type[Honest], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        assert isinstance(accelerator_of(offering(wrong)), Unaccelerated)
    assert "changes answers" in caplog.text
    assert "'brute'" in caplog.text


def test_one_that_fails_is_not_used(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> Accelerator:
        raise OSError("no such library")

    class Breaks(Honest):
        def nearest(self, *given: Any) -> Any:
            return OWN.nearest(*given[:-1], math.nan)

    for make in (broken, Breaks, lambda: None):
        caplog.clear()
        with caplog.at_level(logging.ERROR):
            assert isinstance(accelerator_of(offering(make)), Unaccelerated)
        assert "failed, and is not used" in caplog.text


def test_one_that_changes_nothing_is_used() -> None:
    assert wrong_with(Honest()) is None
    assert isinstance(accelerator_of(offering(Honest)), Honest)
    assert isinstance(accelerator_of(offering(None)), Unaccelerated)
    assert isinstance(accelerator_of(None), Unaccelerated)


@pytest.mark.parametrize("way", ["text", "mapping"])
def test_a_query_goes_through_it(opener: Callable[..., Services], way: str) -> None:
    asked: list[str] = []

    class Counting(Honest):
        def __getattribute__(self, name: str) -> Any:
            asked.append(name)
            return super().__getattribute__(name)

    services = opener()
    services.libraries.create({"id": "lib", "name": "lib"}).result()
    rows = [{"id": f"c{n}", "text": "x", "embedding": [n + 1.0, 2.0, 3.0]} for n in range(5)]
    services.libraries.upsert_chunks("lib", rows).result()
    query = {"embedding": [1.0, 2.0, 3.0], "k": 2}

    def ask() -> bytes:
        if way == "mapping":
            answer = services.queries.search("lib", query)
        else:
            answer = services.queries.search_text("lib", orjson.dumps(query), orjson.loads)
        return orjson.dumps(orjson.loads(answer.to_json())["hits"])

    expected = [ask(), ask()]
    services.queries._engine.kernel.accelerator = Counting()
    assert ask() == expected[0] == expected[1]
    assert asked == ["read_row" if way == "text" else "query_row", "nearest", "hits"]
