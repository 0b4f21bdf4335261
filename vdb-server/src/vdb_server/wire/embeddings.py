"""Reads a body of many rows with the embeddings cut out of it, so that their numbers never lie in memory all at once.

::

    {"chunks":[{"id":"a","embedding":[0.1,0.2]},…]}     as it came
    {"chunks":[{"id":"a","embedding":"MARK0"},…]}       what is parsed as a whole
    [0.1,0.2]                                           what is parsed one by one, each made a row of float32 at once

A number is an object while it is Python's. Those of one row fit into the processor's cache and are used again for the
next row; those of a thousand rows do not, and cost more than twice as much each.

Whatever is not plain is parsed in the plain way, which knows how to say what is wrong with it: this one refuses
nothing, and makes of a body what the plain way and ``to_matrix`` make of it.
"""

from __future__ import annotations

import os
import re
import struct
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
import orjson

from vdb_server.wire.json_body import parse_object

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["parse_rows"]

_KEY: Final = b'"embedding"'
_ARRAY: Final = re.compile(rb'"embedding"[ \t\r\n]*:[ \t\r\n]*\[')
_WORTH_BYTES: Final = 16 << 10
_LEVELS: Final = 8
"""Arrays that are cut out stand on the fourth level; where fewer than this are allowed, the plain way counts them."""


def parse_rows(raw: bytes, *, max_depth: int) -> dict[str, object]:
    """Parse a body that is an object with ``chunks``; raises as ``parse_object``.

    Embeddings that are lists of numbers of one length come as float32 ``[dim]``, all others as they are.
    """
    if len(raw) >= _WORTH_BYTES and max_depth >= _LEVELS:
        given = _parse_apart(raw, max_depth)
        if given is not None:
            return given
    return parse_object(raw, max_depth=max_depth)


def _parse_apart(raw: bytes, max_depth: int) -> dict[str, object] | None:
    # Nobody can know it beforehand, so it stands nowhere in the body.
    mark = os.urandom(16).hex()
    spans = _spans(raw)
    if not spans:
        return None
    pieces: list[bytes] = []
    at = 0
    for number, (begin, end) in enumerate(spans):
        pieces += (raw[at:begin], b'"%b%d"' % (mark.encode(), number))
        at = end
    pieces.append(raw[at:])
    try:
        given = parse_object(b"".join(pieces), max_depth=max_depth)
    except Exception:  # noqa: BLE001 - the plain way says it of the body as it came
        return None
    chunks = given.get("chunks")
    if not isinstance(chunks, list):
        return None
    rows = [row for row in cast("list[Any]", chunks) if type(row) is dict and "embedding" in row]
    # Each mark in its place: none within metadata, none behind a second key of the same name.
    if [row["embedding"] for row in rows] != [f"{mark}{number}" for number in range(len(spans))]:
        return None
    matrix = _matrix(raw, spans)
    if matrix is None:
        return None
    for row, values in zip(rows, matrix, strict=True):
        row["embedding"] = values
    return given


def _spans(raw: bytes) -> list[tuple[int, int]]:
    """Where arrays under the key stand; none where anything is unusual.

    What looks like one and is none, the end of a longer key, keeps its mark in the wrong place.
    """
    spans: list[tuple[int, int]] = []
    at = raw.find(_KEY)
    while at >= 0:
        opened = _ARRAY.match(raw, at)
        if opened is None:
            return []
        begin = opened.end() - 1
        end = raw.find(b"]", begin) + 1
        if not end:
            return []
        spans.append((begin, end))
        at = raw.find(_KEY, end)
    return spans


def _matrix(raw: bytes, spans: list[tuple[int, int]]) -> NDArray[np.float32] | None:
    """The arrays as rows; ``None`` where they are not all numbers, and equally many."""
    view = memoryview(raw)
    packed: list[bytes] = []
    pack: struct.Struct | None = None
    for begin, end in spans:
        # Packing takes true for 1 and false for 0; no number has these letters.
        if raw.find(b"t", begin, end) >= 0 or raw.find(b"f", begin, end) >= 0:
            return None
        try:
            numbers = orjson.loads(view[begin:end])
            if pack is None:
                pack = struct.Struct(f"{len(numbers)}d")
            packed.append(pack.pack(*numbers))
        except (ValueError, struct.error, OverflowError):
            return None
    if pack is None or not pack.size:
        return None
    wide = np.frombuffer(b"".join(packed)).reshape(len(spans), -1)
    with np.errstate(over="ignore"):
        return wide.astype(np.float32)
