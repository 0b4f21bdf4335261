"""Any interleaving of writes, builds, restarts and searches, against a model that is a list of rows."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from vdb_core.domain import normalize
from vdb_core.errors import BuildInProgress, CallerError
from vdb_core.filters import parse_filter, row_matches
from vdb_core.indexes import exact_distances
from vdb_core.plugins import PluginManager
from vdb_core.services import EngineSettings, Services, open_services

if TYPE_CHECKING:
    from collections.abc import Mapping

DIMENSION = 3
CHUNKS = [f"c{number}" for number in range(12)] + ["a/b", "ü ?#%", "🦊"]
DOCUMENTS = ["d1", "d2", "d/3"]

chunk_ids = st.sampled_from(CHUNKS)
# Small whole numbers make exact ties common, and sums of their products are exact in any order.
vectors = st.lists(st.integers(-2, 2).map(float), min_size=DIMENSION, max_size=DIMENSION).filter(any)
metadata = st.fixed_dictionaries(
    {},
    optional={
        "lang": st.sampled_from(["en", "de"]),
        "year": st.integers(2020, 2024) | st.floats(2020, 2024, allow_nan=False),
        "tags": st.lists(st.sampled_from(["x", "y", 1, True]), max_size=2),
        "when": st.sampled_from(
            ["2024-01-01T00:00:00Z", "2024-01-01T01:00:00+01:00", "2025-06-01T12:00:00Z"]
        ),
        "nested": st.fixed_dictionaries({}, optional={"deep": st.integers(0, 2) | st.none()}),
    },
)
leaves = st.sampled_from(
    [
        {"lang": "en"},
        {"lang": {"$ne": "en"}},
        {"year": {"$gte": 2022}},
        {"year": {"$lt": 2023, "$gt": 2020}},
        {"tags": "x"},
        {"tags": {"$contains": "y"}},
        {"tags": {"$in": [1, "y"]}},
        {"when": {"$lte": "2024-01-01T00:00:00Z"}},
        {"nested.deep": {"$exists": True}},
        {"nested.deep": None},
        {"$document.kind": "book"},
        {"$document.kind": {"$ne": "book"}},
        {"$document_id": {"$in": ["d1", "d/3"]}},
        {"$id": {"$in": ["c1", "c2", "🦊"]}},
        {"$id": {"$nin": ["c3"]}},
        {"absent": {"$exists": False}},
    ]
)
filters = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda some: {"$and": some}),
        st.lists(inner, min_size=1, max_size=3).map(lambda some: {"$or": some}),
        inner.map(lambda one: {"$not": one}),
    ),
    max_leaves=4,
)


@dataclass
class Row:
    """A chunk of the model."""

    document_id: str | None
    text: str | None
    vector: list[float]
    metadata: dict[str, object]


@dataclass
class Model:
    """What the library should hold; the order of the rows is the order of their last writes."""

    rows: dict[str, Row] = field(default_factory=dict)
    documents: dict[str, dict[str, object]] = field(default_factory=dict)

    def write(self, chunk_id: str, row: Row) -> None:
        self.rows.pop(chunk_id, None)
        self.rows[chunk_id] = row

    def matching(self, wanted: Mapping[str, object] | None) -> list[str]:
        if wanted is None:
            return list(self.rows)
        parsed = parse_filter(wanted)
        return [
            chunk_id
            for chunk_id, row in self.rows.items()
            if row_matches(
                parsed,
                chunk_id=chunk_id,
                document_id=row.document_id,
                metadata=row.metadata,
                document_metadata=None if row.document_id is None else self.documents.get(row.document_id),
            )
        ]

    def nearest(
        self, metric: str, query: list[float], k: int, wanted: Mapping[str, object] | None
    ) -> list[str]:
        ids = self.matching(wanted)
        if not ids:
            return []
        rows = np.array([self.rows[one].vector for one in ids], dtype=np.float32)
        one = np.array([query], dtype=np.float32)
        if metric == "cosine":
            rows, one = normalize(rows)[0], normalize(one)[0]
        distances = exact_distances(rows, one[0], metric)  # pyright: ignore[reportArgumentType]
        return [ids[at] for at in np.argsort(distances, kind="stable")[:k]]


class LibraryMachine(RuleBasedStateMachine):
    """Drives a library and its model side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.directory: Path | None = None
        self.services: Services
        self.plugins = PluginManager.from_environment()
        self.plugins.load()
        self.model = Model()
        self.patches = pytest.MonkeyPatch()

    @initialize(metric=st.sampled_from(["cosine", "dot", "l2"]), durable=st.booleans(), tight=st.booleans())
    def open(self, metric: str, durable: bool, tight: bool) -> None:
        self.metric = metric
        if tight:
            # Folds after a few rows, and no search is small enough to go past the index.
            self.patches.setattr("vdb_core.engine.folding._FOLD_ROWS", 8)
            self.patches.setattr("vdb_core.engine.folding._DEAD_ROWS", 4)
            self.patches.setattr("vdb_core.engine.search._FEW_ROWS", 0)
            self.patches.setattr("vdb_core.engine.segments.SMALL_ROWS", 3)
        if durable:
            self.directory = Path(tempfile.mkdtemp(prefix="vdb-oracle-"))
        self.services = open_services(EngineSettings(data_dir=self.directory), plugins=self.plugins)
        self.services.libraries.create({"id": "lib", "name": "lib", "metric": metric}).result(30)

    def teardown(self) -> None:
        if hasattr(self, "services"):
            self.services.close()
        self.patches.undo()
        if self.directory is not None:
            shutil.rmtree(self.directory)

    @rule(document_id=st.sampled_from(DOCUMENTS), kind=st.sampled_from(["book", "letter"]))
    def put_document(self, document_id: str, kind: str) -> None:
        libraries = self.services.libraries
        if document_id in self.model.documents:
            libraries.patch_document("lib", document_id, {"metadata": {"kind": kind}}).result(30)
        else:
            libraries.create_document("lib", {"id": document_id, "metadata": {"kind": kind}}).result(30)
        self.model.documents[document_id] = {"kind": kind}

    @rule(
        rows=st.lists(
            st.tuples(chunk_ids, vectors, metadata, st.none() | st.sampled_from(DOCUMENTS)),
            min_size=1,
            max_size=8,
            unique_by=lambda row: row[0],
        )
    )
    def upsert(self, rows: list[tuple[str, list[float], dict[str, object], str | None]]) -> None:
        body = [
            {"id": one, "embedding": vector, "metadata": values, "document_id": document_id, "text": one}
            for one, vector, values, document_id in rows
        ]
        known = {document_id for *_, document_id in rows if document_id} <= set(self.model.documents)
        future = None
        try:
            future = self.services.libraries.upsert_chunks("lib", body).result(30)
        except CallerError:
            assert not known
            return
        assert known
        updated = sum(one in self.model.rows for one, *_ in rows)
        assert (future.created, future.updated) == (len(rows) - updated, updated)
        for one, vector, values, document_id in rows:
            self.model.write(one, Row(document_id, one, vector, values))

    @rule(chunk_id=chunk_ids, values=metadata, vector=st.none() | vectors)
    def patch(self, chunk_id: str, values: dict[str, object], vector: list[float] | None) -> None:
        body: dict[str, object] = {"metadata": values}
        if vector is not None:
            body["embedding"] = vector
        try:
            self.services.libraries.patch_chunk("lib", chunk_id, body).result(30)
        except CallerError:
            assert chunk_id not in self.model.rows
            return
        from vdb_core.domain import merge_patch

        old = self.model.rows[chunk_id]
        merged = merge_patch(old.metadata, values)
        self.model.write(chunk_id, Row(old.document_id, old.text, vector or old.vector, merged))

    @rule(ids=st.lists(chunk_ids, min_size=1, max_size=4))
    def delete(self, ids: list[str]) -> None:
        result = self.services.libraries.delete_chunks("lib", {"ids": ids}).result(30)
        assert result.deleted == len(set(ids) & set(self.model.rows))
        for one in ids:
            self.model.rows.pop(one, None)

    @rule(wanted=filters)
    def delete_by_filter(self, wanted: dict[str, object]) -> None:
        doomed = self.model.matching(wanted)
        assert self.services.libraries.delete_chunks("lib", {"filter": wanted}).result(30).deleted == len(
            doomed
        )
        for one in doomed:
            del self.model.rows[one]

    @rule(document_id=st.sampled_from(DOCUMENTS))
    def delete_document(self, document_id: str) -> None:
        try:
            self.services.libraries.delete_document("lib", document_id).result(30)
        except CallerError:
            assert document_id not in self.model.documents
            return
        del self.model.documents[document_id]
        for one in [one for one, row in self.model.rows.items() if row.document_id == document_id]:
            del self.model.rows[one]

    @rule(kind=st.sampled_from(["brute", "ivf_flat", "ivf_pq", "numpy"]), wait=st.booleans())
    def build(self, kind: str, wait: bool) -> None:
        if kind not in self.plugins.index_types:
            return
        try:
            job = self.services.indexing.start("lib", {"type": kind})
        except BuildInProgress:
            return
        if wait:
            assert job.wait(60)
            assert job.state == "succeeded", job.error

    @precondition(lambda self: self.directory is not None)
    @rule()
    def restart(self) -> None:
        self.services.close()
        self.services = open_services(EngineSettings(data_dir=self.directory), plugins=self.plugins)

    @precondition(lambda self: self.directory is not None)
    @rule()
    def snapshot(self) -> None:
        try:
            job = self.services.indexing.snapshot("lib")
        except BuildInProgress:
            return
        assert job.wait(60)
        assert job.state == "succeeded", job.error

    @rule(query=vectors, k=st.integers(1, 20), wanted=st.none() | filters)
    def search(self, query: list[float], k: int, wanted: dict[str, object] | None) -> None:
        body: dict[str, object] = {"embedding": query, "k": k}
        if wanted is not None:
            body["filter"] = wanted
        answer = self.services.queries.search("lib", body)
        expected = self.model.nearest(self.metric, query, k, wanted)
        found = [hit["id"] for hit in answer.hits]
        assert not answer.warnings
        assert len(found) == len(expected) == len(set(found)), (found, expected)
        assert set(found) <= set(self.model.matching(wanted))
        if answer.index["exact"]:
            assert found == expected
        scores = [hit["score"] for hit in answer.hits]
        assert scores == sorted(scores, reverse=True)

    @invariant()
    def counts(self) -> None:
        if hasattr(self, "services"):
            library = self.services.libraries.get("lib")
            assert (library.chunks, library.documents) == (len(self.model.rows), len(self.model.documents))
            listed = self.services.libraries.list_chunks("lib", limit=1000).items
            assert [chunk.id for chunk in listed] == list(self.model.rows)


LibraryMachine.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
)
TestLibraryAgainstModel = LibraryMachine.TestCase
