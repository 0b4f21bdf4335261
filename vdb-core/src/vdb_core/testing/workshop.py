"""Builds, keeps and closes the indexes that the conformance kit asks, and watches what a build tells."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, final

import numpy as np

from vdb_core.plugins import validate_params
from vdb_core.testing.problems import PROBLEMS, Problem, make_problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from vdb_core.indexes import Index, Metric
    from vdb_core.plugins import IndexType

__all__ = ["Watch", "Workshop", "each", "mapped_file"]


@final
class Watch:
    """Hears what a build says through ``progress`` and ``cancelled``.

    Args:
        cancel_at: ``cancelled()`` is true from so many calls on; 0 never.
    """

    def __init__(self, *, cancel_at: int = 0) -> None:
        self.reports: list[tuple[str, int, int]] = []
        self.asked: int = 0
        self.began: float = time.monotonic()
        self._cancel_at = cancel_at

    def progress(self, phase: str, done: int, total: int) -> None:
        """Note a report."""
        self.reports.append((phase, done, total))

    def cancelled(self) -> bool:
        """Note that the build asked, and answer."""
        self.asked += 1
        return 0 < self._cancel_at <= self.asked

    @property
    def elapsed(self) -> float:
        """Seconds since the build began."""
        return time.monotonic() - self.began


@final
class Workshop:
    """Makes indexes of one type; those over a :class:`Problem` are made once and closed at the end."""

    def __init__(self, index_type: IndexType, params: Mapping[str, object]) -> None:
        self.index_type = index_type
        self.params = validate_params(index_type.params, params, "/params")
        self._kept: dict[tuple[str, Metric], tuple[Problem, Index]] = {}

    def build(
        self,
        rows: NDArray[np.float32],
        metric: Metric,
        *,
        seed: int = 11,
        threads: int = 2,
        watch: Watch | None = None,
    ) -> Index:
        """Build an index, which the caller closes."""
        heard = watch or Watch()
        return self.index_type.build(
            rows,
            metric=metric,
            params=self.params,
            seed=seed,
            threads=threads,
            progress=heard.progress,
            cancelled=heard.cancelled,
        )

    def load(self, directory: Path, rows: NDArray[np.float32], metric: Metric) -> Index:
        """Open a saved index, which the caller closes."""
        return self.index_type.load(directory, rows, metric=metric, params=self.params)

    def kept(self, name: str, metric: Metric) -> tuple[Problem, Index]:
        """Return a problem and an index over it, the same ones each time."""
        made = self._kept.get((name, metric))
        if made is None:
            problem = make_problem(name, metric)
            made = (problem, self.build(problem.rows, metric))
            self._kept[name, metric] = made
        return made

    def close(self) -> None:
        """Close the indexes that are kept."""
        for _, index in self._kept.values():
            index.close()
        self._kept.clear()


def each(workshop: Workshop, metric: Metric) -> Iterator[tuple[Problem, Index, str]]:
    """Iterate over every problem with an index over it, and what to call it in a message."""
    for name in PROBLEMS:
        problem, index = workshop.kept(name, metric)
        yield problem, index, f"problem {name}, {metric}"


def mapped_file(rows: NDArray[np.float32], file: Path) -> NDArray[np.float32]:
    """Write rows to a .npy file and map it read-only, as the engine does."""
    np.save(file, rows)
    return np.load(file, mmap_mode="r")
