"""What vdb-core brings itself passes the suites that everybody's plugins must pass."""

from __future__ import annotations

import zlib

import numpy as np

from vdb_core.plugins import EmbedderType, PluginManager
from vdb_core.testing import (
    EmbedderConformance,
    IndexConformance,
    JournalConformance,
    SnapshotStoreConformance,
)


def built_in() -> PluginManager:
    manager = PluginManager(entry_points=lambda: ())
    manager.load()
    return manager


class TestNumpyIndex(IndexConformance):
    index_type = built_in().index_type("numpy")
    recall_floor = 1.0


class TestNumpySnapshots(SnapshotStoreConformance):
    store_type = built_in().snapshot_store("numpy")


class TestSqliteJournal(JournalConformance):
    journal_type = built_in().journal("sqlite")


class Words:
    """Counts words by hash: vdb-core brings no embedder, and the suite needs one that is honest."""

    name = "words"
    dimension = 64

    def embed(self, texts):
        matrix = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in zip(matrix, texts, strict=True):
            for word in text.lower().split() or [""]:
                row[zlib.crc32(word.encode()) % self.dimension] += 1
        return matrix


class TestWords(EmbedderConformance):
    embedder_type = EmbedderType(name="words", summary="Counts words.", open=lambda params: Words())
