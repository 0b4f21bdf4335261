"""Texts to word pieces, as many as the model reads, without working through a long text for its beginning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, final

from tokenizers import Tokenizer

from vdb_core.errors import ValidationFailed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["MAX_PIECES", "Pieces"]

MAX_PIECES: Final = 256
"""Word pieces that the model was made to read, the two that mark begin and end included."""

_BEGINNING: Final = 4_096
"""Characters that are looked at first."""
_LONGEST_WORD: Final = 100
"""Characters of a word; a longer one is unknown as a whole. One that was cut short may become as many pieces."""


@final
class Pieces:
    """Cuts texts into word pieces. Safe to call from any thread."""

    def __init__(self, file: Path) -> None:
        self._tokenizer: Any = Tokenizer.from_file(str(file))
        # The file asks for 128 pieces, and pads every text to them.
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def of(self, texts: Sequence[str]) -> list[tuple[list[int], int]]:
        """The pieces of each text, and how many of its characters they stand for.

        Raises:
            ValidationFailed: a text is no Unicode.
        """
        for at, text in enumerate(texts):
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise ValidationFailed.at(
                    "",
                    f"text {at}: expected Unicode text; received a lone surrogate at code point {error.start}",
                ) from error
        encodings = self._tokenizer.encode_batch([text[:_BEGINNING] for text in texts])
        return [self._kept(text, encoding) for text, encoding in zip(texts, encodings, strict=True)]

    def _kept(self, text: str, encoding: Any) -> tuple[list[int], int]:
        seen = _BEGINNING
        # Enough when no word that the cut may have changed reaches into what is kept.
        while seen < len(text) and len(encoding.ids) <= MAX_PIECES + _LONGEST_WORD:
            seen *= 2
            encoding = self._tokenizer.encode(text[:seen])
        ids: list[int] = encoding.ids
        if len(ids) <= MAX_PIECES:
            return ids, len(text)
        return [*ids[: MAX_PIECES - 1], ids[-1]], encoding.offsets[MAX_PIECES - 2][1]
