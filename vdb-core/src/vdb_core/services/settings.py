"""Settings of the engine and its limits. Plain records: where they come from is the caller's business."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["DURABILITIES", "Durability", "EngineSettings", "Limits"]

Durability: TypeAlias = Literal["fsync", "os", "none"]
"""What a write has reached when it is acknowledged: the device, the operating system, or the process alone."""

DURABILITIES: Final[tuple[Durability, ...]] = ("fsync", "os", "none")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a request may ask for at most."""

    max_k: int = 10_000
    """Hits a query."""

    max_batch_rows: int = 10_000
    """Rows of an upsert, ids of a delete, queries of a batch search; bulk uploads are not limited by it."""

    max_dimension: int = 8_192
    """Length of an embedding."""

    max_filter_depth: int = 16
    """Levels of a filter."""

    max_filter_nodes: int = 1_000
    """Conditions and operators of a filter."""

    max_json_depth: int = 32
    """Levels of metadata."""

    max_metadata_bytes: int = 65_536
    """Bytes of JSON text that the metadata of one entity may take."""

    max_text_bytes: int = 1_048_576
    """Bytes of UTF-8 that the text of one chunk may take."""

    max_pending_writes: int = 1_024
    """Writes that may wait for the committer."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """How an engine runs."""

    data_dir: Path | None = None
    """Where libraries are kept; none keeps them in memory, and they end with the process."""

    snapshot_store: str = "numpy"
    """Name of the snapshot store. A data directory keeps the one that it was made with."""

    snapshot_store_params: Mapping[str, object] = field(default_factory=dict)
    """Settings of the snapshot store."""

    journal: str = "sqlite"
    """Name of the journal. A data directory keeps the one that it was made with."""

    journal_params: Mapping[str, object] = field(default_factory=dict)
    """Settings of the journal, but for ``durability``, of which one that has it is told."""

    durability: Durability = "fsync"
    """``fsync``: an acknowledged write survives power loss. ``os``: it survives the end of this process, not of the
    machine. ``none``: nothing is journaled; what the last checkpoint has survives, and closing makes one."""

    checkpoint_bytes: int = 256 << 20
    """A checkpoint is made when the journal holds more bytes than this that no snapshot has."""

    checkpoint_age_s: float = 3_600.0
    """A library is checkpointed when it has had unsaved writes for so many seconds."""

    checkpoint_on_close_s: float = 0.0
    """How long closing may take to write what no snapshot has; 0 leaves it to the journal. With durability ``none``
    everything is written, however long that takes."""

    embedder: str | None = None
    """Name of the embedder of libraries that chose none; none means the one that is installed, where it is one."""

    embedder_params: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """Settings of embedders, by name."""

    build_threads: int | None = None
    """Threads that a build may use; none: all cores but one, and at least one."""

    search_threads: int | None = None
    """Threads that a batch search may use; none: all cores. A single query uses one."""

    idempotency_lifetime_s: float = 86_400.0
    """Seconds for which the answer to a write with an idempotency key is remembered, where there is room."""

    idempotency_max_keys: int = 10_000
    """Answers that are remembered; the oldest go first."""

    idempotency_max_bytes: int = 16 << 20
    """Bytes that remembered answers may take, in memory and in the journal; the newest is kept whatever its size."""

    seed: int = 0
    """Seed of every build."""

    limits: Limits = field(default_factory=Limits)
    """What a request may ask for."""
