"""A query whose frame is known is answered as one that is read as a whole; nothing else is taken for one."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vdb_core.errors import ValidationFailed
from vdb_core.services import EngineSettings, Services, open_services
from vdb_core.services.known_queries import Frames, cut

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def services() -> Iterator[Services]:
    with open_services(EngineSettings(data_dir=None)) as opened:
        opened.libraries.create({"id": "lib", "name": "lib", "dimension": 3}).result()
        rows = [
            {"id": f"row-{n}", "embedding": [n - 4, 1, n % 3 + 1], "metadata": {"n": n}} for n in range(9)
        ]
        opened.libraries.upsert_chunks("lib", rows).result()
        yield opened


def plain(text: bytes) -> dict[str, object]:
    value = orjson.loads(text)
    if not isinstance(value, dict):
        raise ValidationFailed.at("", "no object")
    return value


def both_ways(services: Services, text: bytes) -> tuple[object, object]:
    """What comes of a text that is read as a whole, and of the same text through frames, however often it was seen."""

    def told(way: Any) -> object:
        try:
            found = way()
        except (ValidationFailed, orjson.JSONDecodeError) as error:
            return type(error), str(error)
        return list(found.hits), found.index, found.warnings

    whole = told(lambda: services.queries.search("lib", plain(text)))
    through = [told(lambda: services.queries.search_text("lib", text, plain)) for _ in range(2)]
    assert through[0] == through[1]
    return whole, through[0]


packed = base64.b64encode(np.array([1, 2, 3], dtype="<f4").tobytes()).decode()
EMBEDDINGS = (
    "[1,2,3]", f'"{packed}"', "[1.5, -2e-3, 0]", " [1,2,3]", "[ 1 ,2,3]", "  [1,2,3]", "[0,0,0]", "[1,2]", "[]", "[1,2,3", "[1,,3]",
    "[true,2,3]", "[1,false,3]", "[1,null,3]", '[1,"2",3]', "[1,[2],3]", '["]",1,2]', "[1e39,2,3]", "[1e400,2,3]",
    "[123456789012345678901234567890,2,3]", "[1e-30,0,0]", "[NaN,1,2]", "null", "7", "{}",
    f' "{packed}"', '"AAAA"', '"A"', '""', '"a\\"b"', f'"{packed}\\u003d"',
)  # fmt: skip
REST = (
    "", ',"k":2', ',"k":0', ',"k":true', ',"filter":{"n":{"$gte":4}},"include":[]', ',"filter":{"n":[]}', ',"nonsense":1',
    ',"embedding":[3,2,1]', ',"\\u0065mbedding":[3,2,1]', ',"embedding":[]', ',"text":"\\"embedding\\":[1,2,3]"',
    ',"embedding_b64":null', f',"embedding_b64":"{packed}"', ',"explain":false,"min_score":0.5', ',"k":2}', ',"k":',
    ',"params":{}', ',"params":{"n_probes":3}', ',"include":["embedding"]', ',"a":"\\u0000"',
)  # fmt: skip


BEFORE = ("", '"k":3,', '"text":"\\"embedding\\":[",', '"embedding":[9,9,9],', " ")


@pytest.mark.parametrize("name", ["embedding", "embedding_b64", "\\u0065mbedding", "k"])
@pytest.mark.parametrize("before", BEFORE)
def test_a_known_frame_changes_no_answer(services: Services, name: str, before: str) -> None:
    for rest in REST:
        # The first ones make frames known that the others come with.
        for embedding in EMBEDDINGS:
            whole, through = both_ways(services, f'{{{before}"{name}":{embedding}{rest}}}'.encode())
            assert through == whole, (before, name, embedding, rest)


@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=3, max_size=3).filter(any))
def test_both_forms_of_an_embedding_find_the_same(services: Services, numbers: list[float]) -> None:
    raw = base64.b64encode(np.array(numbers, dtype="<f4").tobytes()).decode()
    told = []
    for query in ({"embedding": numbers, "k": 4}, {"embedding_b64": raw, "k": 4}):
        whole, through = both_ways(services, json.dumps(query).encode())
        assert through == whole
        told.append(through)
    assert told[0] == told[1]


def test_a_known_frame_is_not_read_again(services: Services) -> None:
    read: list[bytes] = []

    def parse(text: bytes) -> dict[str, object]:
        read.append(text)
        return plain(text)

    for text in (
        b'{"k":5,"embedding":[1,2,3]}',
        b'{"k":5,"embedding":[4,5,6]}',
        b'{"k":6,"embedding":[1,2,3]}',
    ):
        services.queries.search_text("lib", text, parse)
    assert [one[:6] for one in read] == [b'{"k":5', b'{"k":6']


def test_frames_are_bounded() -> None:
    frames: Frames[int] = Frames()
    for number in range(1000):
        query = cut(b'{"embedding":[1],"k":%d}' % number)
        assert query is not None
        frames.keep(None, query, number)
        assert frames.get(None, query) == number
    assert len(frames._known) <= 256
    assert cut(b'{"embedding":[1],"filter":{"a":"%b"}}' % (b"x" * 5000)) is None
