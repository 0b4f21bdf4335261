"""``chunks/bulk``: the form may arrive in any pieces; it does what upsert does, row for row."""

from __future__ import annotations

import gc
import io
import json
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vdb_core.errors import ValidationFailed
from vdb_server.chunks.multipart import FormReader, boundary_of
from vdb_server.errors import HttpProblem
from vdb_server.wire import spool

if TYPE_CHECKING:
    from collections.abc import Callable

BULK = "/v1/libraries/glossary/chunks/bulk"
TYPE = {"content-type": "multipart/form-data; boundary=edge"}


def npy(array: np.ndarray[Any, Any], **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def form(**parts: bytes) -> bytes:
    made = b""
    for name, content in parts.items():
        made += b'--edge\r\nContent-Disposition: form-data; name="' + name.encode() + b'"; filename="f"\r\n'
        made += b"Content-Type: application/octet-stream\r\n\r\n" + content + b"\r\n"
    return made + b"--edge--\r\n"


def lines(rows: list[Any]) -> bytes:
    return b"\n".join(json.dumps(row).encode() for row in rows)


ROWS = [{"id": "b-0", "text": "zero", "metadata": {"n": 7}}, {"id": "b-1", "document_id": "book"}, {}]
MATRIX = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]], dtype=np.float32)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("order", ["vectors first", "chunks first"])
def test_it_answers_and_stores_as_upsert_does(glossary: Any, dtype: Any, order: str) -> None:
    parts = {"vectors": npy(MATRIX.astype(dtype)), "chunks": lines(ROWS) + b"\n\n"}
    if order == "chunks first":
        parts = dict(reversed(parts.items()))
    answer = glossary("POST", BULK, body=form(**parts), headers=TYPE)
    assert answer.status == 200, answer.body
    result = answer.json()
    assert (result["created"], result["updated"]) == (3, 0)
    assert result["ids"][:2] == ["b-0", "b-1"]
    assert glossary("GET", "/v1/libraries/glossary/chunks/b-1").json()["embedding"] == pytest.approx(
        [4, 5, 6]
    )
    assert glossary("GET", "/v1/libraries/glossary/chunks/b-0").json()["metadata"] == {"n": 7}
    again = glossary("POST", BULK, body=form(**parts), headers=TYPE).json()
    assert (again["created"], again["updated"]) == (1, 2)


def test_documents_are_created_where_asked_for(glossary: Any) -> None:
    body = form(vectors=npy(MATRIX[:1]), chunks=lines([{"document_id": "fresh"}]))
    refused = glossary("POST", BULK, body=body, headers=TYPE)
    assert (refused.status, refused.pointers) == (404, ["/chunks/0/document_id"])
    assert glossary("POST", f"{BULK}?create_documents=true", body=body, headers=TYPE).status == 200
    assert glossary("POST", f"{BULK}?create_documents=maybe", body=body, headers=TYPE).pointers == [
        "/create_documents"
    ]


def test_more_rows_than_a_batch_may_have(serve: Callable[..., Any]) -> None:
    from vdb_server.settings import Settings

    with serve(Settings(max_batch_rows=2)) as client:
        client("POST", "/v1/libraries", {"id": "glossary", "name": "x"})
        answer = client(
            "POST", BULK, body=form(vectors=npy(MATRIX), chunks=lines([{}, {}, {}])), headers=TYPE
        )
        assert answer.json()["created"] == 3


BAD: dict[str, tuple[bytes, int, list[str]]] = {
    "no vectors": (form(chunks=lines(ROWS)), 422, ["/vectors"]),
    "neither": (form(), 422, ["/chunks", "/vectors"]),
    "another part": (form(vectors=npy(MATRIX), chunks=lines(ROWS), extra=b""), 422, ["/extra"]),
    "rows that do not match": (form(vectors=npy(MATRIX[:2]), chunks=lines(ROWS)), 422, ["/vectors"]),
    "another dimension": (form(vectors=npy(MATRIX[:, :2].copy()), chunks=lines(ROWS)), 422, ["/vectors"]),
    "float64": (form(vectors=npy(MATRIX.astype(np.float64)), chunks=lines(ROWS)), 422, ["/vectors"]),
    "one axis": (form(vectors=npy(MATRIX[0]), chunks=lines(ROWS)), 422, ["/vectors"]),
    "no npy": (form(vectors=b"hello", chunks=lines(ROWS)), 422, ["/vectors"]),
    "truncated": (form(vectors=npy(MATRIX)[:-4], chunks=lines(ROWS)), 422, ["/vectors"]),
    "NaN": (
        form(vectors=npy(np.where(MATRIX == 5, np.nan, MATRIX)), chunks=lines(ROWS)),
        422,
        ["/vectors/1"],
    ),
    "pickle": (
        form(vectors=npy(np.array([[object()]]), allow_pickle=True), chunks=lines(ROWS)),
        422,
        ["/vectors"],
    ),
    "an embedding in a row": (
        form(vectors=npy(MATRIX), chunks=lines([*ROWS[:2], {"embedding": [1]}])),
        422,
        ["/chunks/2"],
    ),
    "a row that is no object": (form(vectors=npy(MATRIX), chunks=lines([*ROWS[:2], 3])), 422, ["/chunks/2"]),
    "a line that is no JSON": (form(vectors=npy(MATRIX), chunks=b'{}\n{"a":\n{}'), 400, ["/chunks/1"]),
    "a lone surrogate": (
        form(vectors=npy(MATRIX), chunks=b'{}\n\n{"text":"\\ud800"}\n{}'),
        422,
        ["/chunks/1/text"],
    ),
    "duplicate ids": (
        form(vectors=npy(MATRIX), chunks=lines([{"id": "a"}, {}, {"id": "a"}])),
        422,
        ["/chunks/2/id"],
    ),
    "cut off": (form(vectors=npy(MATRIX), chunks=lines(ROWS))[:-20], 400, []),
    "no form": (b"hello", 400, []),
}


