"""The search plan: filter to bitmap, minus tombstones, then the cheapest route that keeps every promise.

::

    few allowed rows, no index, or the index failed   exact over the allowed rows of the base
    else                                              the active index over the base, with the bitmap
    always                                            exact over each delta segment
    merged, rescored from the stored rows in float64, ordered by (distance, age of the row): see ``rank``
    fewer than min(k, matches)                        exact over the base instead
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, final

import numpy as np

from vdb_core.engine.rank import PAD, candidates_of_many, candidates_of_one, merged, rank_many
from vdb_core.indexes import bitmap

if TYPE_CHECKING:
    from collections.abc import Hashable

    from numpy.typing import NDArray
    from pydantic import BaseModel

    from vdb_core.engine.blocks import Block
    from vdb_core.engine.exact import ExactKernel
    from vdb_core.engine.state import ActiveIndex, LibraryState
    from vdb_core.filters import Filter

__all__ = ["Found", "Plan", "Request", "find", "is_filter_known", "plan"]

_log = logging.getLogger(__name__)

_FEW_ROWS: Final = 4096
"""Up to so many allowed rows, comparing each of them beats probing an index."""

_MAX_OVERFETCH: Final = 16_384
"""An index that cannot filter is asked for at most so many rows; beyond that, exact search is cheaper."""

_SHARES: Final = 16
"""Filtered searches are of one kind where about as large a share of the rows is allowed, in so many steps."""

_FEW_HITS: Final = 64
"""Up to so many hits one query is ranked without arrays; from about 200 on arrays would be quicker."""


@final
@dataclass(slots=True, kw_only=True)
class Request:
    """What is looked for; every query of a call shares it, and nobody changes it: a frozen one takes longer to make."""

    k: int
    filter: Filter | None
    params: BaseModel | None
    params_text: str | None = None
    """The parameters as text, by which searches are told apart that take different times."""
    threads: int = 1


@final
@dataclass(slots=True, kw_only=True)
class Found:
    """What was found for each query, and how."""

    blocks: list[Block]
    candidates: list[list[int]]
    """``[q][want]``: ``block << 32 | slot``."""
    distances: list[list[float]]
    """``[q][want]``, ascending."""
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


@final
@dataclass(slots=True, kw_only=True)
class Plan:
    """Where a search will look."""

    blocks: list[Block]
    parts: list[_Part]
    matches: int
    """Rows that may be found."""
    numbers: int
    """Numbers that an exact search of a query reads."""
    kind: Hashable
    """Searches of one kind take about as long as each other."""


def is_filter_known(state: LibraryState, wanted: Filter) -> bool:
    """Whether planning a search with this filter takes next to no time. Call under the library's read lock."""
    return all(block.knows(wanted, documents_version=state.documents.version) for block in state.blocks())


def plan(state: LibraryState, request: Request) -> Plan:
    """Plan a search. Call under the library's read lock."""
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
    share = -1 if request.filter is None else _SHARES * matches // max(1, sum(block.rows for block in blocks))
    few = matches <= _FEW_ROWS
    return Plan(
        blocks=blocks,
        parts=parts,
        matches=matches,
        numbers=sum(part.count * part.block.vectors.shape[1] for part in parts),
        kind=(request.k.bit_length(), request.params_text, share, few),
    )


def find(
    state: LibraryState,
    kernel: ExactKernel,
    queries: NDArray[np.float32],
    request: Request,
    planned: Plan | None = None,
) -> Found:
    """Find the nearest rows of each query. Call under the library's read lock.

    Args:
        state: the library.
        kernel: searches exactly.
        queries: float32 ``[q, dim]``, in the form in which rows are stored.
        request: k, filter, parameters.
        planned: the plan, where there is one, made under the same lock.
    """
    planned = planned or plan(state, request)
    blocks, parts, matches = planned.blocks, planned.parts, planned.matches
    want = min(request.k, matches)
    found = Found(blocks=blocks, candidates=[], distances=[], exact=True, matches=matches)
    if want == 0 or not len(queries):
        found.route.append("nothing")
        found.candidates, found.distances = [[] for _ in queries], [[] for _ in queries]
    elif len(queries) == 1 and want <= _FEW_HITS:
        _find_one(state, kernel, parts, queries, request, found, want)
    else:
        _find_many(state, kernel, parts, queries, request, found, want)
    return found


