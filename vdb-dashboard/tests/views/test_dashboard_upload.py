"""Uploads: shown before they are sent, faults by row, and what the server refuses beside it."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Callable

    import vdb_sdk
    from conftest import Pages


def lines(*rows: object) -> bytes:
    return "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows).encode()


def upload(opened: Pages, name: str, content: bytes, vectors: np.ndarray | None = None) -> None:
    opened.open("upload")
    opened.app.file_uploader[0].upload(name, content)
    if vectors is not None:
        stream = io.BytesIO()
        np.save(stream, vectors)
        opened.app.file_uploader[1].upload("vectors.npy", stream.getvalue())
    opened.app.run()
    assert not opened.app.exception, [each.message for each in opened.app.exception]


def metrics(opened: Pages) -> list[str]:
    return [each.value for each in opened.app.metric]


def test_json_lines_go_into_the_library(pages: Callable[[], Pages], client: vdb_sdk.Client) -> None:
    library = client.create_library("L", id="l")
    opened = pages()
    rows = [
        {"id": f"c{n}", "text": f"t{n}", "embedding": [n, 1], "lang": "en", "document": "d"}
        for n in range(120)
    ]
    upload(opened, "rows.jsonl", lines(*rows))
    assert metrics(opened) == ["120", "120", "0"]
    assert client.library("l").info().chunks == 0, "nothing is sent before the button"
    opened.press("upload-go")
    opened.fine()
    assert "120 created, 0 updated" in opened.app.success[0].value.replace("\\", "")
    chunk = library.get("c7")
    assert (chunk.text, chunk.document_id, chunk.metadata) == ("t7", "d", {"lang": "en"})
    assert library.info().documents == 1


def test_rows_with_faults_are_named_and_left_out_only_on_request(
    pages: Callable[[], Pages], client: vdb_sdk.Client
) -> None:
    library = client.create_library("L", id="l", dimension=2)
    opened = pages()
    upload(
        opened, "rows.jsonl", lines({"id": "a", "embedding": [1, 0]}, "{oops", {"id": "b", "embedding": [1]})
    )
    assert metrics(opened) == ["1", "1", "2"]
    faults = opened.app.dataframe[-1].value
    assert faults["row"].tolist() == ["2", "3"]
    assert "expected 2 numbers; received 1" in faults["what is wrong"].tolist()[1]
    assert opened.app.button("upload-go").disabled
    opened.fill(upload_leave_out=True)
    opened.press("upload-go")
    opened.fine()
    assert [chunk.id for chunk in library.chunks()] == ["a"]


def test_what_the_server_refuses_is_told_by_row_of_the_file(
    pages: Callable[[], Pages], client: vdb_sdk.Client
) -> None:
    library = client.create_library("L", id="l")
    opened = pages()
    upload(
        opened,
        "rows.jsonl",
        lines(
            {"id": "a", "embedding": [1, 0]},
            "",
            {"id": "..", "embedding": [1, 0]},
            {"id": "c", "embedding": [0, 0]},
        ),
    )
    opened.press("upload-go")
    assert "422 validation_failed" in opened.errors
    told = opened.app.dataframe[-1].value
    assert sorted(told["row"].tolist()) == ["3", "4"]
    assert library.info().chunks == 0


def test_csv_with_vectors_beside_it_and_columns_put_right(
    pages: Callable[[], Pages], client: vdb_sdk.Client
) -> None:
    library = client.create_library("L", id="l")
    opened = pages()
    upload(opened, "rows.csv", b"name,words,year\nx,one,1851\ny,two,1974\n", np.float16([[1, 0], [0, 1]]))
    fields = {
        each.label: each for each in opened.app.selectbox if each.key and each.key.startswith("upload-field")
    }
    assert fields["text"].value == "–"
    fields["id"].set_value("name")
    fields["text"].set_value("words")
    opened.app.run()
    opened.press("upload-go")
    opened.fine()
    chunk = library.get("y")
    assert (chunk.text, chunk.metadata) == ("two", {"year": 1974})
    np.testing.assert_array_equal(chunk.embedding, np.float32([0, 1]))


def test_vectors_that_do_not_fit_are_refused_before_anything_is_sent(
    pages: Callable[[], Pages], client: vdb_sdk.Client
) -> None:
    client.create_library("L", id="l")
    opened = pages()
    upload(opened, "rows.csv", b"id,text\nx,one\ny,two\n", np.float32([[1, 0]]))
    assert "1 vectors and 2 rows" in opened.errors
    assert "upload-go" not in [each.key for each in opened.app.button]


def test_parquet(pages: Callable[[], Pages], client: vdb_sdk.Client) -> None:
    library = client.create_library("L", id="l")
    stream = io.BytesIO()
    pd.DataFrame({"id": ["a"], "embedding": [[1.0, 2.0]], "year": [1851]}).to_parquet(stream)
    opened = pages()
    upload(opened, "rows.parquet", stream.getvalue())
    opened.press("upload-go")
    opened.fine()
    assert library.get("a").metadata == {"year": 1851}


def test_a_text_is_split_and_needs_an_embedder(pages: Callable[[], Pages], client: vdb_sdk.Client) -> None:
    client.create_library("L", id="l")
    opened = pages()
    upload(opened, "notes.txt", ("A sentence of some words. " * 40).encode())
    before = int(metrics(opened)[0])
    opened.fill(upload_size=200, upload_overlap=0)
    assert int(metrics(opened)[0]) > before
    assert "no embedder installed" in opened.app.info[0].value
    opened.press("upload-go")
    assert "embedder" in opened.errors


def test_a_file_that_cannot_be_read_says_why(pages: Callable[[], Pages], client: vdb_sdk.Client) -> None:
    client.create_library("L", id="l")
    opened = pages()
    upload(opened, "rows.parquet", b"not parquet")
    assert "no Parquet" in opened.errors
