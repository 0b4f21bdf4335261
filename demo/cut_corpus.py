"""Cuts the demo's corpus out of a larger one: a sample stratified by ``document`` that is the same every time.

Usage: ``python demo/cut_corpus.py GLOSSES GLOSSES_QUERIES demo/corpus [--rows 12000] [--n-queries 300] [--first ID ...]``
where GLOSSES stands for ``GLOSSES.jsonl.gz`` and ``GLOSSES.f16.npy``: one JSON object a line and, in the same order, a
row of the float16 matrix.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["main", "sample"]

Row = dict[str, Any]


def _read(stem: Path) -> tuple[list[Row], NDArray[np.float16]]:
    with gzip.open(f"{stem}.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return rows, np.load(f"{stem}.f16.npy", allow_pickle=False)


def _order(row: Row) -> str:
    """A place in a random order that depends on the id alone."""
    return hashlib.sha256(row["id"].encode()).hexdigest()


def sample(rows: Sequence[Row], wanted: int) -> list[int]:
    """Choose ``wanted`` row numbers, ascending, each ``document`` in proportion (largest remainders get the rest)."""
    strata: dict[str, list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        strata[row["document"]].append(number)
    shares = {name: wanted * len(members) / len(rows) for name, members in strata.items()}
    counts = {name: int(share) for name, share in shares.items()}
    by_remainder = sorted(strata, key=lambda name: (counts[name] - shares[name], name))
    for name in by_remainder[: wanted - sum(counts.values())]:
        counts[name] += 1
    chosen = [
        number
        for name, members in strata.items()
        for number in sorted(members, key=lambda number: _order(rows[number]))[: counts[name]]
    ]
    return sorted(chosen)


def _write(stem: Path, rows: Sequence[Row], matrix: NDArray[np.float16], chosen: Sequence[int]) -> None:
    lines = "".join(f"{json.dumps(rows[number], ensure_ascii=False)}\n" for number in chosen)
    # No time stamp and no name in the header: the same input gives the same bytes.
    stem.with_suffix(".jsonl.gz").write_bytes(gzip.compress(lines.encode(), 9, mtime=0))
    np.save(stem.with_suffix(".npy"), matrix[list(chosen)], allow_pickle=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the two inputs, choose, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", type=Path)
    parser.add_argument("queries", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--rows", type=int, default=12_000)
    parser.add_argument("--n-queries", type=int, default=300)
    parser.add_argument(
        "--first", nargs="*", default=[], help="ids of queries to put first: the readable ones"
    )
    options = parser.parse_args(arguments)

    rows, matrix = _read(options.corpus)
    _write(options.output / "glosses", rows, matrix, sample(rows, options.rows))

    queries, query_matrix = _read(options.queries)
    place = {row["id"]: number for number, row in enumerate(queries)}
    first = [place[identifier] for identifier in options.first]
    rest = [n for n in sorted(range(len(queries)), key=lambda n: _order(queries[n])) if n not in set(first)]
    _write(
        options.output / "glosses-queries",
        queries,
        query_matrix,
        [*first, *rest[: options.n_queries - len(first)]],
    )


if __name__ == "__main__":
    main()
