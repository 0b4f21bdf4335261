"""Builds with progress and cancel, searches beside each other, the map, the measuring, the connection."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import numpy as np
from server_kit import ServerProcess, wait_until_quiet

import vdb_sdk

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from conftest import Pages


def test_an_index_is_built_from_the_form(pages: Callable[[], Pages], library: vdb_sdk.LibraryHandle) -> None:
    opened = pages()
    app = opened.open("index")
    assert app.metric[0].value == "brute"
    opened.fill(index_type_rows="ivf_flat")
    app.number_input("build-rows-ivf_flat-n_lists").set_value(8)
    opened.press("build-go")
    wait_until_quiet(library)
    app.run()
    opened.fine()
    status = library.index_status()
    assert (status.type, status.params) == ("ivf_flat", {"n_lists": 8})
    assert app.metric[0].value == "ivf_flat"
    assert "is done" in app.success[0].value
    assert app.number_input("build-rows-ivf_flat-n_lists").value == 8, "the form begins with what is there"


def test_a_build_shows_how_far_it_is_and_is_cancelled(
    pages: Callable[[], Pages], client: vdb_sdk.Client
) -> None:
    library = client.create_library("Big", id="big")
    library.upsert(embeddings=np.random.default_rng(0).normal(size=(60_000, 64)).astype(np.float32))
    wait_until_quiet(library)
    opened = pages()
    opened.open("index")
    job = library.build_index("ivf_pq", {"n_lists": 2_000}, wait=False)
    app = opened.open("index")
    assert app.get("progress")
    assert app.button("build-go").disabled, "one build at a time"
    opened.press("build-cancel")
    deadline = time.monotonic() + 30
    while not job.refresh().status.finished and time.monotonic() < deadline:
        time.sleep(0.05)
    assert job.state == "cancelled"
    app.run()
    assert "was cancelled" in app.info[0].value
    assert library.index_status().type == "brute"


def test_search_by_stored_chunk_vector_and_filter(
    pages: Callable[[], Pages], library: vdb_sdk.LibraryHandle
) -> None:
    opened = pages()
    app = opened.open("search")
    opened.fill(search_example="r5", search_k=3)
    opened.press("search-go")
    opened.fine()
    expected = library.search(library.get("r5").embedding, k=3).ids
    places = [opened.html.index(f">{each}<") for each in expected]
    assert expected[0] == "r5"
    assert places == sorted(places)
    chart = json.loads(app.get("vega_lite_chart")[0].proto.spec)
    assert len(chart["layer"]) == 3
    assert "All chunks on their two principal components" in "".join(each.value for each in app.caption)

    opened.fill(search_filter='{"n": {"$gt": 290}}', search_mode="Vector")
    opened.fill(search_vector=str(library.get("r5").embedding.tolist()))
    opened.press("search-go")
    assert ">r5<" not in opened.html
    opened.fill(search_vector="1 2")
    opened.press("search-go")
    assert "expected 16 numbers; received 2" in opened.errors


def test_search_by_text_without_an_embedder_tells_what_the_server_says(
    pages: Callable[[], Pages], library: vdb_sdk.LibraryHandle
) -> None:
    opened = pages()
    opened.open("search")
    opened.fill(search_mode="Text")
    opened.press("search-go")
    assert "The text is empty" in opened.errors
    opened.fill(search_text="whale")
    opened.press("search-go")
    assert "422 validation_failed" in opened.errors
    assert "embedder" in opened.errors


def test_a_chunk_that_is_gone_is_told_where_it_was_asked_for(
    pages: Callable[[], Pages], library: vdb_sdk.LibraryHandle
) -> None:
    opened = pages()
    opened.open("search")
    opened.fill(search_example="r7")
    library.delete(["r7"])
    opened.press("search-go")
    assert "404 chunk_not_found" in opened.errors


def test_index_types_stand_beside_each_other_and_are_measured(
    pages: Callable[[], Pages], client: vdb_sdk.Client
) -> None:
    library = client.create_library("Wide", id="wide")
    library.upsert(
        ids=[f"w{n}" for n in range(6_000)],
        embeddings=np.random.default_rng(1).normal(size=(6_000, 16)).astype(np.float32),
    )
    library.build_index("ivf_flat", {"n_lists": 100})
    opened = pages()
    app = opened.open("compare")
    assert "Nothing exact to measure against" in opened.html
    opened.press("compare-make")
    opened.fine()
    assert app.dataframe[0].value["index"].tolist() == ["ivf_flat", "brute", "ivf_pq"]
    assert {each.id for each in client.libraries()} == {"wide", "wide.compare-brute", "wide.compare-ivf_pq"}

    opened.fill(measure_queries=5)
    opened.press("measure-go", timeout=120)
    opened.fine()
    figures = app.dataframe[-1].value
    by = {(row["index"], row["setting"]): row for _, row in figures.iterrows()}
    assert by["brute", "default"]["recall@10"] == 1.0
    assert by["ivf_flat", "n_probes=1"]["recall@10"] < by["ivf_flat", "default"]["recall@10"]
    assert len(app.get("vega_lite_chart")) == 2

    opened.open("search")
    app.number_input("search-wide-ivf_flat-n_probes").set_value(1)
    opened.press("search-go")
    opened.fine()
    assert opened.html.count("<header>") == 3
    assert "of 10 exact hits" in opened.html
    assert "vdb-hit marked" in opened.html

    library.delete(["w1"])
    opened.open("compare")
    assert app.dataframe[0].value["rows are"].tolist() == ["its own", "1 write behind", "1 write behind"]
    opened.press("compare-delete")
    opened.press("confirm-yes")
    assert [each.id for each in client.libraries()] == ["wide"]


def test_no_server_is_told_and_another_may_be_entered(
    pages: Callable[[], Pages], server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VDB_URL", "http://127.0.0.1:9")
    opened = pages()
    assert "No connection" in opened.errors
    assert "vdb serve" in opened.errors
    opened.enter(connection_url=server.url)
    opened.press("connection-save")
    opened.fine()
    assert opened.toasts == [f"Connected to {server.url}"]


def test_a_key_is_asked_for_used_and_never_shown(
    pages: Callable[[], Pages], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, reader = "a-very-secret-key", "a-key-that-reads"
    with ServerProcess(
        tmp_path / "data", environment={"VDB_API_KEY": key, "VDB_READ_ONLY_API_KEY": reader}
    ) as locked:
        monkeypatch.setenv("VDB_URL", locked.url)
        opened = pages()
        assert "401" in opened.errors
        opened.enter(connection_key="wrong")
        opened.press("connection-save")
        assert "401" in opened.errors
        opened.enter(connection_key=reader)
        opened.press("connection-save")
        opened.fine()
        opened.open("libraries")
        opened.press("library-new")
        opened.press("create-go")
        assert "403" in opened.errors
        assert "may only read" in opened.errors
        with vdb_sdk.connect(locked.url, api_key=key) as owner:
            owner.create_library("there", id="there").upsert([{"id": "a", "embedding": [1.0, 0.0]}])
        opened.open("index")
        opened.press("build-go")
        assert "403" in opened.errors
        opened.open("compare")
        opened.press("compare-make")
        assert "403" in opened.errors
        opened.open("connect")
        opened.enter(connection_key=key)
        opened.press("connection-save")
        opened.fine()
        for page in ("libraries", "connect"):
            app = opened.open(page)
            assert key not in repr(app)
            assert key not in "".join(
                str(each.proto) for each in (*app.main, *app.sidebar) if hasattr(each, "proto")
            )
        assert key not in repr(opened.app.session_state["connection"])
        opened.press("connection-forget")
        assert "401" in opened.errors


def test_a_key_goes_to_no_other_server(
    pages: Callable[[], Pages], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str | None] = []

    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the name that the base class calls
            asked.append(self.headers.get("authorization"))
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    with (
        ServerProcess(tmp_path / "data", environment={"VDB_API_KEY": "mine"}) as locked,
        HTTPServer(("127.0.0.1", 0), Other) as other,
    ):
        threading.Thread(target=other.serve_forever, daemon=True).start()
        monkeypatch.setenv("VDB_URL", locked.url)
        monkeypatch.setenv("VDB_API_KEY", "mine")
        opened = pages()
        opened.open("connect")
        opened.enter(connection_url=f"http://127.0.0.1:{other.server_port}")
        opened.press("connection-save")
        other.shutdown()
    assert asked
    assert set(asked) == {None}


def test_beyond_this_machine_the_server_is_the_one_that_was_named(
    pages: Callable[[], Pages], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VDB_DASHBOARD_SHARED", "1")
    app = pages().open("connect")
    assert app.text_input("connection-url").disabled
