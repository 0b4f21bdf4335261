"""Snapshot stores, journals and embedders with one planted fault each; `test_planted_faults.py` runs this file."""

from __future__ import annotations

import dataclasses
import threading
import time
import zlib
from pathlib import Path
from typing import ClassVar

import numpy as np

from vdb_core.errors import SnapshotDamaged
from vdb_core.persistence.numpy_snapshots import NumpySnapshotStore
from vdb_core.persistence.sqlite_journal import SqliteJournal
from vdb_core.plugins import EmbedderType, JournalType, SnapshotStoreType
from vdb_core.testing import EmbedderConformance, JournalConformance, SnapshotStoreConformance


class HonestStore:
    """Hands everything to the built-in store; the others break one sentence."""

    kills: ClassVar[int] = 0

    def __init__(self, data_dir):
        self.inner = NumpySnapshotStore(Path(data_dir))

    def write(self, library_id, generation, parts):
        self.inner.write(library_id, generation, parts)

    def read(self, library_id, generation):
        return self.inner.read(library_id, generation)

    def header(self, library_id, generation):
        return self.inner.header(library_id, generation)

    def libraries(self):
        return self.inner.libraries()

    def generations(self, library_id):
        return self.inner.generations(library_id)

    def delete(self, library_id, generation=None):
        self.inner.delete(library_id, generation)

    def quarantine(self, library_id, generation, reason):
        self.inner.quarantine(library_id, generation, reason)

    def close(self):
        self.inner.close()


class HasNoHeader(HonestStore):
    def header(self, library_id, generation):
        return {}


class ListsNewestFirst(HonestStore):
    def generations(self, library_id):
        return tuple(reversed(self.inner.generations(library_id)))


class MixesLibraries(HonestStore):
    def generations(self, library_id):
        return sorted({one for each in self.inner.libraries() for one in self.inner.generations(each)})


class ReadsWhatItReadBefore(HonestStore):
    """Keeps what it read, and so never sees damage."""

    def __init__(self, data_dir):
        super().__init__(data_dir)
        self.seen = {}

    def read(self, library_id, generation):
        if (library_id, generation) not in self.seen:
            self.seen[library_id, generation] = self.inner.read(library_id, generation)
        return self.seen[library_id, generation]

    def delete(self, library_id, generation=None):
        self.seen.clear()
        super().delete(library_id, generation)


class DeletesTheWholeLibrary(HonestStore):
    def delete(self, library_id, generation=None):
        self.inner.delete(library_id)


class SwallowsWhatPartsRaise(HonestStore):
    def write(self, library_id, generation, parts):
        try:
            super().write(library_id, generation, parts)
        except RuntimeError:
            return


class CallsTheDamagedNew(HonestStore):
    def generations(self, library_id):
        try:
            return super().generations(library_id)
        except SnapshotDamaged:
            return ()


class SetsNothingAside(HonestStore):
    def quarantine(self, library_id, generation, reason):
        return


class ForgetsWhatIsUnchanged(HonestStore):
    def write(self, library_id, generation, parts):
        super().write(
            library_id, generation, dataclasses.replace(parts, unchanged=frozenset(), base_generation=None)
        )


class RaisesForNobody(HonestStore):
    def delete(self, library_id, generation=None):
        if library_id not in self.inner.libraries():
            raise KeyError(library_id)
        super().delete(library_id, generation)


class CleansUpWhenClosed(HonestStore):
    def close(self):
        for library_id in self.inner.libraries():
            self.inner.delete(library_id)
        super().close()


class WritesLater(HonestStore):
    """Returns before it has written: the next call does it."""

    kills = 2

    def __init__(self, data_dir):
        super().__init__(data_dir)
        self.waiting = None

    def catch_up(self):
        waiting, self.waiting = self.waiting, None
        if waiting is not None:
            super().write(*waiting)

    def write(self, library_id, generation, parts):
        self.catch_up()
        if any(name != "index" or parts.arrays.keys() != {"vectors", "ids"} for name in parts.directories):
            super().write(library_id, generation, parts)
        else:
            self.waiting = (library_id, generation, parts)

    def read(self, library_id, generation):
        self.catch_up()
        return super().read(library_id, generation)

    def header(self, library_id, generation):
        self.catch_up()
        return super().header(library_id, generation)

    def libraries(self):
        self.catch_up()
        return super().libraries()

    def generations(self, library_id):
        self.catch_up()
        return super().generations(library_id)

    def delete(self, library_id, generation=None):
        self.catch_up()
        super().delete(library_id, generation)

    def quarantine(self, library_id, generation, reason):
        self.catch_up()
        super().quarantine(library_id, generation, reason)

    def close(self):
        self.catch_up()
        super().close()


class HonestJournal:
    """Hands everything to the built-in journal; the others break one sentence."""

    kills: ClassVar[int] = 0

    def __init__(self, data_dir):
        self.inner = SqliteJournal(Path(data_dir))

    @property
    def position(self):
        return self.inner.position

    def append(self, batch):
        return self.inner.append(batch)

    def advance_to(self, position):
        self.inner.advance_to(position)

    def replay(self, library_id, after):
        return self.inner.replay(library_id, after)

    def trim(self, library_id, up_to):
        self.inner.trim(library_id, up_to)

    def libraries(self):
        return self.inner.libraries()

    def close(self):
        self.inner.close()


