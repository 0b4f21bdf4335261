"""Bodies of rows: parsed with the embeddings cut out, they come out as the plain way makes them, whatever they hold."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vdb_core.domain import to_matrix
from vdb_core.errors import VdbError
from vdb_server.errors import HttpProblem
from vdb_server.wire import embeddings
from vdb_server.wire.embeddings import parse_rows
from vdb_server.wire.json_body import parse_object

HOSTILE = st.sampled_from(
    [
        '"embedding":[1,2]',
        '\\"embedding":[',
        "embedding",
        "]",
        "[",
        '"',
        "\\",
        "true",
        '","embedding":[0,0],"',
    ]
)
strings = st.lists(st.text(max_size=4) | HOSTILE, max_size=3).map("".join)
numbers = st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
odd = st.sampled_from([True, False, None, "1", [1.0], {}, 10**30])
vectors = st.lists(numbers, min_size=3, max_size=3)
values = st.recursive(
    st.none() | st.booleans() | numbers | strings,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(strings | st.just("embedding"), inner, max_size=3)
    ),
    max_leaves=5,
)
rows = st.fixed_dictionaries(
    {},
    optional={
        "id": strings,
        "text": strings,
        "embedding": vectors | st.lists(numbers | odd, max_size=4) | strings | st.none(),
        "metadata": st.dictionaries(strings | st.just("embedding"), values, max_size=3),
        "other": vectors,
    },
)
bodies = st.fixed_dictionaries(
    {}, optional={"chunks": st.lists(rows, max_size=5) | values, "embedding": vectors, "x": values}
)


def plainly(value: Any) -> Any:
    """The value with every array of an embedding as a list again."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {key: plainly(item) for key, item in value.items()}
    return [plainly(item) for item in value] if isinstance(value, list) else value


def rounded(body: Any) -> Any:
    """The value with embeddings as ``to_matrix`` makes them, where it does."""
    chunks = body.get("chunks")
    for row in chunks if isinstance(chunks, list) else ():
        if isinstance(row, dict) and isinstance(row.get("embedding"), list):
            matrix, _ = to_matrix([row["embedding"]], lambda _: "", max_dimension=9)
            if matrix is not None and matrix.size:
                row["embedding"] = matrix[0].tolist()
    return body


def outcome(parse: Any, raw: bytes) -> tuple[Any, str | None]:
    """What a parser makes of a body, in comparable form, or how it refuses it."""
    try:
        return rounded(plainly(parse(raw, max_depth=32))), None
    except (VdbError, HttpProblem) as error:
        return None, f"{type(error).__name__}: {error}"


@pytest.fixture(autouse=True)
def every_body_is_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings, "_WORTH_BYTES", 0)


@given(bodies, st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t : \r\n")]), st.booleans())
def test_both_ways_come_out_the_same(
    body: dict[str, Any], separators: tuple[str, str], ascii_only: bool
) -> None:
    raw = json.dumps(body, separators=separators, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    expected, refusal = outcome(parse_object, raw)
    made, refused = outcome(parse_rows, raw)
    assert refused == refusal
    assert made == expected


def test_plain_rows_are_cut_out() -> None:
    body = {
        "chunks": [{"id": str(n), "embedding": [n + 0.1, 1, 0]} for n in range(4)]
        + [{"id": "t", "text": "x"}]
    }
    for raw in (orjson.dumps(body), json.dumps(body, indent=1).encode()):
        made = parse_rows(raw, max_depth=32)["chunks"]
        assert isinstance(made, list)
        assert all(
            isinstance(row["embedding"], np.ndarray) and row["embedding"].dtype == np.float32
            for row in made[:4]
        )
        assert made[2]["embedding"].tolist() == np.float32([2.1, 1, 0]).tolist()
        assert made[4] == {"id": "t", "text": "x"}
    shallow = parse_rows(orjson.dumps(body), max_depth=4)["chunks"]
    assert isinstance(shallow, list)
    assert shallow[0]["embedding"] == [0.1, 1, 0]


@pytest.mark.parametrize(
    "raw",
    [
        b'{"chunks":[{"embedding":[1,2],"embedding":[3,4]}]}',
        b'{"chunks":[{"embedding":[1,2],"metadata":{"embedding":[3,4]}}]}',
        b'{"chunks":[{"embedding":[1,2]},{"embedding":[1,2,3]}]}',
        b'{"chunks":[{"embedding":[true,2]}]}',
        b'{"chunks":[{"embedding":[[1],2]}]}',
        b'{"chunks":[{"embedding":[]}]}',
        b'{"chunks":[{"embedding":[1e400]}]}',
        b'{"chunks":[{"a\\"embedding":[1,2]}]}',
    ],
)
def test_what_is_not_plain_goes_the_plain_way(raw: bytes) -> None:
    assert outcome(parse_rows, raw) == outcome(parse_object, raw)
    if outcome(parse_rows, raw)[1] is None:
        assert parse_rows(raw, max_depth=32) == parse_object(raw, max_depth=32)


@pytest.mark.parametrize(
    "raw", [b'{"chunks":[{"embedding"', b'{"embedding" :', b'{"chunks":[{"embedding":[1,2']
)
def test_a_body_that_ends_early_is_refused_as_ever(raw: bytes) -> None:
    with pytest.raises(HttpProblem, match="not JSON"):
        parse_rows(raw, max_depth=32)
