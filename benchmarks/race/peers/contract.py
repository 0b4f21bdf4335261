"""What a contestant must offer to take part: build an index, tell how it can be searched, search."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from race.data import Rows, Workload

    Setting = Mapping[str, int]
    Search = Callable[[Rows], NDArray[Any]]

__all__ = ["Absent", "Axis", "Built", "Peer", "Sizes", "Variant"]


class Absent(Exception):
    """The library cannot be used here; its text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """The search parameter that trades time for recall: a greater value finds no less."""

    name: str
    low: int
    high: int
    at_least_k: bool = False
    """Whether values below k mean k."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What an index occupies."""

    total: int
    """Bytes, the rows included where the index holds them."""

    holds_rows: bool
    """Whether ``total`` includes a float32 copy of the rows."""

    parts: Mapping[str, int] = field(default_factory=dict)
    """Bytes by part, where the index tells."""


class Built(Protocol):
    """An index that is ready."""

    @property
    def axis(self) -> Axis | None:
        """``None``: nothing to choose, the answer is exact."""
        ...

    @property
    def others(self) -> Mapping[str, Sequence[int]]:
        """Further search parameters and the values worth trying."""
        ...

    def use(self, setting: Setting, k: int, threads: int) -> Search:
        """Get ready to search with a setting; what it returns holds until the next ``use``.

        The function takes queries float32 ``[q, dim]`` and returns slots ``[q, k]`` of any integer type; a slot that
        is no row number is padding.
        """
        ...

    def sizes(self) -> Sizes:
        """Tell what it occupies."""
        ...

    def close(self) -> None:
        """Let go of all memory."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A way to build an index."""

    peer: str
    """Whose: ``vdb``, ``faiss``, ..."""

    label: str
    """As tables show it."""

    build: Callable[[Workload, int], Built]
    """``(workload, threads)``; what this call takes is the build time."""


class Peer(Protocol):
    """A library."""

    name: str

    def version(self) -> str:
        """Import the library and tell its version.

        Raises:
            Absent: it is not installed or does not work on this machine.
        """
        ...

    def variants(self, family: str, workload: Workload, *, full: bool) -> Sequence[Variant]:
        """What it enters against one of vdb's index types (``brute``, ``ivf_flat``, ``ivf_pq``); may be nothing."""
        ...