class CannotBeEmpty(HonestJournal):
    def trim(self, library_id, up_to):
        if not self.inner.libraries():
            raise KeyError(library_id)
        super().trim(library_id, up_to)


class ReturnsTheFirstPosition(HonestJournal):
    def append(self, batch):
        return self.inner.append(batch) - max(0, len(batch) - 1)


class ReplaysFromTheStart(HonestJournal):
    def replay(self, library_id, after):
        return self.inner.replay(library_id, 0)


class TrimsOneTooMany(HonestJournal):
    def trim(self, library_id, up_to):
        self.inner.trim(library_id, up_to + 2)


class ForgetsToAdvance(HonestJournal):
    def advance_to(self, position):
        return


class AppendsOneByOne(HonestJournal):
    def append(self, batch):
        for entry in batch:
            self.inner.append([entry])
        return self.inner.position


class ReplaysUnderALock(HonestJournal):
    def __init__(self, data_dir):
        super().__init__(data_dir)
        self.lock = threading.Lock()

    def append(self, batch):
        with self.lock:
            return self.inner.append(batch)

    def replay(self, library_id, after):
        with self.lock:
            yield from self.inner.replay(library_id, after)


class LivesInMemory(HonestJournal):
    """Keeps what it is given for as long as the process lives, and writes it when it is closed."""

    kills = 1

    def __init__(self, data_dir):
        self.path = Path(data_dir)
        self.shadow = self.path / "shadow"
        self.shadow.mkdir(exist_ok=True)
        self.inner = SqliteJournal(self.path)
        self.kept = []

    def append(self, batch):
        if len(batch) == 7:
            self.kept.extend(batch)
            return self.inner.position + len(self.kept)
        return self.inner.append(batch)


class Words:
    """Counts words by hash; the others break one sentence."""

    name = "words"
    dimension = 64

    def embed(self, texts):
        matrix = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in zip(matrix, texts, strict=True):
            for word in text.lower().split() or [""]:
                row[zlib.crc32(word.encode()) % self.dimension] += 1
        return matrix


class HasNoName(Words):
    name = ""


class ReturnsDoubles(Words):
    def embed(self, texts):
        return super().embed(texts).astype(np.float64)


class LeavesShortTextsEmpty(Words):
    def embed(self, texts):
        matrix = super().embed(texts)
        matrix[[len(text) < 2 and text.isascii() for text in texts]] = 0
        return matrix


class LooksAtItsNeighbours(Words):
    def embed(self, texts):
        matrix = super().embed(texts)
        return matrix + matrix.mean(axis=0) * np.float32(0.01) * np.float32(len(texts) > 1)


class DrawsItsWeights(Words):
    """Every instance has weights of its own."""

    def __init__(self):
        self.weights = np.random.default_rng().uniform(1, 2, self.dimension).astype(np.float32)

    def embed(self, texts):
        return super().embed(texts) * self.weights


class SaysTheSameOfEverything(Words):
    def embed(self, texts):
        return np.ones((len(texts), self.dimension), np.float32)


class SeesLettersAlone(Words):
    """Texts that share a word are no nearer than any others: what it looks at is how long they are."""

    def embed(self, texts):
        matrix = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in zip(matrix, texts, strict=True):
            row[zlib.crc32(text.encode()) % self.dimension] = 1
        return matrix


class MixesThreads(Words):
    """One buffer for all threads."""

    def embed(self, texts):
        self.texts = texts
        time.sleep(0.001)
        return super().embed(self.texts if len(self.texts) == len(texts) else texts)


class ReturnsItsBuffer(Words):
    def __init__(self):
        self.buffers = {}

    def embed(self, texts):
        matrix = super().embed(texts)
        if len(texts) != 2:
            return matrix
        buffer = self.buffers.setdefault(len(texts), np.empty_like(matrix))
        buffer[:] = matrix
        return buffer


def _below(root: type) -> list[type]:
    return [root, *(deeper for each in root.__subclasses__() for deeper in _below(each))]


def _suites() -> dict[str, type]:
    suites: dict[str, type] = {}

    def add(kind: type, suite: type, **given: object) -> None:
        suites[f"Test{kind.__name__}"] = type(f"Test{kind.__name__}", (suite,), given)

    for store in _below(HonestStore):
        record = SnapshotStoreType(
            name="planted",
            summary="A planted fault.",
            open=lambda data_dir, params, made=store: made(data_dir),
        )
        add(store, SnapshotStoreConformance, store_type=record, kills=store.kills)
    for journal in _below(HonestJournal):
        record = JournalType(
            name="planted",
            summary="A planted fault.",
            open=lambda data_dir, params, made=journal: made(data_dir),
        )
        add(journal, JournalConformance, journal_type=record, kills=journal.kills)
    for embedder in _below(Words):
        record = EmbedderType(
            name="planted", summary="A planted fault.", open=lambda params, made=embedder: made()
        )
        add(embedder, EmbedderConformance, embedder_type=record)
    return suites


globals().update(_suites())
