"""The kernel of exact searches asks for an index that is worth making for a few queries."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict

from vdb_core.engine.exact import ExactKernel
from vdb_core.engine.unaccelerated import Unaccelerated
from vdb_core.indexes import NumpyExactIndex
from vdb_core.plugins import Capabilities, IndexType


class Coded(BaseModel):
    model_config = ConfigDict(extra="forbid")

    codes: bool = True


class Plain(BaseModel):
    model_config = ConfigDict(extra="forbid")


@pytest.mark.parametrize(("params", "asked"), [(Coded, {"codes": False}), (Plain, {})])
def test_no_codes_are_made_for_a_base_under_another_index(
    params: type[BaseModel], asked: dict[str, bool]
) -> None:
    received: list[BaseModel] = []

    def build(vectors: Any, *, metric: Any, params: BaseModel, **_: Any) -> Any:
        received.append(params)
        return NumpyExactIndex(vectors, metric=metric)

    kind = IndexType(
        name="brute",
        summary="Exact.",
        build=cast("Any", build),
        load=cast("Any", build),
        params=params,
        capabilities=Capabilities(exact=True, native_filter=True),
    )
    kernel = ExactKernel(cast("Any", SimpleNamespace(index_types={"brute": kind})), threads=1)
    index = kernel.builder("l2")(np.eye(3, dtype=np.float32))
    assert index.search(np.eye(3, dtype=np.float32)[:1], 1)[0].tolist() == [[0]]
    assert [one.model_dump() for one in received] == [asked]


def test_the_accelerator_is_that_of_the_type_that_serves() -> None:
    def build(vectors: Any, *, metric: Any, **_: Any) -> Any:
        return NumpyExactIndex(vectors, metric=metric)

    own = Unaccelerated()
    capabilities = Capabilities(exact=True, native_filter=True)
    kind = IndexType(
        name="brute",
        summary="Exact.",
        build=cast("Any", build),
        load=cast("Any", build),
        capabilities=capabilities,
        accelerator=lambda: own,
    )
    kernel = ExactKernel(cast("Any", SimpleNamespace(index_types={"brute": kind})), threads=1)
    assert kernel.accelerator is own
    # One that is not exact serves no exact searches, and no other is asked.
    for types in ({}, {"other": kind}, {"brute": replace(kind, capabilities=Capabilities())}):
        kernel = ExactKernel(cast("Any", SimpleNamespace(index_types=types)), threads=1)
        assert kernel.accelerator is not own
