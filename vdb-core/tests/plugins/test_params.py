"""Parameters: what is unknown or unusable is refused with a pointer and the names that exist."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict, Field

from vdb_core.errors import ValidationFailed
from vdb_core.plugins import NoParams, params_schema, validate_params


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    depth: int = 3


class Params(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    n_lists: int | Literal["auto"] = Field("auto", description="How many lists.")
    n_bits: int = Field(8, ge=1, le=8)
    ratio: float = 0.5
    on: bool = False
    inner: Inner = Inner()
    sizes: tuple[int, ...] = ()
    odd_name: int = Field(1, alias="odd/name")


def faults(value: object) -> dict[str, str]:
    with pytest.raises(ValidationFailed) as caught:
        validate_params(Params, value, "/index/params")
    return {fault.pointer: fault.detail for fault in caught.value.faults}


def test_what_is_missing_has_its_default_and_an_instance_passes() -> None:
    made = validate_params(Params, {"n_bits": 4, "ratio": 1, "sizes": [1, 2], "inner": {"depth": 1}}, "")
    assert (made.n_lists, made.n_bits, made.ratio, made.sizes, made.inner.depth) == (
        "auto",
        4,
        1.0,
        (1, 2),
        1,
    )
    assert validate_params(Params, made, "") is made
    assert validate_params(Params, {}, "") == Params()
    assert validate_params(Params, {"n_bits": np.int64(4), "ratio": np.float32(0.5)}, "").n_bits == 4


def test_an_unknown_parameter_is_answered_with_the_known_ones() -> None:
    assert faults({"n_list": 5, "inner": {"dept": 1}}) == {
        "/index/params/n_list": "no parameter named 'n_list'. Did you mean 'n_lists'? "
        "Available: inner, n_bits, n_lists, odd/name, on, ratio, sizes",
        "/index/params/inner/dept": "there is no such field",
    }
    with pytest.raises(ValidationFailed, match="there are no parameters here"):
        validate_params(NoParams, {"x": 1}, "")


def test_every_unusable_value_is_told_with_its_pointer() -> None:
    found = faults(
        {
            "n_lists": 1.5,
            "n_bits": 9,
            "ratio": "0.5",
            "on": 1,
            "inner": [],
            "sizes": [1, "2"],
            "odd/name": None,
        }
    )
    assert set(found) == {
        "/index/params/n_lists",
        "/index/params/n_bits",
        "/index/params/ratio",
        "/index/params/on",
        "/index/params/inner",
        "/index/params/sizes/1",
        "/index/params/odd~1name",
    }
    assert found["/index/params/n_bits"] == "input should be less than or equal to 8; received 9"
    assert ", or: " in found["/index/params/n_lists"]


@pytest.mark.parametrize("value", [None, [], "text", 7])
def test_parameters_are_an_object(value: object) -> None:
    assert set(faults(value)) == {"/index/params"}


@pytest.mark.parametrize("value", [{"n_bits": object()}, {1: 2}, {"n_bits": 2**70}, {"\ud800": 1}])
def test_what_is_not_json_is_refused(value: object) -> None:
    assert set(faults(value)) == {"/index/params"}


def test_nan_is_not_taken_for_a_number() -> None:
    assert set(faults({"ratio": math.nan})) == {"/index/params/ratio"}


def test_the_schema_describes_every_field() -> None:
    schema = params_schema(Params)
    assert schema["properties"]["n_lists"]["description"] == "How many lists."  # type: ignore[index]
    assert schema["additionalProperties"] is False
