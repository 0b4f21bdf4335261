"""Recall, latency, build time and memory of each index type beside NumPy: one process, one thread, interleaved rounds."""

from __future__ import annotations

import os

# Before NumPy loads its BLAS: the comparison is between single threads.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from loading import load_corpus
from rich.console import Console
from rich.table import Table
from truth import GroundTruth

from vdb_core.plugins import PluginManager

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from vdb_core.indexes import Metric

    Rows = NDArray[np.float32]
    Search = Callable[[Rows, int], NDArray[Any]]

__all__ = ["main"]

CORPUS: Final = Path(__file__).resolve().parents[1] / "demo" / "corpus"
INDEX_TYPES: Final = ("brute", "ivf_flat", "ivf_pq")


@dataclass(slots=True, kw_only=True)
class Contender:
    """One way to search, and what it took."""

    name: str
    search: Search
    build_s: float
    extra_bytes: int
    single_ms: list[float] = field(default_factory=list)
    batch_s: list[float] = field(default_factory=list)
    recall: float = 0.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Build, race, print a table."""
    options = _options(arguments)
    rows, queries = _data(options)
    ids = [str(number) for number in range(len(rows))]
    truth = GroundTruth.of(ids, rows, queries, metric=options.metric, k=options.k)
    contenders = [_numpy(rows, options.metric)]
    contenders += [_index(name, rows, options.metric) for name in INDEX_TYPES]
    for contender in contenders:
        slots = contender.search(queries, options.k)
        contender.recall = truth.recall([[str(slot) for slot in row if slot < len(rows)] for row in slots])
    for _ in range(options.rounds):
        for contender in contenders:
            _race(contender, queries, options.k)
    _show(contenders, rows, options)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--vectors", type=Path, help=".npy of rows (default: the demo's corpus)")
    parser.add_argument("--queries", type=Path, help=".npy of queries (default: 300 of the rows)")
    parser.add_argument(
        "--synthetic", metavar="ROWSxDIM", help="clustered random rows instead, for example 100000x384"
    )
    parser.add_argument("--metric", choices=("cosine", "dot", "l2"), default="cosine")
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args(arguments)


def _data(options: argparse.Namespace) -> tuple[Rows, Rows]:
    if options.synthetic:
        count, dimension = map(int, options.synthetic.split("x"))
        random = np.random.default_rng(0)
        centres = random.standard_normal((max(1, count // 200), dimension), dtype=np.float32)
        member = random.integers(len(centres), size=count + 300)
        everything = centres[member] + 0.7 * random.standard_normal(
            (count + 300, dimension), dtype=np.float32
        )
        rows, queries = everything[:count], everything[count:]
    elif options.vectors:
        rows = np.load(options.vectors, allow_pickle=False).astype(np.float32)
        queries = (
            np.load(options.queries, allow_pickle=False).astype(np.float32) if options.queries else rows[:300]
        )
    else:
        rows = load_corpus(CORPUS / "glosses.jsonl.gz", vectors=None, metric="cosine").vectors
        queries = load_corpus(CORPUS / "glosses-queries.jsonl.gz", vectors=None, metric="cosine").vectors
    if options.metric == "cosine":
        rows, queries = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (rows, queries))
    return np.ascontiguousarray(rows, dtype=np.float32), np.ascontiguousarray(queries, dtype=np.float32)


def _numpy(rows: Rows, metric: str) -> Contender:
    squares = np.einsum("ij,ij->i", rows, rows)

    def search(queries: Rows, k: int) -> NDArray[Any]:
        products = queries @ rows.T
        distances = squares - 2 * products if metric == "l2" else -products
        nearest = np.argpartition(distances, min(k, len(rows) - 1), axis=1)[:, :k]
        order = np.argsort(np.take_along_axis(distances, nearest, axis=1), axis=1)
        return np.take_along_axis(nearest, order, axis=1)

    return Contender(name="numpy (BLAS)", search=search, build_s=0.0, extra_bytes=0)


def _index(name: str, rows: Rows, metric: Metric) -> Contender:
    manager = PluginManager()
    manager.load()
    kind = manager.index_type(name)
    view = rows.view()
    view.flags.writeable = False
    started = time.perf_counter()
    index = kind.build(
        view,
        metric=metric,
        params=kind.params(),
        seed=0,
        threads=1,
        progress=lambda phase, done, total: None,
        cancelled=lambda: False,
    )
    took = time.perf_counter() - started
    parameters = kind.search_params()
    return Contender(
        name=name,
        search=lambda queries, k: index.search(queries, k, params=parameters, threads=1)[0],
        build_s=took,
        extra_bytes=sum(index.stats().bytes.values()),
    )


def _race(contender: Contender, queries: Rows, k: int) -> None:
    for row in range(0, len(queries), 3):
        started = time.perf_counter()
        contender.search(queries[row : row + 1], k)
        contender.single_ms.append((time.perf_counter() - started) * 1e3)
    started = time.perf_counter()
    contender.search(queries, k)
    contender.batch_s.append((time.perf_counter() - started) / len(queries))


def _show(contenders: Sequence[Contender], rows: Rows, options: argparse.Namespace) -> None:
    table = Table(
        title=f"{len(rows):,} × {rows.shape[1]}, {options.metric}, k = {options.k}, 1 thread, defaults"
    )
    for column in (
        "index",
        f"recall@{options.k}",
        "single query",
        "ratio",
        "batch, a query",
        "ratio",
        "build",
        "beside rows",
    ):
        table.add_column(column, justify="left" if column == "index" else "right")
    base = contenders[0]
    for each in contenders:
        single, batch = statistics.median(each.single_ms), statistics.median(each.batch_s) * 1e3
        table.add_row(
            each.name,
            f"{each.recall:.4f}",
            f"{single:.3f} ms",
            f"{statistics.median(base.single_ms) / single:.1f}x",
            f"{batch:.3f} ms",
            f"{statistics.median(base.batch_s) * 1e3 / batch:.1f}x",
            f"{each.build_s:.2f} s",
            f"{each.extra_bytes / rows.nbytes:.2f}x",
        )
    console = Console()
    (console if console.is_terminal else Console(width=110)).print(table)


if __name__ == "__main__":
    sys.exit(main())
