"""Rows and queries: read from ``.npy`` files or generated, the same for the same seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from race.options import Case

    Rows = NDArray[np.float32]

__all__ = ["Workload", "generate", "load"]

_BLOCK: Final = 65_536
# Noise within a cluster beside the distance between clusters: with it, the lists that must be probed for recall 0.95
# are about as many as on embeddings of sentences; tighter clusters make every index look good.
_SPREAD: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What a contest is about. Arrays are float32, C-contiguous and read-only; unit length under cosine."""

    name: str
    metric: str
    rows: Rows
    """``[n, dim]``"""
    queries: Rows
    """``[q, dim]``, none of them among the rows."""


def load(rows: Path, queries: Path | None, *, metric: str, n_queries: int, seed: int) -> Workload:
    """Read ``.npy`` files; without a file of queries, some rows are held out.

    Raises:
        SystemExit: the files are no matrices of the same dimension, or hold what has no direction under cosine.
    """
    matrix = _read(rows)
    if queries is not None:
        asked = _read(queries)
    else:
        order = np.random.default_rng(seed).permutation(len(matrix))
        held = min(n_queries, max(1, len(matrix) // 10))
        asked, matrix = matrix[order[:held]], matrix[np.sort(order[held:])]
    if matrix.shape[1] != asked.shape[1]:
        raise SystemExit(
            f"{queries}: expected {matrix.shape[1]} dimensions as in {rows}, received {asked.shape[1]}"
        )
    return _workload(rows.name, matrix, asked, metric)


def generate(case: Case, *, n_queries: int, seed: int) -> Workload:
    """Draw rows and queries from one mixture of Gaussians.

    Like embeddings of texts they lie in clusters of unequal size, along a spectrum that decays, and no axis means
    anything: both clusters and noise have variance ``1 / j`` along the j-th of a random orthogonal basis. Under dot
    product their norms differ.
    """
    random = np.random.default_rng([seed, case.rows, case.dimension])
    n_clusters = max(1, case.rows // 1000)
    scale = (1 / np.sqrt(np.arange(1, case.dimension + 1))).astype(np.float32)
    basis = np.linalg.qr(random.standard_normal((case.dimension, case.dimension)))[0].astype(np.float32)
    centres = random.standard_normal((n_clusters, case.dimension), dtype=np.float32) * scale
    weights = 1 / np.arange(1, n_clusters + 1) ** 0.5
    weights /= weights.sum()

    def draw(count: int) -> Rows:
        drawn = np.empty((count, case.dimension), dtype=np.float32)
        for start in range(0, count, _BLOCK):
            block = drawn[start : start + _BLOCK]
            member = random.choice(n_clusters, size=len(block), p=weights)
            noise = random.standard_normal(block.shape, dtype=np.float32) * (_SPREAD * scale)
            np.matmul(centres[member] + noise, basis, out=block)
            if case.metric == "dot":
                block *= random.lognormal(0.0, 0.15, size=(len(block), 1)).astype(np.float32)
        return drawn

    queries, rows = draw(n_queries), draw(case.rows)
    return _workload(f"generated-{case.rows}x{case.dimension}", rows, queries, case.metric)


def _read(path: Path) -> NDArray[np.floating]:
    try:
        matrix = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise SystemExit(f"{path}: expected a .npy file of rows; {error}") from error
    if matrix.ndim != 2 or matrix.dtype.kind != "f" or not matrix.size:
        raise SystemExit(
            f"{path}: expected a matrix of floats, a row each; received {matrix.dtype} {matrix.shape}"
        )
    return matrix


def _workload(name: str, rows: NDArray[np.floating], queries: NDArray[np.floating], metric: str) -> Workload:
    ready: list[Rows] = []
    for part in (rows, queries):
        matrix = np.ascontiguousarray(part, dtype=np.float32)
        if metric == "cosine":
            norms = np.linalg.norm(matrix, axis=1, keepdims=True)
            if not norms.all():
                raise SystemExit(
                    f"{name}: row {int(np.argmin(norms))} is zero, which has no direction; use --metric dot or l2"
                )
            matrix = matrix / norms
        matrix.flags.writeable = False
        ready.append(matrix)
    return Workload(name=name, metric=metric, rows=ready[0], queries=ready[1])
