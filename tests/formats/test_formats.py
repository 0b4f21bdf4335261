"""Every version of the format that was ever released still opens."""

from __future__ import annotations

import importlib.util
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from vdb_core.domain import normalize
from vdb_core.indexes import exact_distances
from vdb_core.maintenance import check_directory, plan_repair
from vdb_core.services import EngineSettings, open_services

HERE = Path(__file__).parent
VERSIONS = sorted(one.name for one in HERE.iterdir() if one.is_dir() and one.name.startswith("v"))

_spec = importlib.util.spec_from_file_location("make_fixture", HERE / "make_fixture.py")
assert _spec is not None
assert _spec.loader is not None
make_fixture = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make_fixture)


def test_there_is_a_fixture() -> None:
    assert VERSIONS[0] == "v1"


@pytest.mark.parametrize("version", VERSIONS)
def test_an_older_directory_opens(version: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(HERE / version, data)
    matrix = make_fixture.vectors()
    with open_services(EngineSettings(data_dir=data)) as services:
        assert [library.id for library in services.libraries.list().items] == ["Cosine", "l2"]
        library = services.libraries.get("Cosine")
        assert (library.chunks, library.documents, library.index.type) == (298, 3, "ivf_flat")
        assert library.metadata == {"made": "for later"}
        assert services.indexing.status("Cosine")["warnings"] == []
        alive = [number for number in range(make_fixture.ROWS) if number not in (7, 299)]
        for number in (0, 8, 123, 260, 298):
            chunk = services.libraries.get_chunk("Cosine", f"chunk/{number}")
            np.testing.assert_allclose(chunk.embedding, matrix[number], rtol=3e-7)
            expected = make_fixture.row(number)
            assert (chunk.text, chunk.document_id) == (expected["text"], expected["document_id"])
        assert services.libraries.get_chunk("Cosine", "chunk/8").metadata["n"] == -8
        unit = normalize(matrix[alive])[0]
        for number in (0, 50, 270):
            query = {"embedding": matrix[number].tolist(), "k": 5, "params": {"n_probes": 4}}
            found = [hit["id"] for hit in services.queries.search("Cosine", query).hits]
            distances = exact_distances(unit, normalize(matrix[number : number + 1])[0][0], "cosine")
            nearest = [f"chunk/{alive[at]}" for at in np.argsort(distances, kind="stable")[:5]]
            assert found == nearest
        filtered = {
            "embedding": matrix[1].tolist(),
            "k": 1000,
            "filter": {"$document.part": 1, "lang": "de", "when": {"$lt": "2024-05-01T10:00:01Z"}},
        }
        hits = services.queries.search("Cosine", filtered).hits
        assert {hit["id"] for hit in hits} == {f"chunk/{n}" for n in alive if n % 3 == 1 and n % 2 and n != 8}
        assert services.queries.search("l2", {"embedding": [1.0, 2.0]}).hits[0]["score"] == 0.0


@pytest.mark.parametrize("version", VERSIONS)
def test_an_older_directory_is_checked_as_it_is(version: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(HERE / version, data)
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    found = check_directory(data)
    assert (found.worst, found.journal.problem, [one.chunks for one in found.libraries]) == (
        None,
        None,
        [298, 1],
    )
    assert found.journal.entries > 5
    with plan_repair(data, writing=False) as repair:
        assert repair.actions == []
    assert {path: path.read_bytes() for path in data.rglob("*") if path.is_file()} == before


def test_a_damaged_older_journal_is_salvaged(tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(HERE / "v1", data)
    with closing(sqlite3.connect(data / "_journal.sqlite3")) as connection, connection:
        connection.execute(
            "UPDATE entries SET operation = operation || x'20' WHERE position ="
            " (SELECT max(position) FROM entries WHERE library_id = 'Cosine')"
        )
    with plan_repair(data, writing=True) as repair:
        assert repair.apply().worst in {None, "note"}
    with open_services(EngineSettings(data_dir=data)) as services:
        # The last entry changed chunk 8, and is lost.
        assert services.libraries.get_chunk("Cosine", "chunk/8").metadata["n"] == 8
        assert services.libraries.get("l2").chunks == 1


def test_a_repair_that_an_older_version_began_is_finished(tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(HERE / "v1", data)
    shutil.copyfile(data / "_journal.sqlite3", data / "_journal.sqlite3.repaired")
    mark = data / "_quarantine" / "journal-20260101T000000.000000Z" / "to-be-exchanged"
    mark.parent.mkdir(parents=True)
    mark.touch()
    with plan_repair(data, writing=True) as repair:
        assert repair.apply().worst == "note"
    assert not mark.exists()
    with open_services(EngineSettings(data_dir=data)) as services:
        assert services.libraries.get("Cosine").chunks == 298


@pytest.mark.parametrize(("params", "coded"), [({}, True), ({"codes": False}, False)])
def test_a_library_keeps_the_parameters_it_was_given(
    params: dict[str, bool], coded: bool, tmp_path: Path
) -> None:
    """A manifest from before codes were the default says nothing of them, or that there are none."""
    rows, dimension = 5_000, 128
    vectors = np.random.default_rng(3).standard_normal((rows, dimension)).astype(np.float32)
    settings = EngineSettings(data_dir=tmp_path)
    with open_services(settings) as services:
        index = {"type": "brute", "params": params}
        services.libraries.create({"id": "lib", "name": "Library", "index": index}).result(10)
        chunks = [{"id": str(row)} for row in range(rows)]
        services.libraries.upsert_chunks("lib", chunks, vectors=vectors).result(10)
        assert services.indexing.start("lib", {}).wait(30)
    with open_services(settings) as services:
        status = services.indexing.status("lib")
        assert (status["params"], status["warnings"], status["delta_rows"]) == (params, [], 0)
        assert (status["bytes"] - vectors.nbytes > rows * dimension) is coded
        found = services.queries.search("lib", {"embedding": vectors[77].tolist(), "k": 1})
        assert (found.hits[0]["id"], found.index["exact"]) == ("77", True)
