"""Texts over REST: every route that takes one, what it answers, and that nobody else waits for it."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from words_embedder import Words, with_embedders

from vdb_core.errors import EmbedderUnavailable
from vdb_server.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

L = "/v1/libraries/lib"


@pytest.fixture
def words() -> Words:
    return Words()


@pytest.fixture
def client(serve: Any, words: Words) -> Iterator[Any]:
    with serve(plugins=with_embedders(words)) as made:
        assert made("POST", "/v1/libraries", {"id": "lib", "name": "Lib"}).status == 201
        yield made


def fill(client: Any) -> None:
    rows = [{"id": "cat", "text": "a cat sleeps"}, {"id": "dog", "text": "a dog barks"}]
    answer = client("POST", f"{L}/chunks/upsert", {"chunks": rows})
    assert (answer.status, answer.json()["warnings"]) == (200, [])


def test_texts_go_in_and_come_out(client: Any) -> None:
    assert client("GET", L).json()["embedder"] is None
    fill(client)
    assert client("GET", L).json()["embedder"] == "words"
    made = client("POST", f"{L}/chunks", {"id": "bird", "text": "a bird sings"})
    assert made.status == 201
    assert "warnings" not in made.json()
    assert client("PATCH", f"{L}/chunks/dog", {"text": "a wolf howls"}).status == 200
    hits = client("POST", f"{L}/search", {"text": "wolf howls", "k": 1}).json()["hits"]
    assert [hit["id"] for hit in hits] == ["dog"]
    batch = {"queries": [{"text": "cat sleeps", "k": 1}, {"text": "bird sings", "k": 1}]}
    results = client("POST", f"{L}/search/batch", batch).json()["results"]
    assert [result["hits"][0]["id"] for result in results] == ["cat", "bird"]


def test_the_embedder_of_a_library_can_be_named(client: Any) -> None:
    made = client("POST", "/v1/libraries", {"id": "b", "name": "B", "embedder": "words"})
    assert (made.status, made.json()["embedder"], made.json()["dimension"]) == (201, "words", 16)
    changed = client("PATCH", L, {"embedder": "words"})
    assert (changed.status, changed.json()["embedder"], changed.json()["dimension"]) == (200, "words", 16)
    wrong = client("PATCH", L, {"embedder": "wrods"})
    assert (wrong.status, wrong.pointers) == (422, ["/embedder"])


def test_what_is_not_read_is_told_in_every_answer(client: Any, words: Words) -> None:
    words.reads = 5
    fill_answer = client("POST", f"{L}/chunks/upsert", {"chunks": [{"id": "x", "text": "longer than five"}]})
    assert fill_answer.json()["warnings"][0].startswith("/chunks/0/text: words reads the first 5 of 16")
    assert client("POST", f"{L}/chunks", {"text": "longer too"}).json()["warnings"]
    assert client("PATCH", f"{L}/chunks/x", {"text": "another long one"}).json()["warnings"]
    assert client("POST", f"{L}/search", {"text": "longer"}).json()["warnings"]
    assert "warnings" not in client("GET", f"{L}/chunks/x").json()


def test_an_export_remembers_its_embedder_where_that_is_not_installed(client: Any, serve: Any) -> None:
    fill(client)
    archive = client("GET", f"{L}/export").body
    with serve() as other:
        made = other(
            "POST", "/v1/libraries/import", body=archive, headers={"content-type": "application/x-tar"}
        )
        assert (made.status, made.json()["embedder"]) == (201, "words")
        row = other("GET", f"{L}/chunks/cat").json()["embedding"]
        hits = other("POST", f"{L}/search", {"embedding": row, "k": 1}).json()["hits"]
        assert hits[0]["id"] == "cat"
        refused = other("POST", f"{L}/search", {"text": "cat"})
        assert (refused.status, refused.pointers) == (422, ["/text"])
        assert "Install the plugin that brings 'words'" in refused.json()["detail"]


def test_a_model_that_is_not_there_is_the_operators_matter(client: Any, words: Words) -> None:
    words.fail_open = EmbedderUnavailable("no model: put one there")
    for path, body in (
        (f"{L}/search", {"text": "x"}),
        (f"{L}/search/batch", {"queries": [{"text": "x"}]}),
        (f"{L}/chunks/upsert", {"chunks": [{"text": "x"}]}),
        (f"{L}/chunks", {"text": "x"}),
        ("/v1/libraries", {"name": "n", "embedder": "words"}),
    ):
        answer = client("POST", path, body)
        assert (answer.status, answer.code) == (503, "embedder_unavailable")
        assert "put one there" in answer.json()["detail"]
        # Longer than clients wait by themselves.
        assert int(answer.headers["retry-after"]) > 60
    words.fail_open = None
    fill(client)


def test_nobody_waits_for_what_is_embedded(client: Any, words: Words) -> None:
    """More requests with texts than there are threads, none of which ends: everything else is answered."""
    row = {"id": "row", "embedding": [1.0] * 16}
    assert client("PATCH", L, {"embedder": "words"}).status == 200
    words.gate = threading.Event()
    with ThreadPoolExecutor(48) as pool:
        waiting = [pool.submit(client, "POST", f"{L}/search", {"text": f"t {n}"}) for n in range(40)]
        waiting += [pool.submit(client, "POST", f"{L}/chunks/upsert", {"chunks": [{"text": "t"}]})]
        waiting += [pool.submit(client, "PATCH", f"{L}/chunks/row", {"text": f"t {n}"}) for n in range(4)]
        assert words.entered.wait(10)
        began = time.perf_counter()
        assert client("GET", "/healthz").status == 200
        assert client("POST", f"{L}/chunks/upsert", {"chunks": [row]}).status == 200
        assert client("POST", f"{L}/search", {"embedding": row["embedding"]}).json()["hits"]
        assert client("GET", f"{L}/chunks").json()["items"]
        assert time.perf_counter() - began < 5
        assert not any(one.done() for one in waiting)
        words.gate.set()
        assert {one.result(20).status for one in waiting} == {200}


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"embedder": "nobody"}, "No embedder named 'nobody'"),
        ({"embedder_params": {"nobody": {}}}, "No embedder named 'nobody'"),
    ],
)
def test_settings_that_no_embedder_fits_are_refused_at_the_start(
    given: dict[str, Any], word: str, tmp_path: Any
) -> None:
    from vdb_core.errors import ValidationFailed
    from vdb_server.opening import open_engine

    with pytest.raises(ValidationFailed, match=word):
        open_engine(Settings(data_dir=tmp_path, **given))


def test_texts_under_a_key_are_embedded_and_written_once(client: Any, words: Words) -> None:
    headers = {"idempotency-key": '"once"', "content-type": "application/json"}
    body = b'{"chunks":[{"text":"a cat sleeps"}]}'
    first = client("POST", f"{L}/chunks/upsert", body=body, headers=headers)
    again = client("POST", f"{L}/chunks/upsert", body=body, headers=headers)
    assert (first.status, again.status) == (200, 200)
    assert first.body == again.body
    assert again.headers["idempotent-replayed"] == "true"
    assert words.asked == [["a cat sleeps"]]
    assert client("GET", L).json()["chunks"] == 1
