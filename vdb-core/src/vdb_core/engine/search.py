"""The search plan: filter to bitmap, minus tombstones, then the cheapest route that keeps every promise.

::

    few allowed rows, no index, or the index failed   exact over the allowed rows of the base
    else                                              the active index over the base, with the bitmap
    always                                            exact over each delta segment
    merged, rescored from the stored rows in float64, ordered by (distance, age of the row)
    fewer than min(k, matches)                        exact over the base instead
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, final

import numpy as np

from vdb_core.engine.exact import pair_distances
from vdb_core.indexes import NO_SLOT, bitmap

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydantic import BaseModel

    from vdb_core.engine.blocks import Block
    from vdb_core.engine.exact import ExactKernel
    from vdb_core.engine.state import ActiveIndex, LibraryState
    from vdb_core.filters import Filter

__all__ = ["Found", "Request", "find"]

_log = logging.getLogger(__name__)

_FEW_ROWS: Final = 4096
"""Up to so many allowed rows, comparing each of them beats probing an index."""

_MAX_OVERFETCH: Final = 16_384
"""An index that cannot filter is asked for at most so many rows; beyond that, exact search is cheaper."""

_SHIFT: Final = np.int64(32)
_PAD: Final = np.iinfo(np.int64).max
"""A candidate is ``part << 32 | slot``; ascending candidates are ascending age."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is looked for; every query of a call shares it."""

    k: int
    filter: Filter | None
    params: BaseModel | None
    threads: int = 1


@final
@dataclass(slots=True, kw_only=True)
class Found:
    """What was found for each query, and how."""

    blocks: list[Block]
    candidates: NDArray[np.int64]
    """int64 ``[q, want]``: ``block << 32 | slot``; every entry is a row."""
    distances: NDArray[np.float64]
    """float64 ``[q, want]``, ascending."""
    exact: bool
    matches: int
    """Rows that may be found."""
    route: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@final
@dataclass(slots=True)
class _Part:
    number: int
    block: Block
    words: NDArray[np.uint64] | None
    count: int


def find(state: LibraryState, kernel: ExactKernel, queries: NDArray[np.float32], request: Request) -> Found:
    """Find the nearest rows of each query. Call under the library's read lock.

    Args:
        state: the library.
        kernel: searches exactly.
        queries: float32 ``[q, dim]``, in the form in which rows are stored.
        request: k, filter, parameters.
    """
    blocks = state.blocks()
    parts: list[_Part] = []
    for number, block in enumerate(blocks):
        words: NDArray[np.uint64] | None
        if request.filter is None:
            words = None if block.dead == 0 else block.alive_words()
            count = block.live
        else:
            words = state.matching(block, request.filter)
            count = bitmap.count(words)
        if count:
            parts.append(_Part(number, block, words, count))
    matches = sum(part.count for part in parts)
    want = min(request.k, matches)
    found = Found(
        blocks=blocks,
        candidates=np.empty((len(queries), 0), dtype=np.int64),
        distances=np.empty((len(queries), 0), dtype=np.float64),
        exact=True,
        matches=matches,
    )
    if want == 0 or not len(queries):
        found.route.append("nothing")
        found.candidates = np.empty((len(queries), want), dtype=np.int64)
        found.distances = np.empty((len(queries), want), dtype=np.float64)
        return found
    columns: list[NDArray[np.int64]] = []
    approximate: _Part | None = None
    active = state.active
    for part in parts:
        if part.block is state.base and active is not None:
            slots = _through_index(active, part, queries, request, found)
            if slots is not None:
                columns.append(slots)
                if not active.type.capabilities.exact:
                    approximate = part
                continue
        columns.append(_exactly(state, kernel, part, queries, request))
        found.route.append("exact" if part.block is state.base else "delta")
    candidates, distances = _rescore(state, blocks, queries, columns, want)
    found.exact = approximate is None
    if approximate is not None:
        short = np.flatnonzero(candidates[:, want - 1] == _PAD)
        if len(short):
            found.route.append("exact:short")
            again = [column[short] for column in columns]
            again.append(_exactly(state, kernel, approximate, queries[short], request))
            candidates[short], distances[short] = _rescore(state, blocks, queries[short], again, want)
            found.exact = len(short) == len(queries)
    found.candidates, found.distances = candidates, distances
    return found


