"""Tests of an index type with arguments at their bounds and beyond: refused in words, or answered as ever."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import pytest

from vdb_core.errors import ValidationFailed
from vdb_core.indexes import NO_SLOT, bitmap
from vdb_core.plugins import params_schema, validate_params
from vdb_core.testing import answers
from vdb_core.testing.claims import claim
from vdb_core.testing.index_suite import IndexSuite
from vdb_core.testing.problems import make_problem
from vdb_core.testing.workshop import Workshop

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic import BaseModel

    from vdb_core.indexes import Metric
    from vdb_core.plugins import IndexType

__all__ = ["IndexArguments"]


class IndexArguments(IndexSuite):
    """The part of the suite that is not polite."""

    @pytest.mark.parametrize("which", ["params", "search_params"])
    def test_unknown_parameters_are_refused(self, which: str) -> None:
        """A parameter that does not exist is refused by its name, never ignored."""
        with pytest.raises(ValidationFailed, match="no_such_parameter"):
            _ = validate_params(_model(self.index_type, which), {"no_such_parameter": 1}, "")

    @pytest.mark.parametrize("which", ["params", "search_params"])
    def test_values_of_another_type_are_refused(self, which: str) -> None:
        """A value of another JSON type than the parameter's is refused with the parameter's name."""
        model = _model(self.index_type, which)
        others = {"object": {"a": [1]}, "array": [[]], "string": "no such value", "number": 7.5}
        for name, options in _options(model):
            types = {cast("str", option.get("type", "?")) for option in options}
            # A parameter without a type, or of a model of its own, is left to its own tests.
            for kind in () if "?" in types else others.keys() - types:
                with pytest.raises(ValidationFailed) as refused:
                    _ = validate_params(model, {name: others[kind]}, "")
                assert name in str(refused.value), (
                    f"{which}: the refusal of {others[kind]!r} does not name {name!r}"
                )

    def test_build_parameters_at_their_bounds(self, one_metric: Metric) -> None:
        """Whatever the model of build parameters lets through can be built with, or is refused with ValidationFailed."""
        problem = make_problem("seven_dimensions", one_metric)
        for given in _bounds(self.index_type.params):
            try:
                made = Workshop(self.index_type, {**self.params, **given})
                index = made.build(problem.rows, one_metric)
            except ValidationFailed:
                continue
            _check_answer(
                index.search(problem.queries, 5), len(problem.queries), 5, len(problem.rows), str(given)
            )
            index.close()

    def test_search_parameters_at_their_bounds(self, workshop: Workshop, one_metric: Metric) -> None:
        """Whatever the model of search parameters lets through can be searched with, or is refused with ValidationFailed."""
        for name in ("seven_dimensions", "one_row", "no_rows"):
            problem, index = workshop.kept(name, one_metric)
            for given in _bounds(self.index_type.search_params):
                try:
                    params = validate_params(self.index_type.search_params, given, "")
                    answer = index.search(problem.queries, 5, params=params)
                except ValidationFailed:
                    continue
                _check_answer(answer, len(problem.queries), 5, len(problem.rows), f"{name}, {given}")

    def test_queries_that_break_the_contract_do_no_harm(self, workshop: Workshop, one_metric: Metric) -> None:
        """Queries of a wrong shape, type or order, or without a number, raise or are answered; the next ones are as ever."""
        problem = make_problem("normal", one_metric)
        index = workshop.build(problem.rows, one_metric)
        before = index.search(problem.queries, 5)[0].tolist()
        queries = problem.queries
        odd: dict[str, object] = {
            "a dimension too few": np.ascontiguousarray(queries[:, :-1]),
            "a dimension too many": np.column_stack((queries, queries[:, :1])),
            "one dimension": queries[0],
            "float64": queries.astype(np.float64),
            "turned": np.asfortranarray(queries),
            "every other number": np.repeat(queries, 2, axis=1)[:, ::2],
            "NaN": np.full_like(queries, np.nan),
            "infinity": np.full_like(queries, np.inf),
            "no array": None,
        }
        for what, given in odd.items():
            try:
                with np.errstate(all="ignore"):
                    answer = index.search(given, 5)  # pyright: ignore[reportArgumentType] - that is the point
                slots: list[int] = np.asarray(answer[0]).ravel().tolist()
            except Exception:  # noqa: BLE001, S112 - any exception is an answer; a crash or a hang is none
                continue
            strays = [slot for slot in slots if slot != int(NO_SLOT) and not 0 <= slot < len(problem.rows)]
            assert not strays, (
                f"queries: {what}: received slot {strays[0]} of {len(problem.rows)} rows; expected rows, or a ValueError"
            )
        after = index.search(problem.queries, 5)[0].tolist()
        index.close()
        assert after == before, "after queries that break the contract the same search gives other hits"

    @claim("native_filter")
    def test_bitmaps_that_break_the_contract_do_no_harm(self, workshop: Workshop, one_metric: Metric) -> None:
        """An index that claims native_filter refuses bits beyond the last row, or too few words, or takes no harm from them."""
        problem, index = workshop.kept("seven_dimensions", one_metric)
        rows = len(problem.rows)
        whole = bitmap.full(rows)
        beyond = whole.copy()
        beyond[-1] = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
        odd = {
            "bits beyond the end": beyond,
            "nothing but bits beyond the end": beyond & ~whole,
            "a word too many": np.append(whole, np.uint64(0xFFFF_FFFF_FFFF_FFFF)),
            "a word too few": whole[:-1].copy(),
            "no words": whole[:0].copy(),
        }
        for what, words in odd.items():
            for k in (5, rows + 70):
                try:
                    answer = index.search(problem.queries, k, allowed=words)
                except Exception:  # noqa: BLE001, S112 - any exception is an answer; a crash or a hang is none
                    continue
                answers.check_slots(answer, rows, f"allowed: {what}, k {k}")


def _model(kind: IndexType, which: str) -> type[BaseModel]:
    return kind.params if which == "params" else kind.search_params


def _bounds(model: type[BaseModel]) -> Iterator[dict[str, object]]:
    """Parameters, one at a time, at the ends of what their schema lets through, and at each value of a choice."""
    for name, options in _options(model):
        for option in options:
            values = list(cast("list[object]", option.get("enum", [])))
            if "const" in option:
                values.append(option["const"])
            if option.get("type") == "boolean":
                values += [False, True]
            if option.get("type") in {"integer", "number"}:
                values += [option[bound] for bound in ("minimum", "maximum") if bound in option]
                if "exclusiveMinimum" not in option and "minimum" not in option:
                    values.append(-1)
                if "exclusiveMaximum" not in option and "maximum" not in option:
                    values.append(1_000_000)
            yield from ({name: value} for value in values)


def _options(model: type[BaseModel]) -> Iterator[tuple[str, list[dict[str, object]]]]:
    """Parameters with the schemas that a value may meet, more than one where it may be left out."""
    properties = cast("Mapping[str, dict[str, object]]", params_schema(model).get("properties", {}))
    for name, schema in properties.items():
        yield name, cast("list[dict[str, object]]", schema.get("anyOf", [schema]))


def _check_answer(answer: answers.Answer, queries: int, k: int, rows: int, case: str) -> None:
    answers.check_shape(answer, queries, k, case)
    answers.check_slots(answer, rows, case)
    answers.check_padding(answer, case)
    answers.check_order(answer, case)
