"""Builds, keeps and closes the indexes that the conformance kit asks, and watches what a build tells."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np

from vdb_core.indexes import METRICS
from vdb_core.plugins import validate_params
from vdb_core.testing.problems import PROBLEMS, Problem, long_problem, make_problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from vdb_core.indexes import Index, Metric
    from vdb_core.plugins import IndexType

__all__ = ["Long", "Watch", "Workshop", "contents", "each", "first_metric", "mapped_file"]


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
        self.longest_silence: float = 0.0
        """Most seconds between two questions, or before the first."""
        self._cancel_at = cancel_at
        self._last_asked = self.began

    def progress(self, phase: str, done: int, total: int) -> None:
        """Note a report."""
        self.reports.append((phase, done, total))

    def cancelled(self) -> bool:
        """Note that the build asked, and answer."""
        self.asked += 1
        now = time.monotonic()
        self.longest_silence = max(self.longest_silence, now - self._last_asked)
        self._last_asked = now
        return 0 < self._cancel_at <= self.asked

    @property
    def elapsed(self) -> float:
        """Seconds since the build began."""
        return time.monotonic() - self.began


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Long:
    """An index over many rows."""

    problem: Problem
    """Its rows, and queries."""

    index: Index
    """Built once, closed by the workshop."""

    watch: Watch
    """What its build said and asked."""

    seconds: float
    """How long its build took."""


@final
class Workshop:
    """Makes indexes of one type; those over a :class:`Problem` are made once and closed at the end."""

    def __init__(self, index_type: IndexType, params: Mapping[str, object]) -> None:
        self.index_type = index_type
        self.params = validate_params(index_type.params, params, "/params")
        self._kept: dict[tuple[str, Metric], tuple[Problem, Index]] = {}
        self._long: dict[tuple[int, Metric], Long] = {}

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

    def long(self, count: int, metric: Metric) -> Long:
        """Return an index over many rows with what its build told, the same one each time."""
        made = self._long.get((count, metric))
        if made is None:
            problem, watch = long_problem(count, metric), Watch()
            index = self.build(problem.rows, metric, watch=watch)
            made = Long(problem=problem, index=index, watch=watch, seconds=watch.elapsed)
            self._long[count, metric] = made
        return made

    def close(self) -> None:
        """Close the indexes that are kept."""
        for _, index in self._kept.values():
            index.close()
        for made in self._long.values():
            made.index.close()
        self._kept.clear()
        self._long.clear()


def each(workshop: Workshop, metric: Metric) -> Iterator[tuple[Problem, Index, str]]:
    """Iterate over every problem with an index over it, and what to call it in a message."""
    for name in PROBLEMS:
        problem, index = workshop.kept(name, metric)
        yield problem, index, f"problem {name}, {metric}"


def contents(directory: Path) -> dict[str, bytes]:
    """Every file below a directory, by its path within it."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def first_metric(index_type: IndexType) -> Metric:
    """A metric of a type, for what does not depend on it."""
    return next(metric for metric in METRICS if metric in index_type.metrics)


def mapped_file(rows: NDArray[np.float32], file: Path) -> NDArray[np.float32]:
    """Write rows to a .npy file and map it read-only, as the engine does."""
    np.save(file, rows)
    return np.load(file, mmap_mode="r")
