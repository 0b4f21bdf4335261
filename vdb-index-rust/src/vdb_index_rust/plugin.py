"""What this distribution registers with vdb. Cheap to import: the native module comes with the first index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vdb_core.plugins import Capabilities, Complexity, IndexType, hookimpl
from vdb_index_rust.params import (
    BruteParams,
    BruteSearchParams,
    IvfFlatParams,
    IvfFlatSearchParams,
    IvfPqParams,
    IvfPqSearchParams,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from pydantic import BaseModel

    from vdb_core.indexes import Accelerator, Cancelled, Index, Metric, Progress

__all__ = ["vdb_register_index_types"]

_FLOAT: Final = 4
_SLOT: Final = 4
_OFFSET: Final = 8
_NORM: Final = 4
_TERM: Final = 4
# From these numbers on codes are kept where they are wanted, up to the last; see `basis::pays` and `Brute::build` of the crate.
_CODED_ROWS: Final = 4097
_CODED_DIMENSIONS: Final = range(80, 32_769)
_BRUTE_CODED_ROWS: Final = 512
_BRUTE_CODED_DIMENSIONS: Final = range(96, 32_769)
_BLOCK_BOUNDS: Final = 260
"""Bytes beside the codes of 16 rows."""


@hookimpl
def vdb_register_index_types() -> Iterable[IndexType]:
    """Offer ``brute``, ``ivf_flat`` and ``ivf_pq``."""
    approximate = Capabilities(native_filter=True, deterministic=True, releases_gil=True)
    return (
        IndexType(
            name="brute",
            summary="Exact search over every row: nothing to train, nothing to tune.",
            build=_build_brute,
            load=_load_brute,
            capabilities=Capabilities(exact=True, native_filter=True, deterministic=True, releases_gil=True),
            complexity=Complexity(
                build="O(n d): one pass over the rows for their norms or codes",
                query="O(m d) for the m <= n rows that the filter allows, half a byte a dimension with codes, and O(n / 64) for the filter",
                space="4 n bytes, nothing under l2; with codes n (d + 16.25) bytes",
            ),
            params=BruteParams,
            search_params=BruteSearchParams,
            estimate_memory=_estimate_brute,
            accelerator=_accelerator,
        ),
        IndexType(
            name="ivf_flat",
            summary="Rows sorted into lists; the lists nearest to the query are searched exactly.",
            build=_build_ivf_flat,
            load=_load_ivf_flat,
            capabilities=approximate,
            complexity=Complexity(
                build="O(n n_lists d) to assign rows, O(10 min(n, 64 n_lists) n_lists d) to train",
                query="O(n_lists d + n d n_probes / n_lists)",
                space="5 n_lists d + 8 n bytes and, with codes, n (d + 16.25); else 4 n more, but for l2",
            ),
            params=IvfFlatParams,
            search_params=IvfFlatSearchParams,
            estimate_memory=_estimate_ivf_flat,
        ),
        IndexType(
            name="ivf_pq",
            summary="Rows sorted into lists and kept as short codes; the best candidates are compared exactly.",
            build=_build_ivf_pq,
            load=_load_ivf_pq,
            capabilities=approximate,
            complexity=Complexity(
                build="that of ivf_flat and O(n d 2^n_bits) to encode",
                query="O(n_lists d + d 2^n_bits + n n_subvectors n_probes / n_lists + rerank d)",
                space="n n_subvectors n_bits / 8 + (5 n_lists + 8 2^n_bits) d + 8 n bytes and, with codes, n (d + 16)",
            ),
            params=IvfPqParams,
            search_params=IvfPqSearchParams,
            estimate_memory=_estimate_ivf_pq,
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

    del seed
    return build_brute(
        vectors, metric=metric, params=params, threads=threads, progress=progress, cancelled=cancelled
    )


def _build_ivf_flat(
    vectors: NDArray[np.float32],
    *,
    metric: Metric,
    params: BaseModel,
    seed: int,
    threads: int,
    progress: Progress,
    cancelled: Cancelled,
) -> Index:
    from vdb_index_rust.index import build_ivf_flat

    return build_ivf_flat(
        vectors,
        metric=metric,
        params=params,
        seed=seed,
        threads=threads,
        progress=progress,
        cancelled=cancelled,
    )


def _build_ivf_pq(
    vectors: NDArray[np.float32],
    *,
    metric: Metric,
    params: BaseModel,
    seed: int,
    threads: int,
    progress: Progress,
    cancelled: Cancelled,
) -> Index:
    from vdb_index_rust.index import build_ivf_pq

    return build_ivf_pq(
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

    del directory
    return load_brute(vectors, metric=metric, params=params)


def _load_ivf_flat(
    directory: Path, vectors: NDArray[np.float32], *, metric: Metric, params: BaseModel
) -> Index:
    from vdb_index_rust.index import load_ivf_flat

    return load_ivf_flat(directory, vectors, metric=metric, params=params)


def _load_ivf_pq(
    directory: Path, vectors: NDArray[np.float32], *, metric: Metric, params: BaseModel
) -> Index:
    from vdb_index_rust.index import load_ivf_pq

    return load_ivf_pq(directory, vectors, metric=metric, params=params)


def _accelerator() -> Accelerator:
    from vdb_index_rust import _native

    return _native


def _estimate_brute(rows: int, dimension: int, params: BaseModel) -> int:
    wanted = isinstance(params, BruteParams) and params.codes
    if not wanted or rows < _BRUTE_CODED_ROWS or dimension not in _BRUTE_CODED_DIMENSIONS:
        return rows * _NORM
    # Batches over a few thousand rows need norms as well.
    norms = rows * _NORM if rows < _CODED_ROWS else 0
    return _codes(rows, dimension) + dimension * _FLOAT + norms


def _codes(rows: int, dimension: int) -> int:
    # Blocks of 16 rows, dimensions in eights.
    return -(-rows // 16) * (16 * -(-dimension // 8) * 8 + _BLOCK_BOUNDS)


def _coded_rows(rows: int, dimension: int, wanted: bool) -> int:
    """Codes of rows in lists, or what stands in for them."""
    if not wanted or rows < _CODED_ROWS or dimension not in _CODED_DIMENSIONS:
        return rows * _NORM
    return _codes(rows, dimension)


def _estimate_ivf_flat(rows: int, dimension: int, params: BaseModel) -> int:
    n_lists = _n_lists(rows, params)
    wanted = isinstance(params, (IvfFlatParams, IvfPqParams)) and params.codes
    # Half a block a list is filled up.
    coded = _coded_rows(rows + 8 * n_lists, dimension, wanted)
    centroids = n_lists * (dimension * _FLOAT + _FLOAT + _SLOT + 2 * _OFFSET) + _codes(n_lists, dimension)
    return centroids + 2 * rows * _SLOT + coded


def _estimate_ivf_pq(rows: int, dimension: int, params: BaseModel) -> int:
    from vdb_index_rust import _native

    n_bits = params.n_bits if isinstance(params, IvfPqParams) else 4
    n_subvectors = params.n_subvectors if isinstance(params, IvfPqParams) else None
    if n_subvectors is None:
        n_subvectors = _native.default_n_subvectors(dimension, n_bits)
    if n_bits == 4:
        # Lists are filled up to blocks of 16 rows, half a block a list; pieces to multiples of eight.
        codes = (rows + 8 * _n_lists(rows, params)) * -(-n_subvectors // 8) * 4
    else:
        codes = rows * n_subvectors
    codebooks = 2 * 2**n_bits * dimension * _FLOAT
    return _estimate_ivf_flat(rows, dimension, params) + codes + codebooks + rows * _TERM


def _n_lists(rows: int, params: BaseModel) -> int:
    from vdb_index_rust import _native

    given = params.n_lists if isinstance(params, (IvfFlatParams, IvfPqParams)) else None
    return min(rows, _native.default_n_lists(rows) if given is None else given)
