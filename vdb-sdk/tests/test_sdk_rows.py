from __future__ import annotations

import base64
import datetime
import email.parser
import email.policy
import io
import json
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vdb_sdk import _rows
from vdb_sdk._rows import Batch, Totals, UpsertPlan, plan_upsert
from vdb_sdk._transport import Repeat, Request
from vdb_sdk.errors import Fault, InvalidArgument, Problem, UnexpectedResponse, ValidationError
from vdb_sdk.models import Chunk, UpsertResult


def plan(rows: object = None, **arguments: Any) -> UpsertPlan:
    names = ("ids", "embeddings", "texts", "document_ids", "metadatas", "columns", "batch_size")
    return plan_upsert(
        "lib",
        rows,
        create_documents=arguments.pop("create_documents", False),
        **{name: arguments.pop(name, None) for name in names},
        **arguments,
    )


def sent(request: Request) -> list[dict[str, Any]]:
    """The rows of a request as a server sees them, embeddings as lists."""
    if request.target.endswith("/upsert"):
        rows = json.loads(request.body)["chunks"]
        for row in rows:
            if "embedding_b64" in row:
                row["embedding"] = np.frombuffer(base64.b64decode(row.pop("embedding_b64")), "<f4").tolist()
        return rows
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + request.body)
    vectors, chunks = (part.get_payload(decode=True) for part in message.iter_parts())
    rows = [json.loads(line) for line in chunks.splitlines()]
    matrix = np.load(io.BytesIO(vectors), allow_pickle=False)
    assert len(rows) == len(matrix)
    return [{**row, "embedding": vector.tolist()} for row, vector in zip(rows, matrix, strict=True)]


def rows_of(planned: UpsertPlan) -> list[dict[str, Any]]:
    batches = list(planned.batches)
    total = 0
    for batch in batches:
        assert batch.first == total
        assert batch.rows == len(sent(batch.request))
        total += batch.rows
    assert planned.total in {None, total}
    return [row for batch in batches for row in sent(batch.request)]


ROWS = [
    {
        "id": "a",
        "embedding": [1.0, 2.0],
        "text": "alpha",
        "document_id": "d",
        "metadata": {"n": 1, "tags": ["x"]},
    },
    {
        "id": "b",
        "embedding": [3.0, 4.0],
        "text": "bravo",
        "document_id": "e",
        "metadata": {"n": 2, "tags": ["y"]},
    },
    {
        "id": "c",
        "embedding": [5.0, 6.0],
        "text": "charlie",
        "document_id": "d",
        "metadata": {"n": 3, "tags": []},
    },
]


@settings(deadline=None)
@given(count=st.integers(0, 40), size=st.integers(1, 12), as_columns=st.booleans())
def test_batches_hold_every_row_once_in_order(count: int, size: int, as_columns: bool) -> None:
    matrix = np.arange(count * 2, dtype=np.float32).reshape(count, 2)
    ids = [f"id{number}" for number in range(count)]
    if as_columns:
        planned = plan(ids=ids, embeddings=matrix, batch_size=size)
    else:
        rows = [{"id": name, "embedding": row} for name, row in zip(ids, matrix, strict=True)]
        planned = plan(rows, batch_size=size)
    result = rows_of(planned)
    assert [row["id"] for row in result] == ids
    assert [row["embedding"] for row in result] == matrix.tolist()