def _find_one(
    state: LibraryState,
    kernel: ExactKernel,
    parts: list[_Part],
    query: NDArray[np.float32],
    request: Request,
    found: Found,
    want: int,
) -> None:
    best: tuple[list[int], list[float]] = [], []
    approximate: _Part | None = None
    for part in parts:
        slots, through = _slots(state, kernel, part, query, request, found)
        best = _joined(state, kernel, part, query, slots, best, want)
        if through:
            approximate = part
    found.exact = approximate is None
    if approximate is not None and len(best[0]) < want:
        found.route.append("exact:short")
        slots = _exactly(state, kernel, approximate, query, request)
        best = _joined(state, kernel, approximate, query, slots, best, want)
        found.exact = True
    found.candidates, found.distances = [best[0]], [best[1]]


def _joined(
    state: LibraryState,
    kernel: ExactKernel,
    part: _Part,
    query: NDArray[np.float32],
    slots: NDArray[np.uint32],
    before: tuple[list[int], list[float]],
    want: int,
) -> tuple[list[int], list[float]]:
    """The best of a part's slots and of what was found before."""
    block = part.block
    vectors = block.vectors if block.rows == len(block.vectors) else block.vectors[: block.rows]
    near, distances = kernel.accelerator.nearest(
        query, vectors, slots, part.words, state.info["metric"], want
    )
    more = candidates_of_one(part.number, near), distances
    return merged(before, more, want=want) if before[0] else more


def _find_many(
    state: LibraryState,
    kernel: ExactKernel,
    parts: list[_Part],
    queries: NDArray[np.float32],
    request: Request,
    found: Found,
    want: int,
) -> None:
    columns: list[NDArray[np.int64]] = []
    approximate: _Part | None = None
    for part in parts:
        slots, through = _slots(state, kernel, part, queries, request, found)
        columns.append(candidates_of_many(slots, part=part.number, rows=part.block.rows, words=part.words))
        if through:
            approximate = part
    metric = state.info["metric"]
    candidates, distances = rank_many(found.blocks, queries, columns, metric=metric, want=want)
    found.exact = approximate is None
    if approximate is not None:
        short = np.flatnonzero(candidates[:, want - 1] == PAD)
        if len(short):
            found.route.append("exact:short")
            again = [column[short] for column in columns]
            slots = _exactly(state, kernel, approximate, queries[short], request)
            again.append(
                candidates_of_many(
                    slots, part=approximate.number, rows=approximate.block.rows, words=approximate.words
                )
            )
            candidates[short], distances[short] = rank_many(
                found.blocks, queries[short], again, metric=metric, want=want
            )
            found.exact = len(short) == len(queries)
    found.candidates, found.distances = candidates.tolist(), distances.tolist()


def _slots(
    state: LibraryState,
    kernel: ExactKernel,
    part: _Part,
    queries: NDArray[np.float32],
    request: Request,
    found: Found,
) -> tuple[NDArray[np.uint32], bool]:
    """Slots of a part, and whether they come from an index that is not exact."""
    active = state.active
    if part.block is state.base and active is not None:
        slots = _through_index(active, part, queries, request, found)
        if slots is not None:
            return slots, not active.type.capabilities.exact
    slots = _exactly(state, kernel, part, queries, request)
    found.route.append("exact" if part.block is state.base else "delta")
    return slots, False


def _through_index(
    active: ActiveIndex, part: _Part, queries: NDArray[np.float32], request: Request, found: Found
) -> NDArray[np.uint32] | None:
    """Slots from the active index; none where exact search is the better or the only way."""
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
            params=request.params or active.search_params,
            threads=request.threads,
        )
        _check_shape(slots, len(queries))
    except Exception as error:  # noqa: BLE001 - a broken plugin degrades the answer to exact search, and says so
        _log.exception("index type %r failed in a search", kind.name)
        found.warnings.append(
            f"index type {kind.name!r} failed ({type(error).__name__}); searched exactly instead"
        )
        return None
    found.route.append(f"index:{kind.name}")
    return slots


def _exactly(
    state: LibraryState, kernel: ExactKernel, part: _Part, queries: NDArray[np.float32], request: Request
) -> NDArray[np.uint32]:
    index = part.block.exact(kernel.builder(state.info["metric"]))
    k = min(request.k, part.count)
    slots, _ = index.search(queries, k, allowed=part.words, threads=request.threads)
    _check_shape(slots, len(queries))
    return slots


def _check_shape(slots: NDArray[np.uint32], queries: int) -> None:
    if slots.ndim != 2 or slots.shape[0] != queries or slots.dtype != np.uint32:
        raise TypeError(
            f"search returned slots of shape {slots.shape} and dtype {slots.dtype}; expected uint32 [{queries}, k]"
        )
