"""The hooks of vdb. Each docstring holds a complete plugin, which the tests run as it stands.

Hooks return records and are called once, when plugins are loaded; nothing calls a hook during a search.
An entry point makes an installed plugin known::

    [project.entry-points."vdb.plugins"]
    my_index = "my_package.plugin"
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pluggy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vdb_core.plugins.records import EmbedderType, IndexType, JournalType, SnapshotStoreType

__all__ = [
    "PROJECT",
    "hookimpl",
    "hookspec",
    "vdb_register_embedders",
    "vdb_register_index_types",
    "vdb_register_journals",
    "vdb_register_snapshot_stores",
]

PROJECT: Final = "vdb"
"""The project name that pluggy's markers carry."""

hookspec: Final = pluggy.HookspecMarker(PROJECT)
"""Marks the hooks below."""

hookimpl: Final = pluggy.HookimplMarker(PROJECT)
"""Marks a plugin's implementation of a hook."""


@hookspec
def vdb_register_index_types() -> Iterable[IndexType]:
    """Register index algorithms that libraries may choose.

    This plugin searches a random sample of the rows. What it cannot do, it does not claim: the engine applies
    filters and fills up what is missing.

    >>> import json
    >>> import numpy as np
    >>> from pydantic import BaseModel, ConfigDict, Field
    >>> from vdb_core.errors import BuildCancelled
    >>> from vdb_core.indexes import NO_SLOT, IndexStats
    >>> from vdb_core.plugins import Capabilities, IndexType, PluginManager, hookimpl

    >>> class SampleParams(BaseModel):
    ...     model_config = ConfigDict(extra="forbid", frozen=True)
    ...     fraction: float = Field(0.5, gt=0, le=1, description="Share of the rows that is searched.")

    >>> class SampleIndex:
    ...     def __init__(self, vectors, sample):
    ...         self.vectors, self.sample = vectors, np.sort(sample)
    ...
    ...     def search(self, queries, k, *, allowed=None, params=None, threads=1):
    ...         slots = np.full((len(queries), k), NO_SLOT, dtype=np.uint32)
    ...         distances = np.full((len(queries), k), np.inf, dtype=np.float32)
    ...         found = -queries @ self.vectors[self.sample].T
    ...         order = np.argsort(found, axis=1, kind="stable")[:, :k]
    ...         slots[:, : order.shape[1]] = self.sample[order]
    ...         distances[:, : order.shape[1]] = np.take_along_axis(found, order, axis=1)
    ...         return slots, distances
    ...
    ...     def save(self, directory):
    ...         np.save(directory / "sample.npy", self.sample)
    ...
    ...     def stats(self):
    ...         return IndexStats(rows=len(self.sample), bytes={"sample": self.sample.nbytes})
    ...
    ...     def close(self):
    ...         self.vectors = None

    >>> def build(vectors, *, metric, params, seed, threads, progress, cancelled):
    ...     if cancelled():
    ...         raise BuildCancelled("cancelled")
    ...     size = round(params.fraction * len(vectors))
    ...     sample = np.random.default_rng(seed).permutation(len(vectors))[:size]
    ...     progress("sample", len(vectors), len(vectors))
    ...     return SampleIndex(vectors, sample)

    >>> def load(directory, vectors, *, metric, params):
    ...     return SampleIndex(vectors, np.load(directory / "sample.npy"))

    >>> class SamplePlugin:
    ...     @hookimpl
    ...     def vdb_register_index_types(self):
    ...         yield IndexType(
    ...             name="sample",
    ...             summary="Searches a random sample of the rows.",
    ...             build=build,
    ...             load=load,
    ...             metrics=frozenset({"dot"}),
    ...             capabilities=Capabilities(deterministic=True),
    ...             params=SampleParams,
    ...         )

    >>> manager = PluginManager(entry_points=lambda: ())
    >>> manager.register(SamplePlugin(), name="sample").provides
    ('index_type:sample',)
    >>> index = manager.index_type("sample").build(
    ...     np.eye(4, dtype=np.float32),
    ...     metric="dot",
    ...     params=SampleParams(fraction=1.0),
    ...     seed=7,
    ...     threads=1,
    ...     progress=lambda phase, done, total: None,
    ...     cancelled=lambda: False,
    ... )
    >>> index.search(np.float32([[0, 0, 5, 1]]), 2)[0].tolist()
    [[2, 3]]
    """
    raise NotImplementedError


