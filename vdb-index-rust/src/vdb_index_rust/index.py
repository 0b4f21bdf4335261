"""The index contract of vdb over the native class: parameters in, the contract's types out."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, final

from vdb_core.errors import IndexDamaged, PluginError
from vdb_core.indexes import IndexStats
from vdb_index_rust import _native
from vdb_index_rust.params import (
    BruteParams,
    BruteSearchParams,
    IvfFlatParams,
    IvfFlatSearchParams,
    IvfPqParams,
    IvfPqSearchParams,
)

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from pydantic import BaseModel

    from vdb_core.indexes import Cancelled, Metric, Progress

__all__ = [
    "BruteIndex",
    "IvfFlatIndex",
    "IvfPqIndex",
    "build_brute",
    "build_ivf_flat",
    "build_ivf_pq",
    "load_brute",
    "load_ivf_flat",
    "load_ivf_pq",
]

ModelT = TypeVar("ModelT", bound="BaseModel")

_SEED_MASK = (1 << 64) - 1


class _NativeIndex:
    """What the three have in common: the native object, which keeps the engine's rows and copies none of them."""

    __slots__ = ("_native",)

    def __init__(self, native: _native.Index) -> None:
        self._native = native

    def save(self, directory: Path) -> None:
        """Write ``index.json`` and ``.npy`` files into ``directory``; ``brute`` has none."""
        self._native.save(directory)

    def stats(self) -> IndexStats:
        """Tell rows, bytes by part, and the parameters that were given or chosen."""
        stats = self._native.stats()
        return IndexStats(rows=stats["rows"], bytes=stats["bytes"], details=stats["details"])

    def close(self) -> None:
        """Let go of the rows; a search after that is an error."""
        self._native.close()


@final
class BruteIndex(_NativeIndex):
    """Exact search over every row."""

    __slots__ = ()

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        allowed: NDArray[np.uint64] | None = None,
        params: BaseModel | None = None,
        threads: int = 1,
    ) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
        """Find the nearest rows of each query; see :class:`vdb_core.indexes.Index`."""
        if params is not None:
            _expect(BruteSearchParams, params)
        return self._native.search(queries, k, allowed, threads)


@final
class IvfFlatIndex(_NativeIndex):
    """Exact search over the lists nearest to the query."""

    __slots__ = ()

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        allowed: NDArray[np.uint64] | None = None,
        params: BaseModel | None = None,
        threads: int = 1,
    ) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
        """Find the nearest rows of each query; see :class:`vdb_core.indexes.Index`."""
        n_probes = None if params is None else _expect(IvfFlatSearchParams, params).n_probes
        return self._native.search(queries, k, allowed, threads, n_probes)


@final
class IvfPqIndex(_NativeIndex):
    """Search over the codes of the lists nearest to the query, the best candidates compared by their full rows."""

    __slots__ = ()

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        allowed: NDArray[np.uint64] | None = None,
        params: BaseModel | None = None,
        threads: int = 1,
    ) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
        """Find the nearest rows of each query; see :class:`vdb_core.indexes.Index`."""
        if params is None:
            return self._native.search(queries, k, allowed, threads)
        params = _expect(IvfPqSearchParams, params)
        return self._native.search(queries, k, allowed, threads, params.n_probes, params.rerank)


def build_brute(
    vectors: NDArray[np.float32],
    *,
    metric: Metric,
    params: BaseModel,
    threads: int,
    progress: Progress,
    cancelled: Cancelled,
) -> BruteIndex:
    """Get ready to search ``vectors`` exactly; see :class:`vdb_core.indexes.BuildIndex`."""
    codes = _expect(BruteParams, params).codes
    return BruteIndex(_native.build_brute(vectors, metric, threads, progress, cancelled, codes=codes))


def build_ivf_flat(
    vectors: NDArray[np.float32],
    *,
    metric: Metric,
    params: BaseModel,
    seed: int,
    threads: int,
    progress: Progress,
    cancelled: Cancelled,
) -> IvfFlatIndex:
    """Sort ``vectors`` into lists; see :class:`vdb_core.indexes.BuildIndex`."""
    given = _expect(IvfFlatParams, params)
    native = _native.build_ivf_flat(
        vectors,
        metric,
        threads,
        progress,
        cancelled,
        n_lists=given.n_lists,
        codes=given.codes,
        seed=seed & _SEED_MASK,
    )
    return IvfFlatIndex(native)


def build_ivf_pq(
    vectors: NDArray[np.float32],
    *,
    metric: Metric,
    params: BaseModel,
    seed: int,
    threads: int,
    progress: Progress,
    cancelled: Cancelled,
) -> IvfPqIndex:
    """Sort ``vectors`` into lists and encode them; see :class:`vdb_core.indexes.BuildIndex`."""
    given = _expect(IvfPqParams, params)
    native = _native.build_ivf_pq(
        vectors,
        metric,
        threads,
        progress,
        cancelled,
        n_lists=given.n_lists,
        n_subvectors=given.n_subvectors,
        n_bits=given.n_bits,
        codes=given.codes,
        seed=seed & _SEED_MASK,
    )
    return IvfPqIndex(native)


def load_brute(vectors: NDArray[np.float32], *, metric: Metric, params: BaseModel) -> BruteIndex:
    """Open the exact index over ``vectors``; it has no files: codes are made again, at 1 GB/s or more."""
    return BruteIndex(_native.load_brute(vectors, metric, codes=_expect(BruteParams, params).codes))


def load_ivf_flat(
    directory: Path, vectors: NDArray[np.float32], *, metric: Metric, params: BaseModel
) -> IvfFlatIndex:
    """Open what :meth:`IvfFlatIndex.save` wrote; see :class:`vdb_core.indexes.LoadIndex`."""
    given = _expect(IvfFlatParams, params)
    native = _native.load_ivf_flat(directory, vectors, metric, codes=given.codes)
    _check_saved(directory, native, n_lists=_at_most(given.n_lists, len(vectors)))
    return IvfFlatIndex(native)


def load_ivf_pq(
    directory: Path, vectors: NDArray[np.float32], *, metric: Metric, params: BaseModel
) -> IvfPqIndex:
    """Open what :meth:`IvfPqIndex.save` wrote; see :class:`vdb_core.indexes.LoadIndex`."""
    given = _expect(IvfPqParams, params)
    native = _native.load_ivf_pq(directory, vectors, metric, codes=given.codes)
    _check_saved(
        directory,
        native,
        n_lists=_at_most(given.n_lists, len(vectors)),
        n_subvectors=given.n_subvectors,
        n_bits=given.n_bits,
    )
    return IvfPqIndex(native)


def _expect(model: type[ModelT], params: BaseModel) -> ModelT:
    if isinstance(params, model):
        return params
    raise PluginError(
        f"params: expected an instance of {model.__name__}, received one of {type(params).__name__}; "
        "the index type's record names its models"
    )


def _at_most(n_lists: int | None, rows: int) -> int | None:
    return None if n_lists is None else min(n_lists, rows)


def _check_saved(directory: Path, native: _native.Index, **expected: int | None) -> None:
    """An index that was built with other parameters than the library has is not the library's index."""
    saved = native.stats()["details"]
    for name, value in expected.items():
        if value is not None and saved[name] != value:
            raise IndexDamaged(
                f"{directory}: expected an index with {name} = {value}, found {saved[name]}; build it again"
            )
