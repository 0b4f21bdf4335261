"""What can be set on the command line. Imports no NumPy: threads are pinned between this and the rest."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["DOCS", "FULL_CASES", "PEERS", "SMALL_CASES", "Case", "Options", "parse"]

METRICS: Final = ("cosine", "dot", "l2")
PEERS: Final = ("numpy", "faiss", "scann", "hnswlib", "usearch")
DOCS: Final = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "figures"
FAMILIES: Final = ("brute", "ivf_flat", "ivf_pq")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Data to generate."""

    rows: int
    dimension: int
    metric: str

    @classmethod
    def of(cls, text: str) -> Case:
        """Read ``ROWSxDIM:METRIC``, for example ``100000x384:cosine``."""
        match = re.fullmatch(r"(\d+)x(\d+)(?::(\w+))?", text)
        metric = (match[3] or "cosine") if match else ""
        if match is None or metric not in METRICS or not int(match[1]) or not int(match[2]):
            raise argparse.ArgumentTypeError(
                f"expected ROWSxDIM:METRIC with a metric of {', '.join(METRICS)}, received {text!r}; "
                "for example 100000x384:cosine"
            )
        return cls(rows=int(match[1]), dimension=int(match[2]), metric=metric)


SMALL_CASES: Final = (Case(rows=20_000, dimension=96, metric="cosine"),)
FULL_CASES: Final = (
    Case(rows=1_000, dimension=128, metric="cosine"),
    Case(rows=10_000, dimension=1536, metric="dot"),
    Case(rows=100_000, dimension=96, metric="l2"),
    Case(rows=100_000, dimension=128, metric="dot"),
    Case(rows=100_000, dimension=384, metric="cosine"),
    Case(rows=100_000, dimension=768, metric="cosine"),
    Case(rows=1_000_000, dimension=96, metric="l2"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """A run."""

    full: bool
    """Finer lists, more variants of each peer, more rounds; generated data of several sizes unless told otherwise."""

    data: Path | None
    """``.npy`` of rows, float32 or float16; ``None``: generated."""

    queries: Path | None
    """``.npy`` of queries; ``None``: some of the rows are held out."""

    metric: str
    """Of ``data``."""

    cases: tuple[Case, ...]
    """What to generate where no data is given."""

    peers: tuple[str, ...]
    """Whom to race."""

    families: tuple[str, ...]
    """Which of vdb's index types to race."""

    targets: tuple[float, ...]
    """Recalls at which contestants are compared."""

    k: int
    threads: int
    n_queries: int
    rounds: int
    build_rounds: int
    seed: int

    out: Path
    """Folder for ``results.json``."""

    plots: Path
    """Folder for plots."""

    redraw: Path | None
    """A ``results.json`` to print and draw again; nothing is measured."""

    beside: tuple[Path, ...]
    """Results of whose goals to print a table, a column a file; nothing is measured."""


def parse(arguments: Sequence[str] | None) -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="bench",
        description="Race vdb's indexes with their peers: same data, same threads, interleaved rounds.",
    )
    add = parser.add_argument
    add("--full", action="store_true", help="finer lists, more variants, more rounds, several data sets")
    add("--data", type=Path, help=".npy of rows, float32 or float16 (default: generated)")
    add("--queries", type=Path, help=".npy of queries (default: held out from the rows)")
    add("--metric", choices=METRICS, default="cosine", help="of --data")
    add(
        "--case",
        type=Case.of,
        action="append",
        metavar="ROWSxDIM:METRIC",
        help="generate this; may be repeated",
    )
    add("--peers", nargs="*", choices=PEERS, default=list(PEERS), help="whom to race (default: all)")
    add("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES), help="which of vdb's index types")
    add("--targets", type=float, nargs="+", default=[0.95, 0.98], help="recalls to compare at")
    add("--k", type=int, default=10)
    add("--threads", type=int, default=1, help="threads of every contestant (default: 1)")
    add("--n-queries", type=int, default=1000, help="how many queries to generate or hold out")
    add("--rounds", type=int, help="interleaved rounds of searches (default: 5, 9 with --full)")
    add("--build-rounds", type=int, help="interleaved rounds of builds (default: 1, 3 with --full)")
    add("--seed", type=int, default=0)
    add("--out", type=Path, default=Path("bench-results"), help="folder for results.json")
    add("--plots", type=Path, help="folder for plots (default: --out; with --full that of the docs)")
    add("--redraw", type=Path, metavar="RESULTS.json", help="print and draw these again, measure nothing")
    add(
        "--beside",
        type=Path,
        nargs="+",
        metavar="RESULTS.json",
        help="print the goals of these beside each other, measure nothing",
    )
    given = parser.parse_args(arguments)
    for name in ("k", "threads", "n_queries", "rounds", "build_rounds"):
        value: int | None = getattr(given, name)
        if value is not None and value < 1:
            parser.error(f"--{name.replace('_', '-')}: expected 1 or more, received {value}")
    if not all(0 < target <= 1 for target in given.targets):
        parser.error("--targets: expected recalls above 0 and up to 1")
    if given.data and given.case:
        parser.error("--data and --case exclude each other: rows are read or generated")
    if given.queries and not given.data:
        parser.error("--queries needs --data: generated rows have queries of their own")
    default = FULL_CASES if given.full else SMALL_CASES
    return Options(
        full=given.full,
        data=given.data,
        queries=given.queries,
        metric=given.metric,
        cases=tuple(given.case or default),
        peers=tuple(given.peers),
        families=tuple(given.families),
        targets=tuple(sorted(set(given.targets))),
        k=given.k,
        threads=given.threads,
        n_queries=given.n_queries,
        rounds=given.rounds or (9 if given.full else 5),
        build_rounds=given.build_rounds or (3 if given.full else 1),
        seed=given.seed,
        out=given.out,
        plots=given.plots or (DOCS if given.full else given.out),
        redraw=given.redraw,
        beside=tuple(given.beside or ()),
    )