@hookspec
def vdb_register_snapshot_stores() -> Iterable[SnapshotStoreType]:
    """Register places where snapshots of libraries are kept.

    This plugin keeps them on a second disk, in the format of the built-in store.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from pydantic import BaseModel, ConfigDict, Field
    >>> from vdb_core.persistence.contracts import SnapshotParts
    >>> from vdb_core.plugins import PluginManager, SnapshotStoreType, hookimpl

    >>> class SecondDiskParams(BaseModel):
    ...     model_config = ConfigDict(extra="forbid", frozen=True)
    ...     directory: str = Field(
    ...         "second-disk", description="Where to keep snapshots, below the data directory."
    ...     )

    >>> def open_store(data_dir, params):
    ...     from vdb_core.persistence.numpy_snapshots import NumpySnapshotStore
    ...
    ...     directory = Path(data_dir) / params.directory
    ...     directory.mkdir(exist_ok=True)
    ...     return NumpySnapshotStore(directory)

    >>> class SecondDiskPlugin:
    ...     @hookimpl
    ...     def vdb_register_snapshot_stores(self):
    ...         yield SnapshotStoreType(
    ...             name="second_disk",
    ...             summary="Snapshots on a second disk.",
    ...             open=open_store,
    ...             params=SecondDiskParams,
    ...         )

    >>> manager = PluginManager(entry_points=lambda: ())
    >>> manager.register(SecondDiskPlugin(), name="second_disk").provides
    ('snapshot_store:second_disk',)
    >>> with tempfile.TemporaryDirectory() as data_dir:
    ...     store = manager.snapshot_store("second_disk").open(data_dir, SecondDiskParams())
    ...     store.write("books", 1, SnapshotParts(header={"name": "Books"}, arrays={"vectors": np.eye(2)}))
    ...     stored = store.read("books", 1)
    ...     print(stored.header["name"], stored.array("vectors").shape, *store.libraries())
    ...     store.close()
    Books (2, 2) books
    """
    raise NotImplementedError


@hookspec
def vdb_register_journals() -> Iterable[JournalType]:
    """Register logs of acknowledged operations.

    This plugin keeps the log in memory: fast, and gone with the process, which its summary says.

    >>> import threading
    >>> from vdb_core.persistence.contracts import JournalEntry
    >>> from vdb_core.plugins import JournalType, NoParams, PluginManager, hookimpl

    >>> class MemoryJournal:
    ...     def __init__(self):
    ...         self.entries, self.position, self.lock = {}, 0, threading.Lock()
    ...
    ...     def append(self, batch):
    ...         with self.lock:
    ...             for entry in batch:
    ...                 self.position += 1
    ...                 self.entries[self.position] = entry
    ...             return self.position
    ...
    ...     def replay(self, library_id, after):
    ...         with self.lock:
    ...             kept = list(self.entries.items())
    ...         return ((at, each) for at, each in kept if at > after and each.library_id == library_id)
    ...
    ...     def trim(self, library_id, up_to):
    ...         with self.lock:
    ...             self.entries = {
    ...                 at: each
    ...                 for at, each in self.entries.items()
    ...                 if at > up_to or each.library_id != library_id
    ...             }
    ...
    ...     def libraries(self):
    ...         with self.lock:
    ...             return sorted({each.library_id for each in self.entries.values()})
    ...
    ...     def close(self):
    ...         pass

    >>> class MemoryJournalPlugin:
    ...     @hookimpl
    ...     def vdb_register_journals(self):
    ...         yield JournalType(
    ...             name="memory",
    ...             summary="Keeps the log in memory: acknowledged writes do not survive the process.",
    ...             open=lambda data_dir, params: MemoryJournal(),
    ...         )

    >>> manager = PluginManager(entry_points=lambda: ())
    >>> manager.register(MemoryJournalPlugin(), name="memory_journal").provides
    ('journal:memory',)
    >>> journal = manager.journal("memory").open("data", NoParams())
    >>> journal.append([JournalEntry(library_id="books", operation=b"{}")])
    1
    >>> [position for position, entry in journal.replay("books", 0)]
    [1]
    """
    raise NotImplementedError


@hookspec
def vdb_register_embedders() -> Iterable[EmbedderType]:
    """Register models that turn texts into embeddings.

    This plugin counts words by their hash: no model to download, and texts that share words are close.

    >>> import zlib
    >>> import numpy as np
    >>> from pydantic import BaseModel, ConfigDict, Field
    >>> from vdb_core.plugins import EmbedderType, PluginManager, hookimpl

    >>> class HashingParams(BaseModel):
    ...     model_config = ConfigDict(extra="forbid", frozen=True)
    ...     dimension: int = Field(256, ge=1, le=8192, description="Length of the embeddings.")

    >>> class HashingEmbedder:
    ...     name = "hashing"
    ...
    ...     def __init__(self, dimension):
    ...         self.dimension = dimension
    ...
    ...     def embed(self, texts):
    ...         matrix = np.zeros((len(texts), self.dimension), dtype=np.float32)
    ...         for row, text in zip(matrix, texts):
    ...             for word in text.lower().split() or [""]:
    ...                 row[zlib.crc32(word.encode()) % self.dimension] += 1
    ...         return matrix

    >>> class HashingPlugin:
    ...     @hookimpl
    ...     def vdb_register_embedders(self):
    ...         yield EmbedderType(
    ...             name="hashing",
    ...             summary="Counts words by their hash.",
    ...             open=lambda params: HashingEmbedder(params.dimension),
    ...             params=HashingParams,
    ...         )

    >>> manager = PluginManager(entry_points=lambda: ())
    >>> manager.register(HashingPlugin(), name="hashing").provides
    ('embedder:hashing',)
    >>> cat, dog, cats = manager.embedder("hashing").open(HashingParams()).embed(["a cat", "dogs", "the cat"])
    >>> bool(cat @ cats > cat @ dog)
    True
    """
    raise NotImplementedError
