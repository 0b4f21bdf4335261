"""Libraries, documents and chunks: made, browsed, changed and deleted, each on the server in the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import vdb_sdk

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Pages

NASTY = "<img src=x onerror=alert(1)> **bold** :red[x] $x$ `y`"


def test_an_empty_server_says_what_to_do(pages: Callable[[], Pages]) -> None:
    opened = pages()
    assert "Make one with New library" in opened.html
    for page in ("upload", "data", "index", "search", "compare"):
        opened.open(page)
        assert "No library yet" in opened.html, page
    opened.open("connect")
    assert "rust" in opened.app.dataframe[0].value["plugin"].tolist()


def test_a_library_is_made_with_the_form_of_its_index_type(
    pages: Callable[[], Pages], client: vdb_sdk.Client
) -> None:
    opened = pages()
    opened.press("library-new")
    opened.fill(create_id="books", create_name="Books", create_metric="l2", create_dimension=8)
    opened.fill(create_index="ivf_pq", create_metadata='{"owner": "me"}')
    opened.app.number_input("create-ivf_pq-n_lists").set_value(32)
    opened.app.selectbox("create-ivf_pq-n_bits").set_value(8)
    opened.press("create-go")
    opened.fine()
    info = client.library("books").info()
    assert (info.name, info.metric, info.dimension, info.metadata) == ("Books", "l2", 8, {"owner": "me"})
    assert (info.index.type, info.index.params) == ("ivf_pq", {"n_lists": 32, "n_bits": 8})
    assert opened.toasts == ["books is made"]
    assert opened.app.sidebar.selectbox[0].value == "books"


def test_what_the_server_refuses_is_shown_in_the_form(
    pages: Callable[[], Pages], client: vdb_sdk.Client
) -> None:
    client.create_library("there", id="there")
    opened = pages()
    opened.press("library-new")
    opened.fill(create_id="there")
    opened.press("create-go")
    assert "409 already_exists" in opened.errors
    opened.fill(create_id="not an id")
    opened.press("create-go")
    assert "422 validation_failed" in opened.errors
    opened.fill(create_id="new", create_metadata="{oops")
    opened.press("create-go")
    assert "The metadata is not JSON" in opened.errors
    assert [each.id for each in client.libraries()] == ["there"]


def test_a_library_is_deleted_with_its_copies_and_only_on_yes(
    pages: Callable[[], Pages], client: vdb_sdk.Client, library: vdb_sdk.LibraryHandle
) -> None:
    from vdb_dashboard.logic import copies

    copies.make(client, "rows", {"brute": {}}, lambda *_: None)
    opened = pages()
    assert opened.app.sidebar.selectbox[0].options == ["Rows · rows"]
    table = opened.app.dataframe[0].value
    assert table["kind"].tolist() == ["library", "copy of rows"]
    opened.pick("library-table", 0)
    opened.press("library-delete")
    assert "300 chunks and 2 documents and 1 comparison copy" in opened.app.markdown[-1].value.replace(
        "\\", ""
    )
    opened.press("confirm-no")
    assert len(list(client.libraries())) == 2
    opened.press("library-delete")
    opened.press("confirm-yes")
    assert list(client.libraries()) == []
    assert opened.toasts == ["rows is deleted"]


def test_chunks_are_browsed_by_page_document_and_filter(
    pages: Callable[[], Pages], library: vdb_sdk.LibraryHandle
) -> None:
    opened = pages()
    app = opened.open("data")

    def ids() -> list[str]:
        return app.dataframe[0].value["id"].tolist()

    assert ids() == [f"r{n}" for n in range(25)]
    key = next(each.key for each in app.button if each.key and each.key.endswith("-next"))
    opened.press(key)
    assert ids() == [f"r{n}" for n in range(25, 50)]
    opened.press(key.replace("-next", "-back"))
    assert ids()[0] == "r0"
    opened.fill(chunks_document="odd", chunks_filter='{"n": {"$lt": 6}}')
    assert ids() == ["r1", "r3", "r5"]
    opened.fill(chunks_filter='{"n": {"$no": 6}}')
    assert "422" in opened.errors
    assert "$no" in opened.errors
    opened.fill(chunks_filter='{"n": 999}')
    assert "Nothing matches" in opened.html


def test_a_chunk_is_made_changed_and_deleted(
    pages: Callable[[], Pages], library: vdb_sdk.LibraryHandle
) -> None:
    opened = pages()
    opened.open("data")
    opened.press("chunk-new")
    opened.fill(create_chunk_id="new", create_chunk_text=NASTY, create_chunk_vector="1 2 3")
    opened.press("create-chunk-go")
    assert "expected 16 numbers; received 3" in opened.errors
    opened.fill(create_chunk_vector=str([1.0] * 16), create_chunk_metadata='{"a": 1, "b": 2}')
    opened.press("create-chunk-go")
    opened.fine()
    assert library.get("new").text == NASTY

    opened.fill(chunks_filter='{"$id": "new"}')
    opened.pick("chunk-table", 0)
    areas = {each.label: each for each in opened.app.text_area}
    assert areas["Text"].value == NASTY
    areas["Text"].set_value("tame")
    areas["Metadata (JSON)"].set_value('{"b": 3}')
    opened.press("chunk-save")
    opened.fine()
    chunk = library.get("new")
    assert (chunk.text, chunk.metadata) == ("tame", {"b": 3})

    opened.pick("chunk-table", 0)
    opened.press("chunks-delete")
    opened.press("confirm-yes")
    with pytest.raises(vdb_sdk.NotFoundError):
        library.get("new")
    assert library.info().chunks == 300


def test_a_save_does_not_overwrite_what_somebody_else_wrote(
    pages: Callable[[], Pages], library: vdb_sdk.LibraryHandle
) -> None:
    opened = pages()
    opened.open("data")
    opened.fill(data_what="Documents")
    opened.pick("document-table", 0)
    name = opened.app.text[0].value
    opened.app.text_area[0].set_value('{"mine": 1}')
    opened.app.run()
    library.update_document(name, metadata={"theirs": 1})
    opened.app.run()
    assert opened.app.text_area[0].value == '{"mine": 1}', "what was typed is still there"
    assert "Somebody has changed this" in opened.app.warning[0].value
    opened.press("document-save")
    assert "412" in opened.errors
    assert library.get_document(name).metadata == {"theirs": 1}
    opened.press("document-again")
    assert "theirs" in opened.app.text_area[0].value


def test_chunks_are_deleted_by_filter(pages: Callable[[], Pages], library: vdb_sdk.LibraryHandle) -> None:
    opened = pages()
    opened.open("data")
    assert "chunks-delete-filter" not in [each.key for each in opened.app.button]
    opened.fill(chunks_filter='{"n": {"$gte": 10}}')
    opened.press("chunks-delete-filter")
    opened.press("confirm-yes")
    assert opened.toasts == ["290 chunks deleted"]
    assert library.info().chunks == 10


def test_a_document_is_made_changed_and_deleted(
    pages: Callable[[], Pages], library: vdb_sdk.LibraryHandle
) -> None:
    opened = pages()
    opened.open("data")
    opened.fill(data_what="Documents")
    opened.press("document-new")
    opened.fill(create_document_id="third", create_document_metadata='{"kind": "book"}')
    opened.press("create-document-go")
    opened.fine()
    ids = opened.app.dataframe[0].value["id"].tolist()
    assert sorted(ids) == ["even", "odd", "third"]
    opened.pick("document-table", ids.index("third"))
    opened.app.text_area[0].set_value('{"pages": 3}')
    opened.press("document-save")
    assert library.get_document("third").metadata == {"pages": 3}
    opened.pick("document-table", ids.index("odd"))
    opened.press("document-delete")
    opened.press("confirm-yes")
    assert library.info().chunks == 150


def test_names_that_look_like_markup_are_shown_as_they_are(
    pages: Callable[[], Pages], client: vdb_sdk.Client
) -> None:
    made = client.create_library(NASTY, id="nasty")
    made.upsert([{"id": NASTY, "text": NASTY, "embedding": [1.0, 0.0], "metadata": {NASTY: NASTY}}])
    opened = pages()
    for page in ("libraries", "upload", "data", "index", "search", "compare"):
        app = opened.open(page)
        for element in (*app.markdown, *app.caption, *app.subheader, *app.title):
            assert "<img" not in element.value, (page, element.value)
    opened.open("search")
    opened.press("search-go")
    assert "<img" not in opened.html
    assert "&lt;img src=x onerror=alert(1)&gt;" in opened.html
