"""The contracts of persistence: a snapshot store keeps whole states, a journal keeps what came after them.

::

    SnapshotStore.write(library_id, generation, parts)     Journal.append(batch) -> position
                 .read(library_id, generation)                    .replay(library_id, after)
                 .libraries()   .generations(library_id)          .trim(library_id, up_to)
                 .delete(library_id, generation)                  .libraries()   .close()
                 .quarantine(library_id, generation, reason)

A write is acknowledged when the journal's ``append`` has returned. A snapshot makes the journal shorter; it is
never what an acknowledgement waits for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "Embedder",
    "Journal",
    "JournalEntry",
    "MeasuredJournal",
    "SnapshotParts",
    "SnapshotStore",
    "StoredSnapshot",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotParts:
    """Everything that one generation of a library consists of."""

    header: Mapping[str, object]
    """The engine's own fields of the manifest, JSON-serializable: name, metric, index, journal position, ..."""

    arrays: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)
    """``{"vectors": a}`` becomes ``vectors.npy``."""

    rows: Mapping[str, Callable[[], Iterable[bytes]]] = field(default_factory=dict)
    """``{"metadata": f}`` becomes ``metadata.json``: a JSON array, one element a line, each ``bytes`` being the
    JSON text of an element without line breaks. Called once; streamed, never joined in memory."""

    directories: Mapping[str, Callable[[Path], None]] = field(default_factory=dict)
    """``{"index": f}`` becomes the directory ``index/``; the callable fills an existing empty directory."""

    unchanged: frozenset[str] = frozenset()
    """Names (of arrays, rows or directories) that equal those of ``base_generation``: the store links or copies
    what it has instead of writing again; such a name needs no entry above."""

    base_generation: int | None = None
    """The generation that ``unchanged`` refers to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSnapshot:
    """One generation, verified against its checksums when it was read."""

    generation: int
    """Its number; larger is newer."""

    header: Mapping[str, object]
    """What was given as ``SnapshotParts.header``."""

    directory: Path
    """A local directory that holds the files; stays valid until this generation is deleted."""

    files: frozenset[str]
    """Relative POSIX paths of the files it holds."""

    def array(self, name: str) -> NDArray[np.generic]:
        """Map ``name + ".npy"`` read-only; never unpickles."""
        from vdb_core.persistence.npy import map_npy

        return map_npy(self.directory / f"{name}.npy")

    def rows(self, name: str) -> Iterator[bytes]:
        """Iterate over the elements of ``name + ".json"``, each as JSON text; streamed.

        Raises:
            SnapshotDamaged: the file is missing or was cut.
        """
        from vdb_core.persistence.json_rows import json_rows

        return json_rows(self.directory / f"{name}.json")


@runtime_checkable
class SnapshotStore(Protocol):
    """Keeps generations of libraries. Called by one thread at a time for one library."""

    def write(self, library_id: str, generation: int, parts: SnapshotParts) -> None:
        """Store a generation so that it survives power loss once this returns, or leave no trace of it.

        Raises:
            StorageFull: there is no room.
            StorageFailed: the storage refused.
        """
        ...

    def read(self, library_id: str, generation: int) -> StoredSnapshot:
        """Open a generation, every checksum verified.

        Raises:
            SnapshotDamaged: a file is missing, truncated or altered.
            FormatUnsupported: a newer version wrote it.
        """
        ...

    def header(self, library_id: str, generation: int) -> Mapping[str, object]:
        """Read the header alone (cheap; verifies the manifest, not the files); raises as ``read``."""
        ...

    def libraries(self) -> Sequence[str]:
        """Ids of libraries that have at least one generation."""
        ...

    def generations(self, library_id: str) -> Sequence[int]:
        """Generations that are complete, oldest first; a store removes none of them by itself.

        Raises:
            SnapshotDamaged: the library was stored, but no generation is left (all damaged or set aside). An answer
                of no generations would make it look new, and its journal be replayed over nothing.
            FormatUnsupported: a newer version wrote it.
        """
        ...

    def delete(self, library_id: str, generation: int | None = None) -> None:
        """Remove a generation, or the whole library with ``None``. Removing what is not there is no error."""
        ...

    def quarantine(self, library_id: str, generation: int, reason: str) -> None:
        """Set a generation aside with its reason, so that it is no longer among ``generations``."""
        ...

    def close(self) -> None:
        """Release what the store holds."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """One acknowledged operation on one library."""

    library_id: str
    """The library it belongs to."""

    operation: bytes
    """JSON text, UTF-8."""

    vectors: NDArray[np.float32] | None = None
    """float32 ``[rows, dim]`` that goes with the operation, or none."""


@runtime_checkable
class Journal(Protocol):
    """An append-only log. ``append`` is called by one thread; ``replay`` and ``trim`` by others beside it."""

    def append(self, batch: Sequence[JournalEntry]) -> int:
        """Make a batch durable as a whole; returns the position of its last entry.

        Positions rise by one an entry over the whole journal. When this returns, the batch survives power loss;
        when it raises, nothing of it is there.

        Raises:
            StorageFull: there is no room.
            StorageFailed: the storage refused.
        """
        ...

    @property
    def position(self) -> int:
        """The position of the last entry there ever was, trimmed ones included; 0 where there was none."""
        ...

    def advance_to(self, position: int) -> None:
        """Let the next entry have a position above this one. Durable when it returns."""
        ...

    def replay(self, library_id: str, after: int) -> Iterator[tuple[int, JournalEntry]]:
        """Iterate over the library's entries with a position above ``after``, in order."""
        ...

    def trim(self, library_id: str, up_to: int) -> None:
        """Forget the library's entries up to and including a position, and give the space back."""
        ...

    def libraries(self) -> Sequence[str]:
        """Ids of libraries that have entries."""
        ...

    def close(self) -> None:
        """Flush and release."""
        ...


@runtime_checkable
class MeasuredJournal(Protocol):
    """A journal that can tell how much room it takes; one that cannot is as good."""

    @property
    def nbytes(self) -> int:
        """Bytes on disk."""
        ...


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into embeddings. Called by several threads at once.

    One that does not read long texts to their end may say so: ``unread(texts)`` returns how many characters at the end
    of each text it leaves out, 0 where none, and those who wrote the text are told. An embedder without that method
    reads everything.
    """

    @property
    def name(self) -> str:
        """The model's name."""
        ...

    @property
    def dimension(self) -> int:
        """Length of every embedding."""
        ...

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts, of which there is at least one: float32 ``[len(texts), dimension]``, finite.

        May raise ``ValidationFailed`` for a text that it cannot embed.
        """
        ...