@settings(deadline=None)
@given(lengths=st.lists(st.integers(0, 400), min_size=1, max_size=40), limit=st.integers(50, 900))
def test_a_batch_ends_before_it_grows_too_large(lengths: list[int], limit: int) -> None:
    rows = [{"id": str(number), "text": "x" * length} for number, length in enumerate(lengths)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(_rows, "_MAX_BYTES", limit)
        batches = list(plan(rows).batches)
        columns = list(plan(ids=[row["id"] for row in rows], texts=[row["text"] for row in rows]).batches)
    assert [batch.request.body for batch in columns] == [batch.request.body for batch in batches]
    assert sum(batch.rows for batch in batches) == len(rows)
    for batch in batches:
        assert batch.rows == 1 or len(batch.request.body) <= limit + len(b'{"chunks":[]}')


def test_a_batch_of_json_never_has_more_rows_than_a_server_takes() -> None:
    rows = [{"id": str(number), "text": "t"} for number in range(10_001)]
    assert [batch.rows for batch in plan(rows, batch_size=50_000).batches] == [10_000, 1]
    texts = ["t"] * 10_001
    assert [batch.rows for batch in plan(texts=texts, batch_size=50_000).batches] == [10_000, 1]
    matrix = np.ones((10_001, 1))
    assert [batch.rows for batch in plan(embeddings=matrix, batch_size=50_000).batches] == [10_001]


def test_an_array_travels_as_npy_and_rows_as_base64() -> None:
    (batch,) = plan(ids=["a"], embeddings=np.ones((1, 2))).batches
    assert batch.request.target == "/v1/libraries/lib/chunks/bulk"
    (batch,) = plan([{"id": "a", "embedding": [1.0, 1.0]}]).batches
    assert batch.request.target == "/v1/libraries/lib/chunks/upsert"


def test_rows_may_be_dicts_or_chunks_from_any_iterable() -> None:
    chunks = [Chunk(**{**row, "embedding": np.array(row["embedding"], np.float32)}) for row in ROWS]
    generated = plan(row for row in ROWS)
    assert generated.total is None
    assert (
        rows_of(generated)
        == rows_of(plan(ROWS))
        == rows_of(plan(chunks))
        == rows_of(plan(tuple(ROWS)))
        == ROWS
    )


def test_columns_may_be_lists_arrays_or_series() -> None:
    ids = ["a", "b"]
    expected = rows_of(plan(ids=ids, embeddings=[[1.0, 2.0], [3.0, 4.0]], texts=["x", None]))
    assert expected == [
        {"id": "a", "embedding": [1.0, 2.0], "text": "x"},
        {"id": "b", "embedding": [3.0, 4.0]},
    ]
    for variant in (np.array(ids), pd.Series(ids), pl.Series(ids), pa.array(ids), iter(ids)):
        planned = plan(ids=variant, embeddings=np.array([[1, 2], [3, 4]]), texts=["x", None])
        assert rows_of(planned) == expected


def frames(table: pa.Table) -> list[Any]:
    return [
        table,
        table.combine_chunks().to_batches()[0],
        pl.from_arrow(table),
        pd.DataFrame(table.to_pylist()),
    ]


@pytest.mark.parametrize(
    "embeddings", [pa.list_(pa.float32()), pa.list_(pa.float64(), 2), pa.large_list(pa.float32())]
)
def test_tables_of_each_kind_say_the_same(embeddings: pa.DataType) -> None:
    flat = [{**{k: v for k, v in row.items() if k != "metadata"}, **row["metadata"]} for row in ROWS]
    table = pa.Table.from_pylist(flat)
    table = table.set_column(1, "embedding", table.column("embedding").cast(embeddings))
    for frame in frames(table):
        assert rows_of(plan(frame, batch_size=2)) == ROWS, type(frame)
        assert next(plan(frame).batches).request.target.endswith("/bulk")


def test_a_table_that_speaks_arrow_is_read_through_it() -> None:
    class Relation:
        def __arrow_c_stream__(self, requested_schema: object = None) -> object:
            table = pa.table({"id": ["a"], "embedding": [[1.0, 2.0]], "n": [1]})
            return table.__arrow_c_stream__(requested_schema)

    assert rows_of(plan(Relation())) == [{"id": "a", "embedding": [1.0, 2.0], "metadata": {"n": 1}}]


def test_missing_values_of_a_table_leave_their_keys_out() -> None:
    day = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
    table = pa.table(
        {
            "embedding": [[1.0], [2.0]],
            "id": ["a", None],
            "text": [None, "t"],
            "number": [None, 2.5],
            "when": [day, None],
            "flag": [None, True],
            "metadata": [{"x": 1, "y": None}, None],
        }
    )
    expected = [
        {"id": "a", "embedding": [1.0], "metadata": {"x": 1, "when": "2026-01-02T00:00:00Z"}},
        {"embedding": [2.0], "text": "t", "metadata": {"number": 2.5, "flag": True}},
    ]
    for frame in frames(table):
        assert rows_of(plan(frame)) == expected, type(frame)


def test_the_matrix_of_a_pandas_frame_may_hold_arrays_and_nan_is_a_missing_value() -> None:
    frame = pd.DataFrame({"id": ["a", "b"], "vector": list(np.ones((2, 3), np.float32)), "x": [1.5, np.nan]})
    assert rows_of(plan(frame, columns={"embedding": "vector"})) == [
        {"id": "a", "embedding": [1.0, 1.0, 1.0], "metadata": {"x": 1.5}},
        {"id": "b", "embedding": [1.0, 1.0, 1.0], "metadata": {}},
    ]


def test_a_slice_of_an_arrow_table_is_that_slice() -> None:
    for kind in (pa.list_(pa.float32()), pa.list_(pa.float32(), 1)):
        column = pa.array([[float(number)] for number in range(10)], type=kind)
        table = pa.table({"embedding": column}).slice(3, 4)
        assert [row["embedding"] for row in rows_of(plan(table, batch_size=3))] == [
            [3.0],
            [4.0],
            [5.0],
            [6.0],
        ]


@pytest.mark.parametrize(
    ("table", "arguments", "words"),
    [
        ({"id": ["a"], "vector": [[1.0]]}, {}, "columns={'embedding'"),
        ({"embedding": [[1.0]]}, {"columns": {"embedding": "nope"}}, "which the table has not"),
        ({"embedding": [[1.0]]}, {"columns": {"vector": "embedding"}}, "no field named 'vector'"),
        ({"embedding": [[1.0]], "id": [7]}, {}, "row 0: expected a string, received int 7"),
        ({"embedding": [[1.0], [2.0]], "metadata": ["x", "y"]}, {}, "row 0: expected an object"),
        ({"embedding": [[1.0], None]}, {}, "row 1 has no embedding"),
        ({"embedding": [[1.0], [2.0, 3.0]]}, {}, "row 0 has 1 numbers, row 1 has 2"),
        ({"embedding": ["x", "y"]}, {}, "dtype"),
    ],
)
def test_tables_that_cannot_be_read_say_why(
    table: dict[str, Any], arguments: dict[str, Any], words: str
) -> None:
    for frame in frames(pa.table(table)):
        with pytest.raises(InvalidArgument) as caught:
            list(plan(frame, **arguments).batches)
        assert words in str(caught.value), type(frame)


def test_a_table_of_another_kind_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="collect"):
        plan(pl.LazyFrame({"embedding": [[1.0]]}))
    with pytest.raises(InvalidArgument, match="DataFrame"):
        plan(pd.Series([1.0]))
    with pytest.raises(InvalidArgument, match="named by strings"):
        plan(pd.DataFrame([[1.0]]))
    with pytest.raises(InvalidArgument, match="two columns"):
        list(plan(pd.DataFrame([[[1.0], 2, 3]], columns=["embedding", "a", "a"])).batches)