def _through_index(
    active: ActiveIndex, part: _Part, queries: NDArray[np.float32], request: Request, found: Found
) -> NDArray[np.int64] | None:
    """Candidates from the active index; none where exact search is the better or the only way."""
    kind = active.type
    k = min(request.k, part.block.rows)
    if not kind.capabilities.exact and part.count <= _FEW_ROWS:
        return None
    allowed = part.words if kind.capabilities.native_filter else None
    if part.words is not None and allowed is None:
        k = min(part.block.rows, math.ceil(1.5 * k * part.block.rows / part.count) + 16)
        if k > _MAX_OVERFETCH:
            return None
    try:
        slots, _ = active.index.search(
            queries,
            k,
            allowed=allowed,
            params=request.params or active.type.search_params(),
            threads=request.threads,
        )
        columns = _checked(slots, part, len(queries))
    except Exception as error:  # noqa: BLE001 - a broken plugin degrades the answer to exact search, and says so
        _log.exception("index type %r failed in a search", kind.name)
        found.warnings.append(
            f"index type {kind.name!r} failed ({type(error).__name__}); searched exactly instead"
        )
        return None
    found.route.append(f"index:{kind.name}")
    return columns


def _exactly(
    state: LibraryState, kernel: ExactKernel, part: _Part, queries: NDArray[np.float32], request: Request
) -> NDArray[np.int64]:
    index = part.block.exact(kernel.builder(state.info["metric"]))
    k = min(request.k, part.count)
    slots, _ = index.search(queries, k, allowed=part.words, threads=request.threads)
    return _checked(slots, part, len(queries))


def _checked(slots: NDArray[np.uint32], part: _Part, queries: int) -> NDArray[np.int64]:
    """Turn slots into candidates; whatever is padding, out of range or not allowed becomes padding."""
    if slots.ndim != 2 or slots.shape[0] != queries or slots.dtype != np.uint32:
        raise TypeError(
            f"search returned slots of shape {slots.shape} and dtype {slots.dtype}; expected uint32 [{queries}, k]"
        )
    wide = slots.astype(np.int64)
    usable = wide < part.block.rows
    if part.words is not None:
        inside = np.where(usable, wide, 0)
        usable &= ((part.words[inside >> 6] >> (inside & 63).astype(np.uint64)) & np.uint64(1)).astype(bool)
    elif bool((slots == NO_SLOT).any()):
        usable &= slots != NO_SLOT
    return np.where(usable, wide | (np.int64(part.number) << _SHIFT), _PAD)


def _rescore(
    state: LibraryState,
    blocks: list[Block],
    queries: NDArray[np.float32],
    columns: list[NDArray[np.int64]],
    want: int,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Order candidates by exact distance, ties by age; keeps ``want`` a query, padded where there are fewer."""
    merged = columns[0] if len(columns) == 1 else np.concatenate(columns, axis=1)
    merged = np.sort(merged, axis=1)
    if merged.shape[1] < want:
        merged = np.pad(merged, ((0, 0), (0, want - merged.shape[1])), constant_values=_PAD)
    # An index that names a row twice counts once.
    merged[:, 1:][merged[:, 1:] == merged[:, :-1]] = _PAD
    flat = merged.ravel()
    distances = np.full(len(flat), np.inf)
    number = flat >> _SHIFT
    slot = flat & np.int64(0xFFFFFFFF)
    width = merged.shape[1]
    for at, block in enumerate(blocks):
        mine = np.flatnonzero(number == at) if len(blocks) > 1 else np.flatnonzero(flat != _PAD)
        step = 4096
        for begin in range(0, len(mine), step):
            some = mine[begin : begin + step]
            distances[some] = pair_distances(
                queries[some // width], block.vectors[slot[some]], state.info["metric"]
            )
    table = distances.reshape(merged.shape)
    order = np.argsort(table, axis=1, kind="stable")[:, :want]
    return np.take_along_axis(merged, order, axis=1), np.take_along_axis(table, order, axis=1)
