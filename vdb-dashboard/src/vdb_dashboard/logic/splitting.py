"""Cuts a plain text into chunks at the gentlest place there is: a paragraph, a sentence, a word."""

from __future__ import annotations

from typing import Final

__all__ = ["split"]

_BREAKS: Final = ("\n\n", "\n", ". ", "! ", "? ", "; ", ", ", " ")
"""Where a text may be cut, best place first."""


def split(text: str, *, size: int, overlap: int = 0) -> list[str]:
    """Cut a text into pieces of at most ``size`` characters, each beginning with the end of the one before it.

    A piece ends at the best kind of break in its second half, at ``size`` where there is none. Blanks around a piece are
    dropped; no other character is lost.

    Args:
        text: What to cut.
        size: Characters a piece at most, 1 or more.
        overlap: Characters that a piece repeats of the one before at most, from the beginning of a word on; less than
            ``size``.
    """
    if size < 1 or not 0 <= overlap < size:
        raise ValueError(f"split: expected size >= 1 and 0 <= overlap < size; received {size} and {overlap}")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    pieces: list[str] = []
    end = 0
    start = _past_blanks(text, 0)
    while start < len(text):
        end = _end(text, start, size, beyond=end)
        pieces.append(text[start:end].strip())
        # Blanks that follow belong to no piece, and must not make one that only repeats.
        end = _past_blanks(text, end)
        if end == len(text):
            break
        start = _past_blanks(text, _next_start(text, start, end, overlap))
    return pieces


def _past_blanks(text: str, place: int) -> int:
    while place < len(text) and text[place].isspace():
        place += 1
    return place


def _end(text: str, start: int, size: int, *, beyond: int) -> int:
    """Where the piece that begins at ``start`` ends: further on than the one before, so that none repeats another."""
    if len(text) - start <= size:
        return len(text)
    least = max(start + (size + 1) // 2, beyond + 1)
    for mark in _BREAKS:
        found = text.rfind(mark, max(start, least - len(mark)), start + size)
        if found >= 0:
            return found + len(mark)
    return start + size


def _next_start(text: str, start: int, end: int, overlap: int) -> int:
    """Begin within the last ``overlap`` characters, behind a blank, and always further on than before."""
    if not overlap:
        return end
    earliest = max(start + 1, end - overlap)
    for place in range(earliest, end):
        if text[place - 1].isspace():
            return place
    return end
