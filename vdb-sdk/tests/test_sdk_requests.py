from __future__ import annotations

import base64
import datetime
import email.parser
import email.policy
import io
import json
import time
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vdb_sdk import _chunk_requests, _request_parts, _requests
from vdb_sdk._transport import Repeat
from vdb_sdk.errors import InvalidArgument
from vdb_sdk.models import IndexSpec

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=256)
SAFE = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~%")


@settings(deadline=None)
@given(TEXT)
def test_any_id_is_one_segment_that_reads_back_as_itself(value: str) -> None:
    encoded = _request_parts.segment(value, "id")
    assert unquote(encoded) == value
    assert set(encoded) <= SAFE
    assert encoded not in {"", ".", ".."}


@pytest.mark.parametrize("value", ["", "\ud800", 7, None, b"bytes"])
def test_what_is_no_id_is_refused_before_it_is_sent(value: object) -> None:
    with pytest.raises(InvalidArgument, match="chunk_id"):
        _request_parts.segment(value, "chunk_id")


def test_a_search_carries_its_embedding_as_little_endian_float32() -> None:
    options = _chunk_requests.search_options(
        k=3, filter={"a": 1}, params=None, include=("text",), min_score=0.5, explain=True
    )
    request = _chunk_requests.search("lib", embedding=[1, 2.5, -3], text=None, options=options)
    body = json.loads(request.body)
    vector = np.frombuffer(base64.b64decode(body.pop("embedding_b64")), dtype="<f4")
    assert vector.tolist() == [1.0, 2.5, -3.0]
    assert body == {"k": 3, "filter": {"a": 1}, "include": ["text"], "min_score": 0.5, "explain": True}
    assert request.target == "/v1/libraries/lib/search"


@pytest.mark.parametrize(("embedding", "text"), [("words", None), (None, "words")])
def test_a_search_may_be_a_text(embedding: str | None, text: str | None) -> None:
    request = _chunk_requests.search("lib", embedding=embedding, text=text, options={"k": 3})
    assert json.loads(request.body) == {"text": "words", "k": 3}


def test_many_texts_travel_as_queries() -> None:
    options = _chunk_requests.search_options(
        k=2, filter=None, params=None, include=(), min_score=None, explain=False
    )
    requests = list(_chunk_requests.search_batches("lib", ["a", "b", "c"], options, size=2))
    assert [[query["text"] for query in json.loads(one.body)["queries"]] for one in requests] == [
        ["a", "b"],
        ["c"],
    ]
    with pytest.raises(InvalidArgument, match="one string"):
        list(_chunk_requests.search_batches("lib", "a", options, size=2))


def test_a_library_is_created_and_changed_with_its_embedder() -> None:
    made = _requests.create_library(
        name="a", library_id=None, metric="l2", dimension=None, index="brute", metadata=None, embedder="words"
    )
    assert json.loads(made.body)["embedder"] == "words"
    unset = _request_parts.UNSET
    changed = _requests.patch_library("a", name=unset, metadata=unset, embedder="words", if_match=None)
    assert json.loads(changed.body) == {"embedder": "words"}


@pytest.mark.parametrize(("embedding", "text"), [(None, None), ([1.0], "words")])
def test_a_search_takes_an_embedding_or_a_text(embedding: object, text: str | None) -> None:
    with pytest.raises(InvalidArgument, match="either an embedding or text"):
        _chunk_requests.search("lib", embedding=embedding, text=text, options={})


def test_a_batch_of_queries_is_a_npy_body_with_its_options_in_the_url() -> None:
    matrix = np.arange(10, dtype=np.float32).reshape(5, 2)
    options = _chunk_requests.search_options(
        k=3,
        filter={"a b": "é&="},
        params={"n_probes": 4},
        include=("text", "metadata"),
        min_score=None,
        explain=False,
    )
    requests = list(_chunk_requests.search_batches("lib", matrix, options, 2))
    parts = [np.load(io.BytesIO(request.body), allow_pickle=False) for request in requests]
    assert [len(part) for part in parts] == [2, 2, 1]
    assert np.array_equal(np.concatenate(parts), matrix)
    query = parse_qs(urlsplit(requests[0].target).query)
    assert query.pop("k") == ["3"]
    assert json.loads(query.pop("filter")[0]) == {"a b": "é&="}
    assert json.loads(query.pop("params")[0]) == {"n_probes": 4}
    assert query == {"include": ["text,metadata"]}


def test_options_too_long_for_a_url_travel_in_the_body() -> None:
    matrix = np.ones((2, 3), dtype=np.float32)
    options = _chunk_requests.search_options(
        k=1, filter={"x": {"$in": ["word"] * 5000}}, params=None, include=(), min_score=None, explain=False
    )
    (request,) = _chunk_requests.search_batches("lib", matrix, options, 10)
    assert len(request.target) < 100
    queries = json.loads(request.body)["queries"]
    assert len(queries) == 2
    assert len(queries[0]["filter"]["x"]["$in"]) == 5000


