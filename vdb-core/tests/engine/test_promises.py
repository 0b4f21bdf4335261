"""Promises 1, 2, 6 and 7: whatever an index does, an answer is complete, fresh, exact in its scores and says how."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from engine_kit import add, build, fill, nearest

from vdb_core.errors import ValidationFailed
from vdb_core.plugins import PluginManager

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from engine_kit import Odd

    from vdb_core.services import Services

pytestmark = pytest.mark.usefixtures("small_searches_use_the_index")


@pytest.mark.parametrize("kind", ["half", "rubbish", "raising", "wrong_type", "blind", "slow", "numpy"])
@pytest.mark.parametrize("wanted", [None, {"even": True}, {"n": {"$in": [3, 17, 39]}}, {"n": 99}])
def test_every_index_answers_min_k_matches(
    opener: Callable[..., Services], odd: Odd, kind: str, wanted: dict[str, Any] | None
) -> None:
    services = opener()
    fill(services)
    odd.gate.set()
    build(services, kind)
    add(services, range(100, 103))
    services.libraries.delete_chunks("lib", {"ids": ["c20", "c0"]}).result(10)
    numbers = [n for n in [*range(40), 100, 101, 102] if n not in (0, 20)]
    if wanted == {"even": True}:
        numbers = [n for n in numbers if n % 2 == 0]
    elif wanted is not None:
        numbers = [n for n in numbers if n in (3, 17, 39)] if "$in" in str(wanted) else []
    query = {} if wanted is None else {"filter": wanted}
    for k in (1, 4, 1000):
        found = nearest(services, 20.25, k, **query)
        assert len(found) == min(k, len(numbers))
        assert {int(one[1:]) for one in found} <= set(numbers)
        if kind in ("raising", "wrong_type", "numpy", "slow", "blind"):
            expected = sorted(numbers, key=lambda n: abs(n - 20.25))[:k]
            assert [int(one[1:]) for one in found] == expected


def test_scores_are_never_the_index_s_own(opener: Callable[..., Services]) -> None:
    services = opener()
    fill(services)
    build(services, "half")
    hits = services.queries.search("lib", {"embedding": [5.0, 1.0], "k": 3}).hits
    assert [(hit["score"], hit["distance"]) for hit in hits] == [(0.0, 0.0), (-1.0, 1.0), (-1.0, 1.0)]


def test_a_failing_index_is_said_in_the_answer(opener: Callable[..., Services]) -> None:
    services = opener()
    fill(services)
    build(services, "raising")
    answer = services.queries.search("lib", {"embedding": [5.0, 1.0], "explain": True})
    assert answer.index == {"type": "raising", "exact": True}
    assert "RuntimeError" in answer.warnings[0]
    assert answer.explain is not None
    assert answer.explain["route"] == ["exact"]


def test_an_approximate_answer_says_so(opener: Callable[..., Services]) -> None:
    services = opener()
    fill(services)
    build(services, "blind")
    assert services.queries.search("lib", {"embedding": [5.0, 1.0]}).index == {
        "type": "blind",
        "exact": False,
    }


def test_reads_see_writes_at_once(opener: Callable[..., Services]) -> None:
    services = opener()
    fill(services, 3)
    assert nearest(services, 50.0, 1) == ["c2"]
    add(services, [50])
    assert nearest(services, 50.0, 1) == ["c50"]
    services.libraries.delete_chunk("lib", "c50").result(10)
    assert nearest(services, 50.0, 1) == ["c2"]
    services.libraries.patch_chunk("lib", "c1", {"embedding": [50.0, 1.0]}).result(10)
    assert nearest(services, 50.0, 1) == ["c1"]


def test_an_exact_tie_goes_to_the_older_row(opener: Callable[..., Services]) -> None:
    services = opener()
    fill(services, 0)
    for name in ("b", "a", "c"):
        services.libraries.create_chunk("lib", {"id": name, "embedding": [1.0, 1.0]}).result(10)
    assert nearest(services, 1.0, 3) == ["b", "a", "c"]
    build(services, "numpy")
    services.libraries.patch_chunk("lib", "b", {"text": "written again"}).result(10)
    assert nearest(services, 1.0, 3) == ["a", "c", "b"]


def test_unknown_parameters_name_the_valid_ones(opener: Callable[..., Services]) -> None:
    services = opener()
    fill(services)
    build(services, "blind")
    with pytest.raises(ValidationFailed, match="effort") as caught:
        services.queries.search("lib", {"embedding": [1.0, 1.0], "params": {"n_probes": 3}})
    assert caught.value.faults[0].pointer == "/params/n_probes"
    with pytest.raises(ValidationFailed, match="keep"):
        services.indexing.start("lib", {"params": {"lists": 3}})
    with pytest.raises(ValidationFailed, match=r"'hsnw'.*Available: .*blind.*numpy"):
        services.indexing.start("lib", {"type": "hsnw"})
    assert services.indexing.status("lib")["type"] == "blind"


def test_a_missing_plugin_degrades_and_comes_back(
    opener: Callable[..., Services], tmp_path: Path, plugins: PluginManager
) -> None:
    services = opener(tmp_path)
    fill(services)
    build(services, "half")
    services.close()
    bare = PluginManager(entry_points=list)
    bare.load()
    from vdb_core.services import EngineSettings, open_services

    with open_services(EngineSettings(data_dir=tmp_path), plugins=bare) as degraded:
        answer = degraded.queries.search("lib", {"embedding": [5.0, 1.0], "k": 3, "params": {"effort": 3}})
        assert [hit["id"] for hit in answer.hits] == ["c5", "c4", "c6"]
        assert answer.index == {"type": "numpy", "exact": True}
        assert "half" in answer.warnings[0]
        assert "not installed" in answer.warnings[0]
        assert degraded.indexing.status("lib")["state"] == "degraded"
        add(degraded, [70])
        job = degraded.indexing.snapshot("lib")
        assert job.wait(10)
        assert job.state == "succeeded", job.error
        assert nearest(degraded, 70.0, 1) == ["c70"]
    again = opener(tmp_path)
    assert again.libraries.get("lib").index.type == "half"
    for job in again.indexing.jobs():
        job.wait(10)
    assert again.queries.search("lib", {"embedding": [5.0, 1.0]}).index["type"] == "half"


def test_an_index_that_cannot_be_loaded_is_rebuilt(
    opener: Callable[..., Services], tmp_path: Path, odd: Odd
) -> None:
    services = opener(tmp_path)
    fill(services)
    build(services, "blind")
    services.close()
    odd.fail_load = True
    odd.fail_build = True
    again = opener(tmp_path)
    answer = again.queries.search("lib", {"embedding": [5.0, 1.0], "k": 1})
    assert [hit["id"] for hit in answer.hits] == ["c5"]
    assert answer.index["exact"]
    assert "the load fell over" in answer.warnings[0]
    again.close()
    odd.fail_load = odd.fail_build = False
    healed = opener(tmp_path)
    healed.libraries.get("lib")
    for job in healed.indexing.jobs():
        assert job.wait(10)
    answer = healed.queries.search("lib", {"embedding": [5.0, 1.0], "k": 1})
    assert (answer.index["type"], answer.warnings) == ("blind", [])


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_scores_follow_the_contract(opener: Callable[..., Services], metric: str) -> None:
    services = opener()
    services.libraries.create({"id": "m", "name": "m", "metric": metric}).result(10)
    services.libraries.create_chunk("m", {"id": "x", "embedding": [3.0, 4.0]}).result(10)
    hit = services.queries.search("m", {"embedding": [6.0, 8.0]}).hits[0]
    score, distance = {"cosine": (1.0, 0.0), "dot": (50.0, -50.0), "l2": (-5.0, 5.0)}[metric]
    assert hit["score"] == pytest.approx(score, abs=1e-6)
    assert hit["distance"] == pytest.approx(distance, abs=1e-6)
    chunk = services.libraries.get_chunk("m", "x")
    np.testing.assert_allclose(chunk.embedding, [3.0, 4.0], rtol=2e-7)


def test_min_score_cuts_afterwards(opener: Callable[..., Services]) -> None:
    services = opener()
    fill(services)
    assert nearest(services, 5.0, 10, min_score=-1.5) == ["c5", "c4", "c6"]


def test_a_batch_answers_as_single_queries_do(opener: Callable[..., Services]) -> None:
    services = opener()
    fill(services)
    queries = [
        {"embedding": [float(n), 1.0], "k": 2 + n % 2, "filter": {"even": True} if n % 3 else {}}
        for n in range(9)
    ]
    batch = services.queries.search_batch("lib", queries)
    for query, answer in zip(queries, batch, strict=True):
        assert answer.hits == services.queries.search("lib", query).hits
    matrix = np.array([[float(n), 1.0] for n in range(9)], dtype=np.float32)
    ids = [
        [hit["id"] for hit in answer.hits] for answer in services.queries.search_matrix("lib", matrix, k=2)
    ]
    assert ids == [nearest(services, float(n), 2) for n in range(9)]


def test_every_fault_of_a_request_is_listed(opener: Callable[..., Services]) -> None:
    services = opener()
    fill(services)
    with pytest.raises(ValidationFailed) as caught:
        services.queries.search(
            "lib",
            {
                "embedding": [1.0],
                "k": 0,
                "foo": 1,
                "filter": {"n": {"$gtt": 1}},
                "params": {"bar": 1},
                "include": ["texts"],
                "min_score": "high",
                "explain": "yes",
            },
        )
    assert {fault.pointer for fault in caught.value.faults} == {
        "/embedding",
        "/k",
        "/foo",
        "/filter/n/$gtt",
        "/params/bar",
        "/include/0",
        "/min_score",
        "/explain",
    }
    with pytest.raises(ValidationFailed) as caught:
        services.libraries.create(
            {"id": "a/b", "metric": "hamming", "dimension": 0, "index": {"type": "x", "kind": 1}, "colour": 1}
        )
    assert {fault.pointer for fault in caught.value.faults} == {
        "/id",
        "/name",
        "/metric",
        "/dimension",
        "/index/type",
        "/index/kind",
        "/colour",
    }
    with pytest.raises(ValidationFailed) as caught:
        services.libraries.upsert_chunks(
            "lib",
            [
                {"id": "", "embedding": [1, 2]},
                {"id": "x", "embedding": [1, 2, 3], "metadata": {"$a": 1}, "words": 1},
                {"id": "x", "embedding": [float("nan"), 2], "text": 7},
            ],
        )
    assert {"/chunks/0/id", "/chunks/1/metadata/$a", "/chunks/1/words", "/chunks/2/text"} <= {
        fault.pointer for fault in caught.value.faults
    }


def test_many_filters_at_once_share_a_small_cache(
    opener: Callable[..., Services], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys
    from concurrent.futures import ThreadPoolExecutor

    monkeypatch.setattr("vdb_core.engine.blocks._CACHED_FILTERS", 2)
    services = opener()
    fill(services)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            found = list(
                pool.map(lambda n: nearest(services, 0.0, 40, filter={"n": {"$lt": n % 40}}), range(1500))
            )
    finally:
        sys.setswitchinterval(interval)
    assert [len(ids) for ids in found] == [n % 40 for n in range(1500)]
