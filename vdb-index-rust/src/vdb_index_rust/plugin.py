"""What this distribution registers with vdb. Cheap to import: the native module comes with the first index."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vdb_core.plugins import Capabilities, Complexity, IndexType, hookimpl

from vdb_index_rust.params import BruteParams, BruteSearchParams

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from pydantic import BaseModel
    from vdb_core.indexes import Cancelled, Index, Metric, Progress

__all__ = ["vdb_register_index_types"]


@hookimpl
def vdb_register_index_types() -> Iterable[IndexType]:
    """Offer the three algorithms."""
    return (
        IndexType(
            name="brute",
            summary="Exact search over every row; nothing to train, nothing to tune.",
            build=_build_brute,
            load=_load_brute,
            capabilities=Capabilities(exact=True, native_filter=True, deterministic=True, releases_gil=True),
            complexity=Complexity(
                build="O(n d): one pass for the norms; up to 4,096 rows nothing",
                query="O(n d), rows that the filter excludes are not read",
                space="4 n bytes; nothing under l2",
            ),
            params=BruteParams,
            search_params=BruteSearchParams,
            estimate_memory=_brute_memory,
        ),
    )


def _build_brute(
    vectors: NDArray[np.float32],
    *,
    metric: Metric,
    params: BaseModel,
    seed: int,
    threads: int,
    progress: Progress,
    cancelled: Cancelled,
) -> Index:
    from vdb_index_rust.index import build_brute

    return build_brute(
        vectors,
        metric=metric,
        params=params,
        seed=seed,
        threads=threads,
        progress=progress,
        cancelled=cancelled,
    )


def _load_brute(directory: Path, vectors: NDArray[np.float32], *, metric: Metric, params: BaseModel) -> Index:
    from vdb_index_rust.index import load_brute

    return load_brute(directory, vectors, metric=metric, params=params)


def _brute_memory(rows: int, dimension: int, params: BaseModel) -> int:
    del dimension, params
    return 4 * rows
