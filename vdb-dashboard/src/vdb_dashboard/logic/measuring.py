"""Figures that the dashboard measures live: recall against exact answers, and times."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from vdb_sdk import LibraryHandle, SearchResult

__all__ = ["Measured", "measure", "percentile", "queries_near", "recall"]

_ROUNDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One index type at one setting."""

    index: str
    """The index type."""

    setting: str
    """Its search parameters, such as ``n_probes=8``; ``default`` where none were given."""

    recall: float
    """Mean share of the true neighbours that were found."""

    server_ms: float
    """Median time within the server."""

    server_p95_ms: float
    """95 % of the searches took no longer within the server."""

    total_ms: float
    """Median time until the answer was here, the network included."""

    exact: bool
    """Whether every answer called itself exact."""


def recall(found: Sequence[str], truth: Sequence[str]) -> float:
    """Share of the true neighbours that were found; 1 where there are none."""
    return len(set(found) & set(truth)) / len(truth) if truth else 1.0


def percentile(values: Sequence[float], share: float) -> float:
    """The value that a share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def queries_near(rows: NDArray[np.float32], count: int, *, noise: float = 0.1) -> NDArray[np.float32]:
    """Queries that resemble the rows without being them: rows moved by a tenth of their length, always the same ones.

    A stored row as query would find itself, which every index does; a query out of the blue would be like nothing that
    anybody looks for.
    """
    random = np.random.default_rng(0)
    chosen = rows[random.choice(len(rows), size=min(count, len(rows)), replace=False)].astype(np.float64)
    moved = random.standard_normal(chosen.shape)
    moved *= (
        noise * np.linalg.norm(chosen, axis=1, keepdims=True) / np.linalg.norm(moved, axis=1, keepdims=True)
    )
    return (chosen + moved).astype(np.float32)


def measure(
    library: LibraryHandle,
    queries: NDArray[np.float32],
    truth: Sequence[Sequence[str]] | None,
    *,
    index: str,
    k: int,
    params: Mapping[str, object] | None,
) -> tuple[Measured, list[list[str]]]:
    """Ask each query on its own, one after the other; returns the figures and the ids that were found.

    Each query is asked three times and its quickest answer counts: what else the machine does is not the index's speed.
    Without ``truth`` the answers are taken for true, which is for the exact index alone.
    """
    ids: list[list[str]] = []
    within: list[float] = []
    totals: list[float] = []
    exact = True
    for query in queries:
        rounds = [_timed(library, query, k, params) for _ in range(_ROUNDS)]
        totals.append(min(seconds for _, seconds in rounds) * 1000)
        within.append(min(result.took_ms for result, _ in rounds))
        ids.append(rounds[0][0].ids)
        exact = exact and rounds[0][0].index.exact
    right = ids if truth is None else truth
    measured = Measured(
        index=index,
        setting=", ".join(f"{name}={value}" for name, value in (params or {}).items()) or "default",
        recall=float(np.mean([recall(found, true) for found, true in zip(ids, right, strict=True)])),
        server_ms=percentile(within, 0.5),
        server_p95_ms=percentile(within, 0.95),
        total_ms=percentile(totals, 0.5),
        exact=exact,
    )
    return measured, ids


def _timed(
    library: LibraryHandle, query: NDArray[np.float32], k: int, params: Mapping[str, object] | None
) -> tuple[SearchResult, float]:
    """An answer, and the seconds until it was here."""
    began = time.perf_counter()
    result = library.search(query, k=k, params=params, include=())
    return result, time.perf_counter() - began
