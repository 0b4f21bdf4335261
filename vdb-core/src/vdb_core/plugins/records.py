"""The typed records that hooks return: what a plugin offers, and how to make it.

Records are frozen and hold no behaviour of their own; ``build``, ``load`` and ``open`` import lazily, so that
listing what is installed stays cheap.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from collections.abc import Callable

    from vdb_core.indexes.accelerator import Accelerator
    from vdb_core.indexes.contract import BuildIndex, LoadIndex, Metric
    from vdb_core.persistence.contracts import Embedder, Journal, SnapshotStore

__all__ = [
    "API_VERSION",
    "SUPPORTED_API_VERSIONS",
    "Capabilities",
    "Complexity",
    "EmbedderType",
    "EstimateMemory",
    "IndexType",
    "JournalType",
    "NoParams",
    "SnapshotStoreType",
]

API_VERSION: Final = 1
"""The version of the plugin interface that this vdb-core speaks."""

SUPPORTED_API_VERSIONS: Final = range(1, 2)
"""Versions of the plugin interface that this vdb-core accepts."""


class NoParams(BaseModel):
    """The model of a type that takes no parameters: any parameter is an error."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What an index type claims; the conformance kit checks every claim."""

    exact: bool = False
    """Returns the ids that float64 arithmetic on the stored float32 rows returns, ties included."""

    native_filter: bool = False
    """Honours ``allowed``. Where it does not, the engine over-fetches, then searches the allowed rows exactly."""

    deterministic: bool = False
    """The same rows, parameters and seed give the same answers whatever the number of threads."""

    releases_gil: bool = False
    """Searches run beside each other and beside other Python threads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Complexity:
    """Asymptotic costs, in the symbols n (rows), d (dimension), k and the type's parameters."""

    build: str
    """Time to build, for example ``O(n d)``."""

    query: str
    """Time a query."""

    space: str
    """Memory beside the float32 rows."""


class EstimateMemory(Protocol):
    """Tells what an index would take."""

    def __call__(self, rows: int, dimension: int, params: BaseModel) -> int:
        """Bytes beside the float32 rows."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexType:
    """An index algorithm that libraries may choose."""

    name: str
    """``[a-z][a-z0-9_]{0,63}``; unique among all installed plugins."""

    summary: str
    """One sentence for lists and forms."""

    build: BuildIndex
    """Makes an index over rows."""

    load: LoadIndex
    """Opens a saved index."""

    api_version: int = API_VERSION
    """The version of the plugin interface it was written for."""

    metrics: frozenset[Metric] = frozenset({"cosine", "dot", "l2"})
    """The metrics it can serve."""

    capabilities: Capabilities = field(default_factory=Capabilities)
    """What it claims."""

    complexity: Complexity | None = None
    """Documented costs, shown by ``GET /v1/index-types``."""

    params: type[BaseModel] = NoParams
    """Build parameters: a pydantic model with ``extra="forbid"`` whose every field has a default."""

    search_params: type[BaseModel] = NoParams
    """Search parameters, likewise."""

    estimate_memory: EstimateMemory | None = None
    """Bytes that an index of so many rows takes, where the type can tell."""

    accelerator: Callable[[], Accelerator] | None = None
    """Makes queries quicker; of the type ``brute`` the engine uses it, where no bit of an answer differs by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotStoreType:
    """A place where snapshots of libraries are kept."""

    name: str
    """``[a-z][a-z0-9_]{0,63}``; unique among all installed plugins."""

    summary: str
    """One sentence for lists."""

    open: Callable[[str, BaseModel], SnapshotStore]
    """``(data_dir, params) -> store``; imports lazily."""

    api_version: int = API_VERSION
    """The version of the plugin interface it was written for."""

    params: type[BaseModel] = NoParams
    """Settings of the store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalType:
    """A log of acknowledged operations."""

    name: str
    """``[a-z][a-z0-9_]{0,63}``; unique among all installed plugins."""

    summary: str
    """One sentence for lists."""

    open: Callable[[str, BaseModel], Journal]
    """``(data_dir, params) -> journal``; imports lazily."""

    api_version: int = API_VERSION
    """The version of the plugin interface it was written for."""

    params: type[BaseModel] = NoParams
    """Settings of the journal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedderType:
    """A model that turns texts into embeddings."""

    name: str
    """``[a-z][a-z0-9_]{0,63}``; unique among all installed plugins."""

    summary: str
    """One sentence for lists."""

    open: Callable[[BaseModel], Embedder]
    """``(params) -> embedder``; imports lazily."""

    api_version: int = API_VERSION
    """The version of the plugin interface it was written for."""

    params: type[BaseModel] = NoParams
    """Settings of the embedder."""
