"""What is searched and written: rows and queries, with ids, texts and metadata beside them, and the exact answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from race.data import generate, load
from race.options import Case
from race.truth import Truth

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from race.data import Rows

    from road.options import Options

__all__ = ["FILTERS", "K", "Work", "first_that_reaches", "prepare"]

K: Final = 10
FILTERS: Final[dict[str, dict[str, Any]]] = {
    "one third kept": {"third": 0},
    "one third filtered out": {"third": {"$ne": 0}},
}
"""By what is left; Chroma takes both as they are."""

_CHECKED: Final = 200
_WORDS: Final = [
    "act",
    "of",
    "being",
    "the",
    "a",
    "that",
    "which",
    "made",
    "used",
    "in",
    "some",
    "part",
    "for",
    "small",
    "large",
    "water",
    "body",
    "plant",
    "tree",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One run's data."""

    name: str
    rows: Rows
    queries: Rows
    chunks: Sequence[dict[str, Any]]
    """``id``, ``text`` and ``metadata`` of each row, as vdb takes them."""
    truth: Truth
    """Of the first queries."""
    filtered: dict[str, Truth]
    """Of the same queries under each of ``FILTERS``."""

    @property
    def checked(self) -> Rows:
        """The queries whose answers are known."""
        return self.queries[: len(self.truth.queries)]


def prepare(options: Options) -> Work:
    """Read or generate, and find the exact answers."""
    if options.data is not None:
        loaded = load(options.data, options.queries, metric="cosine", n_queries=1000, seed=options.seed)
    else:
        case = Case(rows=options.rows, dimension=options.dimension, metric="cosine")
        loaded = generate(case, n_queries=1000, seed=options.seed)
    rows, queries = loaded.rows[: options.rows], loaded.queries
    random = np.random.default_rng(options.seed)
    words = random.choice(_WORDS, size=(len(rows), 12))
    chunks = [
        {"id": f"row-{n}", "text": " ".join(words[n]), "metadata": {"third": n % 3, "page": n}}
        for n in range(len(rows))
    ]
    some = queries[:_CHECKED]
    third = np.arange(len(rows)) % 3

    def truth(allowed: NDArray[np.bool_] | None) -> Truth:
        return Truth.of(rows, some, metric="cosine", k=K, allowed=allowed)

    return Work(
        name=loaded.name,
        rows=rows,
        queries=queries,
        chunks=chunks,
        truth=truth(None),
        filtered={"one third kept": truth(third == 0), "one third filtered out": truth(third != 0)},
    )


def first_that_reaches(recall: Callable[[int], float], wanted: float, highest: int) -> tuple[int, float]:
    """The smallest setting from 1 to ``highest`` whose recall is enough, and that recall: doubled, then bisected.

    Raises:
        SystemExit: even the highest does not reach it.
    """
    low, high = 0, 1
    reached = recall(high)
    while reached < wanted:
        if high >= highest:
            raise SystemExit(f"no setting reaches recall {wanted}; the highest, {highest}, has {reached:.3f}")
        low, high = high, min(highest, 2 * high)
        reached = recall(high)
    while high - low > 1:
        middle = (low + high) // 2
        found = recall(middle)
        if found >= wanted:
            high, reached = middle, found
        else:
            low = middle
    return high, reached
