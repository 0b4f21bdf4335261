"""The embeddings are the reference's, whatever the text and whatever else is in the batch."""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from vdb_core.errors import ValidationFailed
from vdb_core.persistence import Embedder
from vdb_embedder_minilm.embedder import MiniLM, _batches
from vdb_embedder_minilm.pieces import MAX_PIECES, Pieces
from vdb_embedder_minilm.weights import Model

HERE = Path(__file__).parent
TEXTS: list[str] = json.loads((HERE / "reference.json").read_text("utf-8"))["texts"]
REFERENCE = np.load(HERE / "reference.npy", allow_pickle=False)


def test_it_is_what_vdb_calls_an_embedder(minilm: MiniLM) -> None:
    assert isinstance(minilm, Embedder)
    assert (minilm.name, minilm.dimension) == ("all_minilm_l6_v2", 384)
    empty = minilm.embed([])
    assert (empty.dtype, empty.shape) == (np.float32, (0, 384))


def test_every_text_has_the_embedding_of_the_reference(minilm: MiniLM) -> None:
    made = minilm.embed(TEXTS)
    assert made.dtype == np.float32
    worst = np.abs(made - REFERENCE).max(axis=1)
    print(f"largest difference {worst.max():.1e}")
    assert worst.max() < 1e-5, [TEXTS[at][:40] for at in np.flatnonzero(worst >= 1e-5)]
    np.testing.assert_allclose(np.linalg.norm(made, axis=1), 1.0, atol=1e-6)


def test_neither_order_nor_company_changes_an_embedding(minilm: MiniLM) -> None:
    places = list(range(len(TEXTS))) * 3
    random.Random(1).shuffle(places)
    made = minilm.embed([TEXTS[at] for at in places])
    np.testing.assert_allclose(made, REFERENCE[places], atol=1e-5)
    alone = np.concatenate([minilm.embed([text]) for text in TEXTS])
    np.testing.assert_allclose(alone, REFERENCE, atol=1e-5)


def test_threads_may_share_it(minilm: MiniLM) -> None:
    with ThreadPoolExecutor(6) as pool:
        for made in pool.map(lambda _: minilm.embed(TEXTS[:20]), range(12)):
            np.testing.assert_allclose(made, REFERENCE[:20], atol=1e-5)


def test_a_batch_is_padded_to_its_longest_text_and_holds_texts_of_about_one_length() -> None:
    lengths = [random.Random(2).choice([3, 5, 20, 60, 256]) for _ in range(500)]
    batches = list(_batches(lengths))
    assert sorted(at for batch in batches for at in batch) == list(range(500))
    for batch in batches:
        longest = max(lengths[at] for at in batch)
        assert lengths[batch[-1]] == longest
        assert len(batch) == 1 or len(batch) * longest <= 512
    padded = sum(len(batch) * lengths[batch[-1]] for batch in batches)
    assert padded < 1.15 * sum(lengths)


# What is not read


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: repr(text[:20]))
def test_a_text_is_cut_where_the_reference_cuts_it(published: Path, text: str) -> None:
    whole = Tokenizer.from_file(str(published / "tokenizer.json"))
    whole.no_padding()
    whole.enable_truncation(MAX_PIECES)
    [(ids, read)] = Pieces(published / "tokenizer.json").of([text])
    cut = whole.encode(text)
    assert ids == cut.ids
    assert read == (cut.offsets[-2][1] if cut.overflowing else len(text))


def test_it_tells_how_much_of_a_text_it_does_not_read(minilm: MiniLM) -> None:
    assert minilm.unread(["short", "", "word " * 254, "word " * 255]) == [0, 0, 0, len(" word ")]
    long = "word " * 100_000
    assert minilm.unread([long]) == [len(long) - 254 * len("word ") + 1]
    np.testing.assert_allclose(minilm.embed([long]), minilm.embed(["word " * 254]), atol=1e-6)


def test_a_text_that_is_no_unicode_is_named(minilm: MiniLM) -> None:
    with pytest.raises(ValidationFailed, match=r"text 1: .*surrogate at code point 2"):
        minilm.embed(["fine", "no\ud83e"])


def test_one_thread_is_enough(published: Path) -> None:
    model = Model(weights=published / "model.safetensors", tokenizer=published / "tokenizer.json")
    np.testing.assert_allclose(MiniLM(model, threads=1).embed(TEXTS[:3]), REFERENCE[:3], atol=1e-5)