@pytest.mark.parametrize(("body", "status", "pointers"), BAD.values(), ids=BAD)
def test_a_bad_form_is_refused_and_changes_nothing(
    glossary: Any, state_of: Callable[[], object], body: bytes, status: int, pointers: list[str]
) -> None:
    before = state_of()
    answer = glossary("POST", BULK, body=body, headers=TYPE)
    assert answer.status == status, answer.body
    assert answer.pointers == pointers
    assert state_of() == before


def test_a_part_that_is_there_twice_is_refused(glossary: Any) -> None:
    body = form(vectors=npy(MATRIX), chunks=lines(ROWS))
    twice = body[: -len(b"--edge--\r\n")] + form(chunks=lines(ROWS))
    assert glossary("POST", BULK, body=twice, headers=TYPE).pointers == ["/chunks"]


@settings(max_examples=60, deadline=None)
@given(
    first=st.binary(max_size=300),
    second=st.binary(max_size=300).map(lambda data: data + b"\r\n--edg\r\n--"),
    cuts=st.lists(st.integers(0, 900), max_size=12),
)
def test_a_form_may_be_cut_anywhere(first: bytes, second: bytes, cuts: list[int]) -> None:
    body = form(vectors=first, chunks=second)
    with FormReader(b"edge", {"vectors", "chunks"}) as reader:
        at = 0
        for cut in [*sorted(min(cut, len(body)) for cut in cuts), len(body)]:
            if cut > at:
                reader.feed(body[at:cut])
            at = cut
        files = reader.finish()
        assert bytes(files["vectors"]) == first
        assert bytes(files["chunks"]) == second


def test_big_parts_go_to_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "_IN_MEMORY", 100)
    content = bytes(range(256)) * 10
    body = form(vectors=content, chunks=b"x")
    with FormReader(b"edge", {"vectors", "chunks"}) as reader:
        for at in range(0, len(body), 64):
            reader.feed(body[at : at + 64])
        files = reader.finish()
        assert reader._parts["vectors"]._file is not None
        assert reader._parts["chunks"]._file is None
        assert bytes(files["vectors"]) == content
        array = np.frombuffer(files["vectors"], dtype=np.uint8)
    # What looks at the file keeps it, also after the form was closed.
    assert array[-1] == 255


def test_a_form_that_was_read_is_gone() -> None:
    gc.disable()
    try:
        with FormReader(b"edge", {"vectors", "chunks"}) as reader:
            reader.feed(form(vectors=b"many rows", chunks=b"x"))
            content = reader.finish()["vectors"].obj
        # Only this name and the call below look at it: nothing waits for a search for circles.
        assert sys.getrefcount(content) == 2
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "value", [None, "application/json", "multipart/form-data", "multipart/mixed; boundary=x"]
)
def test_a_form_needs_a_boundary(value: str | None) -> None:
    with pytest.raises(HttpProblem):
        boundary_of(value)


def test_a_boundary_may_be_quoted() -> None:
    assert boundary_of('multipart/form-data; charset=x; boundary="a b"') == b"a b"


def test_endless_headers_end() -> None:
    with FormReader(b"edge", {"vectors"}) as reader, pytest.raises(HttpProblem):
        reader.feed(b"--edge\r\nX-Long: " + b"x" * 20_000)


def test_a_part_without_a_name_is_told() -> None:
    with FormReader(b"edge", {"vectors"}) as reader, pytest.raises(ValidationFailed):
        reader.feed(b"--edge\r\nContent-Type: text/plain\r\n\r\nhello\r\n--edge--\r\n")
