"""What can be set on the command line."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["PARTS", "Options", "parse"]

PARTS: Final = ("searches", "ingest", "stall", "embedded")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """A run."""

    data: Path | None
    """``.npy`` of rows, float32 or float16; ``None``: generated."""

    queries: Path | None
    """``.npy`` of queries; ``None``: some of the rows are held out."""

    rows: int
    """How many rows to use of ``data``, or to generate."""

    dimension: int
    """Of generated rows."""

    index: str
    """vdb's index type."""

    recall: float
    """What every contender has to reach."""

    parts: tuple[str, ...]
    """What to measure."""

    chroma: bool
    """Whether Chroma takes part."""

    connections: int
    seconds: float
    """Of one run of the load generator."""

    rounds: int
    seed: int

    out: Path
    """Folder for ``road.json``."""

    redraw: Path | None
    """A ``road.json`` to print again; nothing is measured."""


def parse(arguments: Sequence[str] | None) -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="road",
        description="Measure whole requests: vdb's server beside Chroma's and bare FastAPI routes.",
    )
    add = parser.add_argument
    add("--full", action="store_true", help="100,000 rows, longer and more rounds")
    add("--data", type=Path, help=".npy of rows, float32 or float16 (default: generated)")
    add("--queries", type=Path, help=".npy of queries (default: held out from the rows)")
    add("--rows", type=int, help="rows to use (default: 20,000; 100,000 with --full or --data)")
    add("--dimension", type=int, default=384, help="of generated rows (default: 384)")
    add("--index", default="ivf_pq", help="vdb's index type (default: ivf_pq)")
    add("--recall", type=float, default=0.95, help="what every contender has to reach (default: 0.95)")
    add("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what to measure (default: all)")
    add("--no-chroma", action="store_true", help="leave Chroma out, which takes longest to fill")
    add("--connections", type=int, default=8, help="of the load generator (default: 8)")
    add("--seconds", type=float, help="of one run of the load generator (default: 2, 5 with --full)")
    add("--rounds", type=int, help="interleaved rounds (default: 3, 5 with --full)")
    add("--seed", type=int, default=0)
    add("--out", type=Path, default=Path("road-results"), help="folder for road.json")
    add("--redraw", type=Path, metavar="ROAD.json", help="print this again, measure nothing")
    given = parser.parse_args(arguments)
    for name in ("rows", "dimension", "connections", "seconds", "rounds"):
        value: float | None = getattr(given, name)
        if value is not None and value < 1:
            parser.error(f"--{name}: expected 1 or more, received {value}")
    if not 0 < given.recall <= 1:
        parser.error(f"--recall: expected a share above 0 and up to 1, received {given.recall}")
    if given.queries and not given.data:
        parser.error("--queries needs --data: generated rows have queries of their own")
    return Options(
        data=given.data,
        queries=given.queries,
        rows=given.rows or (100_000 if given.full or given.data else 20_000),
        dimension=given.dimension,
        index=given.index,
        recall=given.recall,
        parts=tuple(given.parts),
        chroma=not given.no_chroma,
        connections=given.connections,
        seconds=given.seconds or (5.0 if given.full else 2.0),
        rounds=given.rounds or (5 if given.full else 3),
        seed=given.seed,
        out=given.out,
        redraw=given.redraw,
    )