def test_bulk_is_multipart_that_others_can_read() -> None:
    matrix = np.arange(6, dtype=np.float16).reshape(2, 3)
    rows = [b'{"id":"a"}', b'{"id":"b"}']
    request = _chunk_requests.bulk(
        "lib", rows, matrix, create_documents=True, boundary="XyZ", repeat=Repeat.ALWAYS
    )
    assert request.target == "/v1/libraries/lib/chunks/bulk?create_documents=true"
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + request.body)
    parts = {part.get_param("name", header="content-disposition"): part for part in message.iter_parts()}
    assert set(parts) == {"vectors", "chunks"}
    loaded = np.load(io.BytesIO(parts["vectors"].get_payload(decode=True)), allow_pickle=False)
    assert loaded.dtype == np.float16
    assert np.array_equal(loaded, matrix)
    assert parts["chunks"].get_payload(decode=True).splitlines() == rows


def test_what_may_be_sent_twice() -> None:
    def create(library_id: str | None) -> Repeat:
        return _requests.create_library(
            name="n", library_id=library_id, metric="l2", dimension=None, index="brute", metadata=None
        ).repeat

    assert create(None) is Repeat.UNSENT
    assert create("a") is Repeat.REFUSED
    assert _chunk_requests.create_chunk("lib", {"text": "t"}).repeat is Repeat.UNSENT
    assert _chunk_requests.create_chunk("lib", {"id": "a"}).repeat is Repeat.REFUSED
    assert _requests.create_document("lib", document_id=None, metadata=None).repeat is Repeat.UNSENT
    assert _requests.delete_library("lib", if_match=None).repeat is Repeat.REFUSED
    assert _chunk_requests.delete_chunks("lib", ids=["a"], filter=None).repeat is Repeat.ALWAYS
    assert _requests.get_library("lib").repeat is Repeat.ALWAYS
    assert _chunk_requests.patch_chunk("lib", "a", if_match=None, text="t").repeat is Repeat.ALWAYS
    assert _chunk_requests.patch_chunk("lib", "a", if_match=3, text="t").repeat is Repeat.REFUSED
    assert _chunk_requests.search("lib", embedding=[1.0], text=None, options={}).repeat is Repeat.ALWAYS


def test_if_match_is_an_entity_tag() -> None:
    assert _requests.delete_library("lib", if_match=7).headers["if-match"] == '"7"'
    assert "if-match" not in _requests.delete_library("lib", if_match=None).headers


def test_a_patch_holds_what_was_given_and_nothing_else() -> None:
    request = _chunk_requests.patch_chunk(
        "lib", "a", if_match=None, text=None, embedding=_request_parts.UNSET, metadata={"gone": None}
    )
    assert json.loads(request.body) == {"text": None, "metadata": {"gone": None}}


@pytest.mark.parametrize("arguments", [{}, {"ids": ["a"], "filter": {"x": 1}}])
def test_a_delete_never_means_everything(arguments: dict[str, object]) -> None:
    with pytest.raises(InvalidArgument, match="either ids or filter"):
        _chunk_requests.delete_chunks("lib", ids=arguments.get("ids"), filter=arguments.get("filter"))  # type: ignore[arg-type]


def test_a_string_is_not_taken_for_a_list() -> None:
    with pytest.raises(InvalidArgument, match="one string"):
        _chunk_requests.delete_chunks("lib", ids="abc", filter=None)
    with pytest.raises(InvalidArgument, match="one string"):
        _chunk_requests.include_list("text")


def test_instants_travel_as_rfc_3339_in_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    zone = datetime.timezone(datetime.timedelta(hours=2))
    values = {
        "naive": datetime.datetime(2026, 1, 2, 3, 4, 5),  # noqa: DTZ001
        "zoned": datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=zone),
        "day": datetime.date(2026, 1, 2),
        "numpy": np.datetime64("2026-01-02T03:04:05"),
    }
    options = _chunk_requests.search_options(
        k=1, filter=values, params=None, include=(), min_score=None, explain=False
    )
    body = json.loads(_chunk_requests.search("lib", embedding=[1.0], text=None, options=options).body)
    assert body["filter"] == {
        "naive": "2026-01-02T03:04:05Z",
        "zoned": "2026-01-02T01:04:05Z",
        "day": "2026-01-02T00:00:00Z",
        "numpy": "2026-01-02T03:04:05Z",
    }
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), [1.0, float("nan")], {"deep": {"er": float("-inf")}}]
)
def test_what_json_cannot_say_is_refused_rather_than_turned_into_null(value: object) -> None:
    with pytest.raises(InvalidArgument, match="finite"):
        _requests.create_document("lib", document_id="d", metadata={"x": value})


@pytest.mark.parametrize("value", ["\ud800", 2**70, {1, 2}, object(), {1: 2}, np.float32("nan")])
def test_what_cannot_be_written_says_so(value: object) -> None:
    with pytest.raises(InvalidArgument, match="create_document"):
        _requests.create_document("lib", document_id="d", metadata={"x": value})


def test_numpy_scalars_and_arrays_are_plain_values_in_metadata() -> None:
    metadata = {"a": np.int64(3), "b": np.float32(0.5), "c": np.bool_(True), "d": np.arange(3)}
    request = _requests.create_document("lib", document_id="d", metadata=metadata)
    assert json.loads(request.body)["metadata"] == {"a": 3, "b": 0.5, "c": True, "d": [0, 1, 2]}


@pytest.mark.parametrize(
    "index", ["ivf_flat", IndexSpec(type="ivf_flat"), {"type": "ivf_flat", "params": {}}]
)
def test_an_index_is_named_in_any_of_three_ways(index: _requests.IndexLike) -> None:
    assert _requests.index_choice(index) == {"type": "ivf_flat", "params": {}}
