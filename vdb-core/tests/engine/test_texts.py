"""Texts in: which embedder makes their embeddings, what a library remembers of it, and what happens without it."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from words_embedder import Words, with_embedders

from vdb_core.errors import EmbedderUnavailable, PluginError, ValidationFailed
from vdb_core.services import EngineSettings, Services, WouldBlock, open_services

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ANIMALS = ["a cat sleeps", "a dog barks", "the whale swims far"]


@pytest.fixture
def words() -> Words:
    return Words()


@pytest.fixture
def services(words: Words) -> Iterator[Services]:
    with open_services(EngineSettings(), plugins=with_embedders(words)) as opened:
        opened.libraries.create({"id": "lib", "name": "lib"}).result(10)
        yield opened


def put(services: Services, texts: list[str] = ANIMALS, **more: Any) -> Any:
    rows = [{"id": text.split()[1], "text": text, **more} for text in texts]
    return services.libraries.upsert_chunks("lib", rows).result(10)


def find(services: Services, text: str, **more: Any) -> list[str]:
    return [str(hit["id"]) for hit in services.queries.search("lib", {"text": text, **more}).hits]


def faults_of(error: pytest.ExceptionInfo[ValidationFailed]) -> list[tuple[str, str]]:
    return [(fault.pointer, fault.detail) for fault in error.value.faults]


# What a user with nothing but texts does


def test_texts_are_found_by_texts(services: Services, words: Words) -> None:
    assert services.libraries.get("lib").embedder is None
    result = put(services)
    assert (result.created, result.warnings) == (3, [])
    library = services.libraries.get("lib")
    assert (library.embedder, library.dimension, library.revision) == ("words", 16, 2)
    assert find(services, "my cat", k=1) == ["cat"]
    stored = services.libraries.get_chunk("lib", "whale").embedding
    np.testing.assert_allclose(stored, words.of(ANIMALS[2]), rtol=1e-6)
    assert words.opened == 1


def test_an_embedding_that_is_given_wins(services: Services, words: Words) -> None:
    given = np.ones(16, dtype=np.float32)
    rows = [{"id": "a", "text": "cat", "embedding": given.tolist()}, {"id": "b", "text": "dog"}]
    services.libraries.upsert_chunks("lib", rows).result(10)
    np.testing.assert_allclose(services.libraries.get_chunk("lib", "a").embedding, given, rtol=1e-6)
    assert words.asked == [["dog"]]


def test_a_batch_of_texts_is_embedded_at_once(services: Services, words: Words) -> None:
    put(services)
    words.asked.clear()
    queries = [
        {"text": "cat", "k": 1},
        {"text": "dog", "k": 1},
        {"embedding": [1.0] * 16, "k": 2},
        {"text": "cat"},
    ]
    answers = services.queries.search_batch("lib", queries)
    assert [answer.hits[0]["id"] for answer in answers[:2]] == ["cat", "dog"]
    assert [len(answer.hits) for answer in answers] == [1, 1, 2, 3]
    assert words.asked == [["cat", "dog"]]


def test_a_single_chunk_may_be_a_text(services: Services) -> None:
    chunk = services.libraries.create_chunk("lib", {"id": "x", "text": "one cat"}).result(10)
    assert chunk.to_json()["text"] == "one cat"
    assert services.libraries.get("lib").embedder == "words"


# Which embedder


def test_a_library_that_chooses_has_the_dimension_of_its_embedder() -> None:
    plugins = with_embedders(Words("words"), Words("other"))
    with open_services(
        EngineSettings(embedder_params={"other": {"dimension": 7}}), plugins=plugins
    ) as services:
        made = services.libraries.create({"id": "lib", "name": "l", "embedder": "other"}).result(10)
        assert (made.embedder, made.dimension) == ("other", 7)
        put(services)
        assert services.libraries.get_chunk("lib", "cat").embedding.shape == (7,)


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"embedder": "wrods"}, "Did you mean 'words'"),
        ({"embedder": 3}, "expected a string"),
        ({"embedder": "words", "dimension": 3}, "16 numbers"),
    ],
)
def test_a_choice_that_cannot_be_is_refused(services: Services, body: dict[str, object], word: str) -> None:
    with pytest.raises(ValidationFailed) as error:
        services.libraries.create({"id": "other", "name": "l", **body})
    assert faults_of(error)[0][0] == "/embedder"
    assert word in str(error.value)


def test_of_several_embedders_one_has_to_be_chosen() -> None:
    plugins = with_embedders(Words("words"), Words("other"))
    with open_services(EngineSettings(), plugins=plugins) as services:
        services.libraries.create({"id": "lib", "name": "l"}).result(10)
        with pytest.raises(ValidationFailed, match=r"other, words.*VDB_EMBEDDER"):
            put(services)
    with open_services(EngineSettings(embedder="other"), plugins=plugins) as services:
        services.libraries.create({"id": "lib", "name": "l"}).result(10)
        put(services)
        assert services.libraries.get("lib").embedder == "other"


def test_without_an_embedder_every_row_says_what_to_do() -> None:
    with open_services(EngineSettings(), plugins=with_embedders()) as services:
        services.libraries.create({"id": "lib", "name": "l"}).result(10)
        with pytest.raises(ValidationFailed) as error:
            put(services)
        assert [pointer for pointer, _ in faults_of(error)] == [f"/chunks/{at}/embedding" for at in range(3)]
        assert "pip install" in str(error.value)
        with pytest.raises(ValidationFailed, match=r"/text: .*pip install"):
            find(services, "x")


def test_rows_of_unknown_origin_are_not_mixed_with_texts(services: Services, words: Words) -> None:
    services.libraries.upsert_chunks("lib", [{"id": "x", "embedding": words.of("a cat").tolist()}]).result(10)
    for call in (lambda: put(services), lambda: find(services, "cat")):
        with pytest.raises(ValidationFailed, match=r'PATCH the library with {"embedder": "words"}'):
            call()
    assert services.libraries.get("lib").embedder is None
    said = services.libraries.patch("lib", {"embedder": "words"}).result(10)
    assert (said.embedder, said.revision) == ("words", 3)
    assert find(services, "cat") == ["x"]
    put(services)
    assert find(services, "dog", k=1) == ["dog"]


def test_another_embedder_is_refused_once_there_are_rows(words: Words) -> None:
    plugins = with_embedders(words, Words("other"))
    with open_services(EngineSettings(embedder="words"), plugins=plugins) as services:
        services.libraries.create({"id": "lib", "name": "l"}).result(10)
        services.libraries.patch("lib", {"embedder": "other"}).result(10)
        services.libraries.patch("lib", {"embedder": None}).result(10)
        put(services)
        for other in ("other", None):
            with pytest.raises(ValidationFailed, match=r"embeddings are those of 'words'"):
                services.libraries.patch("lib", {"embedder": other}).result(10)
        assert services.libraries.patch("lib", {"embedder": "words", "name": "n"}).result(10).name == "n"


def test_another_dimension_is_refused(services: Services) -> None:
    services.libraries.create({"id": "three", "name": "l", "dimension": 3}).result(10)
    with pytest.raises(ValidationFailed, match=r"16 numbers, and the library's have 3"):
        services.libraries.upsert_chunks("three", [{"text": "x"}])
    with pytest.raises(ValidationFailed, match=r"16 numbers"):
        services.libraries.patch("three", {"embedder": "words"})


def test_what_was_embedded_for_a_library_that_changed_meanwhile_is_refused(
    services: Services, words: Words
) -> None:
    words.gate = threading.Event()
    failures: list[Exception] = []

    def write() -> None:
        try:
            put(services)
        except ValidationFailed as error:
            failures.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    assert words.entered.wait(10)
    # No lock is held while texts are embedded: others write and read.
    services.libraries.upsert_chunks("lib", [{"id": "x", "embedding": [1.0] * 16}]).result(10)
    assert len(services.queries.search("lib", {"embedding": [1.0] * 16}).hits) == 1
    words.gate.set()
    thread.join(10)
    assert "send the request again" in str(failures[0])
    assert services.libraries.get("lib").embedder is None
    assert services.libraries.get("lib").chunks == 1


# Changed texts


def test_another_text_gets_another_embedding(services: Services, words: Words) -> None:
    put(services)
    services.libraries.patch_chunk("lib", "cat", {"text": "a bird sings"}).result(10)
    assert find(services, "bird sings", k=1) == ["cat"]
    services.libraries.patch_chunk("lib", "cat", {"text": "x", "embedding": words.of("dog").tolist()}).result(
        10
    )
    np.testing.assert_allclose(
        services.libraries.get_chunk("lib", "cat").embedding, words.of("dog"), rtol=1e-6
    )


def test_the_same_text_and_no_text_keep_the_embedding(services: Services) -> None:
    put(services, embedding=[1.0] * 16)
    services.libraries.patch("lib", {"embedder": "words"}).result(10)
    for patch in ({"text": ANIMALS[0]}, {"metadata": {"a": 1}}, {"text": None}):
        services.libraries.patch_chunk("lib", "cat", patch).result(10)
        np.testing.assert_allclose(
            services.libraries.get_chunk("lib", "cat").embedding, np.ones(16), rtol=1e-6
        )


def test_where_no_embedder_is_chosen_a_text_changes_alone(services: Services, words: Words) -> None:
    put(services, embedding=[1.0] * 16)
    services.libraries.patch_chunk("lib", "cat", {"text": "another"}).result(10)
    np.testing.assert_allclose(services.libraries.get_chunk("lib", "cat").embedding, np.ones(16), rtol=1e-6)
    assert words.asked == []


# What no embedder can do


@pytest.mark.parametrize("text", ["", "  \n\t ", None])
def test_a_blank_text_is_no_text(services: Services, text: str | None) -> None:
    with pytest.raises(ValidationFailed, match=r"/chunks/0: expected embedding"):
        services.libraries.upsert_chunks("lib", [{"text": text}])
    with pytest.raises(ValidationFailed, match=r"blank|exactly one"):
        services.queries.search("lib", {"text": text})


def test_a_lone_surrogate_is_a_fault_in_its_place(services: Services) -> None:
    with pytest.raises(ValidationFailed, match=r"/chunks/1/text: .*surrogate"):
        services.libraries.upsert_chunks("lib", [{"text": "fine"}, {"text": "\ud83e"}])
    with pytest.raises(ValidationFailed, match=r"/queries/1/text: .*surrogate"):
        services.queries.search_batch("lib", [{"text": "fine"}, {"text": "\ud83e"}])


def test_what_is_longer_than_the_embedder_reads_is_told(services: Services, words: Words) -> None:
    words.reads = 10
    put(services)
    rows = [{"id": "short", "text": "short"}, {"id": "long", "text": "x" * 25}]
    result = services.libraries.upsert_chunks("lib", rows).result(10)
    assert len(result.warnings) == 1
    assert result.warnings[0].startswith("/chunks/1/text: words reads the first 10 of 25 characters")
    chunk = services.libraries.create_chunk("lib", {"text": "y" * 11}).result(10)
    assert chunk.to_json()["warnings"] == list(chunk.warnings)
    assert chunk.warnings[0].startswith("/text: words reads")
    assert services.libraries.patch_chunk("lib", "cat", {"text": "z" * 11}).result(10).warnings
    assert services.queries.search("lib", {"text": "z" * 11}).warnings[0].startswith("/text: words reads")
    many = services.libraries.upsert_chunks("lib", [{"text": "x" * 25}] * 30).result(10).warnings
    assert len(many) == 21
    assert many[-1] == "10 more texts are longer than words reads."


# Waiting


def test_without_embed_nothing_is_embedded(services: Services, words: Words) -> None:
    calls = (
        lambda: services.libraries.upsert_chunks("lib", [{"text": "a cat"}], embed=False),
        lambda: services.libraries.create_chunk("lib", {"text": "a cat"}, embed=False),
        lambda: services.queries.search("lib", {"text": "cat"}, wait=False),
        lambda: services.queries.search_batch("lib", [{"text": "cat"}], embed=False),
        lambda: services.queries.search_batch("lib", [{"text": "cat"}, {"text": "dog"}], embed=False),
    )
    for call in calls:
        with pytest.raises(WouldBlock):
            call()
    assert words.opened == 0
    services.libraries.upsert_chunks("lib", [{"embedding": [1.0] * 16}], embed=False).result(10)


def test_a_closed_engine_stops_embedding_after_the_slice_under_way(words: Words) -> None:
    words.gate = threading.Event()
    failures: list[Exception] = []
    with open_services(EngineSettings(), plugins=with_embedders(words)) as services:
        services.libraries.create({"id": "lib", "name": "l"}).result(10)

        def write() -> None:
            try:
                services.libraries.upsert_chunks("lib", [{"text": f"t {n}"} for n in range(5_000)])
            except Exception as error:  # noqa: BLE001 - looked at below
                failures.append(error)

        thread = threading.Thread(target=write)
        thread.start()
        assert words.entered.wait(10)
    words.gate.set()
    thread.join(10)
    assert "closed" in str(failures[0])
    assert len(words.asked) == 1


# Plugins that fail


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (lambda made: made.tolist(), "received list"),
        (lambda made: made.astype(np.float64), "float64"),
        (lambda made: made[:, :3], r"\[3, 3\]"),
        (lambda made: made * np.float32(np.nan), "NaN"),
        (lambda made: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_what_an_embedder_may_not_do_is_its_authors_fault(
    services: Services, words: Words, spoil: Any, word: str
) -> None:
    words.spoil = spoil
    with pytest.raises(PluginError, match=f"embedder 'words'.*{word}"):
        put(services)
    assert services.libraries.get("lib").chunks == 0


def test_an_embedder_that_cannot_be_opened_is_tried_again(services: Services, words: Words) -> None:
    words.fail_open = EmbedderUnavailable("no model")
    with pytest.raises(EmbedderUnavailable, match=r"no model"):
        put(services)
    words.fail_open = RuntimeError("odd")
    with pytest.raises(PluginError, match=r"opening it raised RuntimeError: odd"):
        find(services, "cat")
    words.fail_open = None
    assert put(services).created == 3


def test_those_who_wait_for_an_opening_that_fails_have_its_failure(services: Services, words: Words) -> None:
    words.gate, words.fail_open = threading.Event(), EmbedderUnavailable("no model")
    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(find, services, "cat") for _ in range(6)]
        assert words.entered.wait(10)
        time.sleep(0.2)
        words.gate.set()
        assert {str(one.exception(10)) for one in asked} == {"no model"}
    assert words.opened == 1


# After a restart


def test_recovery_embeds_nothing_and_a_missing_embedder_degrades(tmp_path: Path, words: Words) -> None:
    settings = EngineSettings(data_dir=tmp_path)
    with open_services(settings, plugins=with_embedders(words)) as services:
        services.libraries.create({"id": "lib", "name": "l"}).result(10)
        put(services)
        services.libraries.export("lib")
    for snapshot in (False, True):
        # Once from the journal, once from a snapshot; by another plugin of the same name it is the same library.
        fresh = Words()
        with open_services(settings, plugins=with_embedders(fresh)) as services:
            assert services.libraries.get("lib").embedder == "words"
            assert fresh.asked == []
            assert find(services, "dog", k=1) == ["dog"]
            if not snapshot:
                assert services.indexing.snapshot("lib").wait(20)
    with open_services(settings, plugins=with_embedders(Words("other"))) as services:
        assert services.libraries.get("lib").embedder == "words"
        hits = services.queries.search("lib", {"embedding": words.of("dog").tolist(), "k": 1}).hits
        assert hits[0]["id"] == "dog"
        services.libraries.upsert_chunks("lib", [{"id": "n", "embedding": [1.0] * 16, "text": "x"}]).result(
            10
        )
        told = r"the embedder 'words' is not installed here .installed: other.*Install the plugin"
        for call in (
            lambda: find(services, "dog"),
            lambda: put(services),
            lambda: services.libraries.patch_chunk("lib", "dog", {"text": "y"}),
        ):
            with pytest.raises(ValidationFailed, match=told):
                call()
