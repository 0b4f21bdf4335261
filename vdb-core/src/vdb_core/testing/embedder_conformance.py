"""The suite for embedders: float32 of one dimension, the same for the same text, whatever stands beside it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pytest

from vdb_core.persistence import Embedder
from vdb_core.plugins import EmbedderType, validate_params
from vdb_core.plugins.validation import check_records

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["EmbedderConformance"]

TEXTS = (
    "The whale is a mammal of the open sea.",
    "A sailor hunts whales.",
    "Quarterly revenue rose by four percent.",
    "Zürich, 東京, Ελλάδα: cities.",
    "🐋",
    "x",
    "one two three " * 2000,
    "line\nbreaks\tand\x00control\x7f",
)
"""Texts that a user may send: languages, no letters at all, one letter, far more than a model reads."""


class EmbedderConformance:
    """Subclass it, name it ``Test...``, and set ``embedder_type``."""

    embedder_type: ClassVar[EmbedderType]
    """The type that is tested."""

    params: ClassVar[Mapping[str, object]] = {}
    """Settings to test with."""

    tolerance: ClassVar[float] = 1e-5
    """How far a number may be off where a text is embedded beside others: sums are rounded in another order."""

    similar: ClassVar[tuple[str, str, str]] = (
        "a whale in the ocean",
        "a whale swims in the ocean",
        "the tax office sent a letter",
    )
    """Two texts that are nearer to each other than to the third."""

    @pytest.fixture(scope="class")
    @classmethod
    def embedder(cls) -> Embedder:
        """The embedder, opened once."""
        return cls.embedder_type.open(validate_params(cls.embedder_type.params, cls.params, "/params"))

    def test_the_record_is_well_formed(self) -> None:
        """The record has a usable name, summary, opener and a parameter model with defaults."""
        _ = check_records("vdb_register_embedders", [self.embedder_type])

    def test_it_has_a_name_and_a_dimension(self, embedder: Embedder) -> None:
        """Name is text, dimension a positive number, and both stay as they are."""
        assert isinstance(embedder, Embedder), "open() returns an Embedder: name, dimension, embed(texts)"
        assert isinstance(embedder.name, str), f"name is text; received {embedder.name!r}"
        assert embedder.name, "name is the model's name; received an empty text"
        assert isinstance(embedder.dimension, int), f"dimension is an int; received {embedder.dimension!r}"
        assert 1 <= embedder.dimension <= 8192, f"dimension is 1 to 8,192; received {embedder.dimension}"
        before = (embedder.name, embedder.dimension)
        _ = embedder.embed(TEXTS[:1])
        assert (embedder.name, embedder.dimension) == before, "name or dimension changed with the first text"

    def test_shapes_and_types(self, embedder: Embedder) -> None:
        """embed() returns float32 [texts, dimension], finite, a row a text, for one text and for many."""
        for count in (1, 2, len(TEXTS)):
            _check(embedder, TEXTS[:count])

    def test_no_text_is_a_zero_vector(self, embedder: Embedder) -> None:
        """No embedding is all zeros, which has no direction under cosine."""
        lengths = np.linalg.norm(embedder.embed(TEXTS).astype(np.float64), axis=1)
        empty = [TEXTS[at][:30] for at in np.flatnonzero(lengths == 0)]
        assert not empty, (
            f"the embedding of {empty[0]!r} is all zeros; give texts without words a vector of their own"
        )

    def test_order_and_company_change_nothing(self, embedder: Embedder) -> None:
        """A text has the same embedding alone, beside others, beside itself, and wherever it stands in the batch."""
        alone = np.concatenate([embedder.embed([text]) for text in TEXTS])
        for what, order in (
            ("in a batch", range(len(TEXTS))),
            ("turned round", range(len(TEXTS) - 1, -1, -1)),
        ):
            places = list(order)
            together = embedder.embed([TEXTS[at] for at in places])
            self._check_same(together, alone[places], f"embedded {what}")
        twice = embedder.embed([TEXTS[0], TEXTS[2], TEXTS[0]])
        self._check_same(twice[:1], twice[2:], "the same text twice in a batch")

    def test_repetition_changes_nothing(self, embedder: Embedder) -> None:
        """The same call gives the same numbers, also from an embedder that was opened anew."""
        again = self.embedder_type.open(validate_params(self.embedder_type.params, self.params, "/params"))
        first = embedder.embed(TEXTS)
        self._check_same(embedder.embed(TEXTS), first, "embedded again")
        self._check_same(again.embed(TEXTS), first, "embedded by an embedder that was opened anew")

    def test_different_texts_differ(self, embedder: Embedder) -> None:
        """Texts that mean different things have different embeddings."""
        matrix = embedder.embed(TEXTS[:3])
        assert len({row.tobytes() for row in matrix}) == 3, (
            "three different sentences do not have three embeddings"
        )

    def test_similar_texts_are_nearer(self, embedder: Embedder) -> None:
        """Of the three texts of ``similar`` the first two are nearer to each other than to the third."""
        matrix = embedder.embed(self.similar).astype(np.float64)
        unit = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
        near, far = float(unit[0] @ unit[1]), float(unit[0] @ unit[2])
        assert near > far, (
            f"cosine of {self.similar[0]!r} with {self.similar[1]!r} is {near:.3f}, with {self.similar[2]!r} {far:.3f}; "
            "expected the first to be larger"
        )

    def test_threads_may_embed_at_once(self, embedder: Embedder) -> None:
        """Several threads at once get what one gets alone."""
        alone = [embedder.embed([text]) for text in TEXTS[:6]]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(lambda text: embedder.embed([text]), TEXTS[:6] * 4))
        for at, matrix in enumerate(together):
            self._check_same(matrix, alone[at % 6], "embedded beside another thread")

    def test_what_it_returned_stays(self, embedder: Embedder) -> None:
        """The array of one call is not written to by the next."""
        first = embedder.embed(TEXTS[:2])
        kept = first.copy()
        _ = embedder.embed(TEXTS[2:4])
        assert first.tobytes() == kept.tobytes(), (
            "the next call wrote into the array of the first; return a new one"
        )

    def _check_same(self, received: NDArray[np.float32], expected: NDArray[np.float32], what: str) -> None:
        assert received.shape == expected.shape, f"{what}: shape {received.shape}; expected {expected.shape}"
        off = np.abs(received.astype(np.float64) - expected).max(axis=1) / np.maximum(
            1.0, np.abs(expected).max(axis=1)
        )
        worst = int(np.argmax(off))
        assert off[worst] <= self.tolerance, (
            f"{what}: row {worst} is off by {off[worst]:.2g}; expected {self.tolerance:g} at most. Is padding masked?"
        )


def _check(embedder: Embedder, texts: Sequence[str]) -> None:
    matrix = embedder.embed(texts)
    assert isinstance(matrix, np.ndarray), f"embed() returns an array; received {type(matrix)}"
    assert matrix.dtype == np.float32, f"embed() returns float32; received {matrix.dtype}"
    expected = (len(texts), embedder.dimension)
    assert matrix.shape == expected, (
        f"embed() of {len(texts)} texts: expected {expected}; received {matrix.shape}"
    )
    assert np.isfinite(matrix).all(), "an embedding has a NaN or an infinity"
