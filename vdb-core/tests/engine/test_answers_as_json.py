"""Answers: the JSON that is cut from records says what the dictionaries say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from vdb_core.services import Services


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("include", [[], ["text"], ["metadata"], ["text", "metadata"], ["embedding", "text"]])
@pytest.mark.parametrize("extra", [{}, {"explain": True}, {"min_score": -0.5}, {"k": 70}])
def test_json_and_dictionaries_agree(
    opener: Callable[..., Services], metric: str, include: list[str], extra: dict[str, Any]
) -> None:
    services = opener()
    services.libraries.create({"id": "lib", "name": "lib", "metric": metric}).result()
    rows = np.random.default_rng(0).standard_normal((80, 5)).astype(np.float32)
    chunks = [
        {"id": f'c"{n}', "text": None if n % 7 else "ü,\n", "metadata": {"n": n, "s": {"t": []}}}
        for n in range(80)
    ]
    services.libraries.upsert_chunks("lib", chunks, vectors=rows).result()
    query = {"embedding": rows[3].tolist(), "include": include, **extra}
    answer = services.queries.search("lib", query)
    told = orjson.loads(answer.to_json())
    names = {"id", "document_id", "score", "distance", *include}
    assert told["hits"] == list(answer.hits)
    assert all(hit.keys() == names for hit in told["hits"])
    assert told["hits"][:2] == answer.hits[:2]
    assert told["index"] == answer.index
    assert (told["revision"], told["warnings"], told["took_ms"]) == (answer.revision, [], answer.took_ms)
    assert told.get("explain") == answer.explain
    (batch,) = services.queries.search_batch("lib", [query])
    assert batch.hits == answer.hits
    with pytest.raises(TypeError):
        hash(answer.hits)