@pytest.mark.parametrize(
    ("rows", "arguments", "words"),
    [
        (None, {}, "expected rows"),
        (None, {"ids": ["a"]}, "expected rows"),
        (ROWS, {"ids": ["a"]}, "either rows or columns"),
        (None, {"ids": ["a", "b"], "embeddings": [[1.0]]}, "embeddings has 1 rows, ids has 2"),
        (None, {"texts": ["a"], "metadatas": []}, "texts has 1 rows, metadatas has 0"),
        (None, {"ids": "abc", "embeddings": [[1.0]]}, "expected a list with one value a row, received str"),
        (np.ones((2, 2)), {}, "embeddings=array"),
        ({"id": "a"}, {}, "write [row]"),
        ("text", {}, "received str"),
        (7, {}, "received int"),
        (ROWS, {"batch_size": 0}, "batch_size"),
        (ROWS, {"columns": {"id": "x"}}, "for tables"),
        (None, {"columns": {"id": "x"}, "embeddings": [[1.0]]}, "no table"),
        (None, {"embeddings": [[1.0], [1.0, 2.0]]}, "row 0 has 1 numbers, row 1 has 2"),
    ],
)
def test_arguments_that_make_no_sense_say_why(rows: object, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        plan(rows, **arguments)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("text", "row 1: expected a dict or a Chunk"),
        ({"embedding": [[1.0]]}, "row 1/embedding"),
        ({"embedding": [1.0], "metadata": {"x": float("nan")}}, "row 1/metadata/x"),
        ({"embedding": [1.0], "metadata": {"x": {1}}}, "row 1: cannot be sent as JSON"),
        ({"id": "\ud800", "embedding": [1.0]}, "row 1: cannot be sent as JSON"),
    ],
)
def test_a_row_that_cannot_be_sent_is_named(row: object, words: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        list(plan([{"embedding": [1.0]}, row]).batches)
    assert words in str(caught.value)


@pytest.mark.parametrize("as_columns", [False, True])
def test_only_rows_under_explicit_ids_may_be_sent_twice(as_columns: bool) -> None:
    def repeats(ids: list[str | None]) -> list[Repeat]:
        planned = (
            plan(ids=ids, embeddings=np.ones((len(ids), 1)), batch_size=2)
            if as_columns
            else plan([{"id": name, "embedding": [1.0]} for name in ids], batch_size=2)
        )
        return [batch.request.repeat for batch in planned.batches]

    expected = [Repeat.ALWAYS, Repeat.UNSENT, Repeat.UNSENT, Repeat.ALWAYS]
    assert repeats(["a", "b", "c", None, None, "d", "e"]) == expected


def test_documents_are_made_where_asked_for() -> None:
    (upsert,) = plan([{"text": "t"}], create_documents=True).batches
    assert json.loads(upsert.request.body)["create_documents"] is True
    (bulk,) = plan(embeddings=[[1.0]], create_documents=True).batches
    assert bulk.request.target.endswith("?create_documents=true")


def test_an_error_counts_rows_over_all_batches_and_says_what_was_acknowledged() -> None:
    request = Request(method="POST", target="/v1/libraries/lib/chunks/upsert")
    totals = Totals()
    answer = UpsertResult(created=1, updated=1, ids=["a", "b"], revision=5)
    totals.add(Batch(first=0, rows=2, request=request), answer)
    faults = (Fault("/chunks/1/embedding", "NaN"), Fault("/create_documents", "no bool"))
    problem = Problem(
        status=422, code="validation_failed", detail="old", method="POST", target="/", errors=faults
    )
    error = totals.failure(ValidationError(problem), 2)
    assert isinstance(error, ValidationError)
    assert [fault.pointer for fault in error.errors] == ["/chunks/3/embedding", "/create_documents"]
    assert "/chunks/3/embedding: NaN (and 1 more)" in str(error)
    assert error.acknowledged == UpsertResult(created=1, updated=1, ids=("a", "b"), revision=5)
    assert "2 rows in 1 batches" in error.__notes__[0]


def test_an_answer_with_too_few_ids_is_no_answer() -> None:
    request = Request(method="POST", target="/")
    answer = UpsertResult(created=1, updated=0, ids=["a"], revision=5)
    with pytest.raises(UnexpectedResponse, match="1 ids for 2 rows"):
        Totals().add(Batch(first=0, rows=2, request=request), answer)


def test_texts_travel_in_small_batches() -> None:
    """A server has to embed them before it answers."""
    texts = [f"text {number}" for number in range(600)]
    for planned in (plan(texts=texts), plan([{"text": text} for text in texts])):
        assert [batch.rows for batch in planned.batches] == [256, 256, 88]
    assert [batch.rows for batch in plan(texts=texts, batch_size=500).batches] == [500, 100]
    with_both = [{"text": text, "embedding": [1.0]} for text in texts]
    assert [batch.rows for batch in plan(with_both).batches] == [600]


def test_warnings_count_rows_over_all_batches() -> None:
    totals = Totals()
    for batch in plan([{"id": str(n), "text": "t"} for n in range(3)], batch_size=2).batches:
        warnings = ("/chunks/0/text: too long", "3 more texts are too long")
        answer = UpsertResult(created=0, updated=0, ids=["x"] * batch.rows, revision=1, warnings=warnings)
        totals.add(batch, answer)
    told = ("/chunks/0/text: too long", "3 more texts are too long")
    assert totals.result().warnings == (*told, "/chunks/2/text: too long", told[1])
