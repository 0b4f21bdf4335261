"""What vdb-core brings itself, registered through the same hooks as anybody's; implementations import lazily."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from vdb_core.plugins.hookspec import hookimpl
from vdb_core.plugins.records import Capabilities, Complexity, IndexType, JournalType, SnapshotStoreType

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from vdb_core.indexes.contract import Cancelled, Index, Metric, Progress
    from vdb_core.persistence.contracts import Journal, SnapshotStore

__all__ = ["vdb_register_index_types", "vdb_register_journals", "vdb_register_snapshot_stores"]


def _build(
    vectors: NDArray[np.float32],
    *,
    metric: Metric,
    params: BaseModel,
    seed: int,
    threads: int,
    progress: Progress,
    cancelled: Cancelled,
) -> Index:
    from vdb_core.indexes import numpy_exact

    return numpy_exact.build(
        vectors,
        metric=metric,
        params=params,
        seed=seed,
        threads=threads,
        progress=progress,
        cancelled=cancelled,
    )


def _load(directory: Path, vectors: NDArray[np.float32], *, metric: Metric, params: BaseModel) -> Index:
    from vdb_core.indexes import numpy_exact

    return numpy_exact.load(directory, vectors, metric=metric, params=params)


def _estimate_memory(rows: int, dimension: int, params: BaseModel) -> int:
    del rows, dimension, params
    return 0


def _open_snapshots(data_dir: str, params: BaseModel) -> SnapshotStore:
    del params
    from pathlib import Path

    from vdb_core.persistence.numpy_snapshots import NumpySnapshotStore

    return NumpySnapshotStore(Path(data_dir))


class SqliteParams(BaseModel):
    """Settings of the SQLite journal."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    durability: Literal["fsync", "os"] = "fsync"
    """Whether an append waits for the device, or for the operating system alone."""


def _open_journal(data_dir: str, params: BaseModel) -> Journal:
    from pathlib import Path

    from vdb_core.persistence.sqlite_journal import SqliteJournal

    return SqliteJournal(
        Path(data_dir), fsync=not isinstance(params, SqliteParams) or params.durability == "fsync"
    )


@hookimpl
def vdb_register_index_types() -> Iterable[IndexType]:
    """Register ``numpy``, which serves when nothing else can."""
    return [
        IndexType(
            name="numpy",
            summary="Exact search in NumPy: the fallback where no other index is installed.",
            build=_build,
            load=_load,
            capabilities=Capabilities(exact=True, native_filter=True, deterministic=True, releases_gil=True),
            complexity=Complexity(build="O(1)", query="O(n d)", space="O(1)"),
            estimate_memory=_estimate_memory,
        )
    ]


@hookimpl
def vdb_register_snapshot_stores() -> Iterable[SnapshotStoreType]:
    """Register ``numpy``: ``.npy`` and JSON files under the data directory."""
    return [
        SnapshotStoreType(
            name="numpy",
            summary="Snapshots as .npy and JSON files under the data directory.",
            open=_open_snapshots,
        )
    ]


@hookimpl
def vdb_register_journals() -> Iterable[JournalType]:
    """Register ``sqlite``: one SQLite file under the data directory."""
    return [
        JournalType(
            name="sqlite",
            summary="Acknowledged operations in one SQLite file under the data directory.",
            open=_open_journal,
            params=SqliteParams,
        )
    ]
