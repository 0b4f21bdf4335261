"""A newcomer in a browser: from an empty server to hits, copies and figures, with a picture of each page."""

from __future__ import annotations

import gzip
import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest
from looking import Reader
from server_kit import ServerProcess

import vdb_sdk
from conftest import ROOT, SMALL, dashboard

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser

ROWS = 6_000
NASTY = "<img src=x onerror=alert(1)><script>alert(2)</script> **bold** [l](http://x) :red[c] $x$"


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The first rows of the demo's corpus, in the two files that a user would have."""
    folder = tmp_path_factory.mktemp("corpus")
    with gzip.open(ROOT / "demo" / "corpus" / "glosses.jsonl.gz", "rb") as source:
        (folder / "glosses.jsonl").write_bytes(b"".join(itertools.islice(source, ROWS)))
    np.save(folder / "glosses.npy", np.load(ROOT / "demo" / "corpus" / "glosses.npy")[:ROWS])
    return folder / "glosses.jsonl", folder / "glosses.npy"


def test_from_an_empty_server_to_hits_and_figures(
    chromium: Browser, site: tuple[str, str], client: vdb_sdk.Client, corpus: tuple[Path, Path], figures: Path
) -> None:
    taken: list[Path] = []
    reader = Reader(chromium, site[1], figures)
    page = reader.page
    reader.look()
    page.get_by_text("No library yet").wait_for()

    reader.press("New library")
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Id", exact=True).fill("glosses")
    dialog.get_by_label("Name").fill("Glosses of WordNet")
    page.keyboard.press("Tab")
    reader.settle()
    taken.append(reader.photograph("new-library"))
    reader.press("Create", dialog)
    page.get_by_text("glosses is made").wait_for()

    reader.open("Upload")
    chooser = page.locator("input[type=file]")
    chooser.nth(0).set_input_files(corpus[0])
    chooser.nth(1).set_input_files(corpus[1])
    page.get_by_role("button", name=f"Upload {ROWS:,} chunks").wait_for()
    reader.settle()
    taken.append(reader.photograph("upload", to="[data-testid=stButton]"))
    reader.press(f"Upload {ROWS:,} chunks")
    page.get_by_text(f"{ROWS:,} created").wait_for()
    assert client.library("glosses").info().chunks == ROWS

    reader.open("Data")
    taken.append(reader.photograph("data"))

    reader.open("Index")
    page.get_by_role("radio", name="ivf_flat").or_(page.get_by_role("button", name="ivf_flat")).first.click()
    reader.settle()
    taken.append(reader.photograph("index"))
    reader.press("Build ivf_flat")
    page.get_by_text("The last build is done").wait_for()
    reader.look()

    reader.open("Compare")
    reader.press("Make copies")
    page.get_by_text("2 copies are ready").wait_for()
    reader.press("Measure")
    page.get_by_text("Diamonds are the defaults").wait_for(timeout=60_000)
    reader.settle()
    taken.append(reader.photograph("compare", to="[data-testid=stVegaLiteChart]"))

    reader.open("Search")
    reader.press("Search")
    page.get_by_text("principal components").wait_for()
    reader.settle()
    assert page.locator(".vdb-lanes header").count() == 3
    taken.append(reader.photograph("search", to=".vdb-hit >> nth=11"))
    page.get_by_test_id("stVegaLiteChart").scroll_into_view_if_needed()
    reader.settle()
    taken.append(reader.photograph("map"))

    reader.open("Libraries")
    taken.append(reader.photograph("libraries"))
    reader.open("Connection")
    reader.look()
    assert {path.name: path.stat().st_size for path in taken if path.stat().st_size >= SMALL} == {}


def test_a_build_is_watched_and_cancelled(
    chromium: Browser, site: tuple[str, str], client: vdb_sdk.Client, figures: Path
) -> None:
    library = client.create_library("Big", id="big")
    library.upsert(embeddings=np.random.default_rng(0).normal(size=(60_000, 64)).astype(np.float32))
    reader = Reader(chromium, site[1], figures)
    reader.open("Index")
    reader.page.get_by_role("radio", name="ivf_pq").or_(
        reader.page.get_by_role("button", name="ivf_pq")
    ).first.click()
    reader.settle()
    reader.page.get_by_role("spinbutton", name="Lists").fill("3000")
    reader.page.keyboard.press("Tab")
    reader.settle()
    reader.main.get_by_role("button", name="Build ivf_pq", exact=True).click()
    cancel = reader.main.get_by_role("button", name="Cancel", exact=True)
    cancel.wait_for()
    first = reader.page.get_by_test_id("stProgress").inner_text()
    # Without a click: the page asks by itself.
    reader.page.wait_for_function(
        "(first) => document.querySelector('[data-testid=stProgress]')?.innerText !== first", arg=first
    )
    cancel.click()
    reader.page.get_by_text("The last build was cancelled").wait_for()
    reader.look()
    assert library.index_status().type == "brute"


def test_nothing_that_a_user_wrote_is_markup(
    chromium: Browser, site: tuple[str, str], client: vdb_sdk.Client, figures: Path
) -> None:
    made = client.create_library(NASTY, id="nasty")
    made.create_document(NASTY)
    made.upsert(
        [
            {
                "id": NASTY,
                "text": NASTY,
                "embedding": [1.0, 0.0],
                "document_id": NASTY,
                "metadata": {NASTY: NASTY},
            }
        ]
    )
    reader = Reader(chromium, site[1], figures)
    for title in ("Libraries", "Upload", "Data", "Index", "Search", "Compare"):
        reader.open(title)
        if title == "Search":
            reader.press("Search")
            reader.page.locator(".vdb-hit .id").wait_for()
            assert reader.page.locator(".vdb-hit .id").inner_text() == NASTY
        assert reader.page.locator("img[src=x]").count() == 0
        reader.look()


def test_an_error_stands_where_it_happened(chromium: Browser, tmp_path: Path, figures: Path) -> None:
    server = ServerProcess(tmp_path / "data")
    with server, dashboard(server.url) as url, vdb_sdk.connect(server.url) as client:
        client.create_library("there", id="there")
        reader = Reader(chromium, url, figures)
        reader.press("New library")
        dialog = reader.page.get_by_role("dialog")
        dialog.get_by_label("Id", exact=True).fill("there")
        reader.page.keyboard.press("Tab")
        reader.settle()
        reader.press("Create", dialog)
        dialog.get_by_text("409 already_exists").wait_for()
        reader.look(errors=True)
        reader.page.keyboard.press("Escape")
        reader.settle()
        assert reader.page.get_by_role("dialog").count() == 0
        server.stop()
        reader.page.get_by_test_id("stSidebar").get_by_role("link", name="Data").click()
        reader.page.get_by_text("No connection").wait_for()
        reader.settle()
        reader.look(errors=True)
