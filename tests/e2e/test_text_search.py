"""Text in, text out, as a user has it: the real model, in memory, in a directory, over HTTP, sync and async."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from server_kit import ServerProcess

import vdb_sdk

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOTES = [
    "The cat sleeps on the sofa all afternoon.",
    "Interest rates rise for the third time this year.",
    "Boil the pasta for nine minutes and save some of the water.",
    "The new telescope photographs galaxies far away.",
]
QUERIES = {"a pet that naps": 0, "monetary policy": 1, "how to cook noodles": 2, "astronomy": 3}


def use(client: vdb_sdk.Client) -> None:
    notes = client.create_library("Notes")
    result = notes.upsert(texts=NOTES)
    assert (result.created, result.warnings) == (4, ())
    assert (notes.info().embedder, notes.info().dimension) == ("all_minilm_l6_v2", 384)
    for query, place in QUERIES.items():
        found = notes.search(query, k=1)
        assert found[0].text == NOTES[place]
        assert notes.search(text=query, k=1).ids == found.ids
    many = notes.search_many(list(QUERIES), k=1)
    assert [one[0].text for one in many] == [NOTES[place] for place in QUERIES.values()]
    long = notes.add(id="long", text="word " * 300)
    assert long.warnings[0].startswith("/text: all_minilm_l6_v2 reads the first 1269 of 1500 characters")
    notes.patch("long", text="A dog barks at the postman.")
    assert notes.search("an animal makes noise", k=1).ids == ["long"]
    notes.delete(["long"])


def test_in_memory() -> None:
    with vdb_sdk.connect() as client:
        use(client)


def test_in_a_directory_that_is_opened_again(tmp_path: Path) -> None:
    with vdb_sdk.connect(tmp_path / "data") as client:
        use(client)
        library = next(iter(client.libraries())).id
    with vdb_sdk.connect(tmp_path / "data") as client:
        assert client.library(library).search("astronomy", k=1)[0].text == NOTES[3]


def test_async_in_memory() -> None:
    async def run() -> list[str | None]:
        async with vdb_sdk.connect_async() as client:
            notes = await client.create_library("Notes", embedder="all_minilm_l6_v2")
            assert (await notes.info()).dimension == 384
            await notes.upsert(texts=NOTES)
            found = await asyncio.gather(*(notes.search(query, k=1) for query in QUERIES))
            return [one[0].text for one in found]

    assert asyncio.run(run()) == [NOTES[place] for place in QUERIES.values()]


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_over_http_and_after_a_restart(tmp_path: Path, end: str) -> None:
    server = ServerProcess(tmp_path / "data")
    with vdb_sdk.connect(server.url) as client:
        use(client)
        library = next(iter(client.libraries())).id
    getattr(server, end)()
    again = ServerProcess(tmp_path / "data")
    try:
        with vdb_sdk.connect(again.url) as client:
            assert client.library(library).info().embedder == "all_minilm_l6_v2"
            assert client.library(library).search("monetary policy", k=1)[0].text == NOTES[1]
    finally:
        again.kill()


def test_an_engine_without_the_plugin_says_which_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with vdb_sdk.connect(tmp_path / "data") as client:
        notes = client.create_library("Notes", id="notes")
        notes.upsert(ids=["a"], texts=NOTES[:1])
        row = notes.get("a").embedding
    monkeypatch.setenv("VDB_PLUGINS_DISABLED", "minilm")
    with vdb_sdk.connect(tmp_path / "data") as client:
        notes = client.library("notes")
        assert notes.search(row, k=1).ids == ["a"]
        calls: list[Callable[[], Any]] = [lambda: notes.search("cat"), lambda: notes.upsert(texts=["cat"])]
        for call in calls:
            with pytest.raises(vdb_sdk.ValidationError, match="'all_minilm_l6_v2' is not installed here"):
                call()


def test_a_directory_without_the_model_is_told_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VDB_EMBEDDER_PARAMS", f'{{"all_minilm_l6_v2": {{"directory": "{tmp_path}"}}}}')
    with vdb_sdk.connect() as client:
        notes = client.create_library("Notes")
        with pytest.raises(vdb_sdk.UnavailableError, match=r"tokenizer.json cannot be read") as error:
            notes.search("cat")
        assert error.value.code == "embedder_unavailable"
