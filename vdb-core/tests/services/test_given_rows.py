"""The quick way through plain rows comes to what the careful way comes to, faults included."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vdb_core.services import given_rows
from vdb_core.services.given_rows import GivenRows
from vdb_core.services.settings import Limits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LIMITS = Limits(max_text_bytes=12, max_metadata_bytes=100, max_json_depth=3)

IDS = ["a", "b-1", "é", "", ".", "..", "a\0", "\ud800", "x" * 256, "x" * 257, 7, None, True, ["a"]]
VALUES: list[Any] = [
    *("en", "é", "\ud800", 0, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 0.5, float("nan"), float("-inf")),
    *(True, None, [1, "a"], [[1]], {"b": 1}, {"b": {"c": {"d": 1}}}, 1j, b"bytes"),
]
KEYS: list[Any] = ["lang", "$lang", "", "é", "\ud800", "a.b", "$", 1, None]
ODD: dict[str, list[Any]] = {
    "id": IDS,
    "document_id": IDS,
    "text": ["", "twelve bytes", "thirteen byte", "zwölf bytes", "zwölf bytes!", "\ud800", 1, None, b"text"],
    "metadata": [
        *({"lang": value} for value in VALUES),
        *({"year": 1, key: 1} for key in KEYS),
        *({"lang": "k" * size} for size in (10, 40, 88, 89, 90)),
        *(None, [], "text", {}),
    ],
    "embedding": [[1.0], None, "no"],
    "embedding_b64": ["AACAPw==", None, 1],
    "more": [1],
}
PLAIN = {"id": "plain", "document_id": "d", "text": "a text", "metadata": {"lang": "en", "year": 2000}}
MUTATED = [PLAIN | {field: value} for field, values in ODD.items() for value in values]
LESS = [{name: PLAIN[name] for name in PLAIN if name != left} for left in PLAIN]


def taken(rows: Sequence[object], *, has_matrix: bool) -> dict[str, object]:
    taken_in = GivenRows(limits=LIMITS, has_matrix=has_matrix)
    taken_in.take_all(rows, lambda row: f"/chunks/{row}")
    columns: dict[str, object] = {
        "faults": [(fault.pointer, fault.detail) for fault in taken_in.faults],
    }
    if not taken_in.faults:
        columns |= {
            "documents": taken_in.document_ids,
            "texts": taken_in.texts,
            "metadatas": taken_in.metadatas,
            "embeddings": [None if one is None else list(one) for one in taken_in.embeddings],  # type: ignore[call-overload]
            "ids": [chunk_id if len(chunk_id) < 300 else "" for chunk_id in taken_in.ids],
            "heads": taken_in.heads(),
        }
    return columns


def carefully(row: object) -> object:
    """The same row in a form that the quick way does not take."""
    return MappingProxyType(row) if isinstance(row, dict) else row


def named(row: Mapping[str, object] | object, number: int) -> object:
    """A row with an id: one that is made up is never the same twice."""
    return {"id": f"made{number}"} | row if isinstance(row, dict) else row


@pytest.mark.parametrize("has_matrix", [False, True])
@pytest.mark.parametrize("row", [*MUTATED, *LESS, [], None, 3], ids=ascii)
def test_both_ways_agree(row: object, *, has_matrix: bool) -> None:
    rows = [
        named(one, number)
        for number, one in enumerate([PLAIN | {"id": "first"}, row, PLAIN | {"id": "last"}])
    ]
    assert taken(rows, has_matrix=has_matrix) == taken(list(map(carefully, rows)), has_matrix=has_matrix)


@example(rows=[PLAIN, PLAIN | {"text": 1}, PLAIN], has_matrix=True, at_once=1)
@given(
    rows=st.lists(st.sampled_from([PLAIN, *LESS]) | st.sampled_from(MUTATED), max_size=7),
    has_matrix=st.booleans(),
    at_once=st.integers(1, 4),
)
def test_many_rows_agree(rows: list[object], has_matrix: bool, at_once: int) -> None:
    rows = [named(row, number) for number, row in enumerate(rows)]
    expected = taken(list(map(carefully, rows)), has_matrix=has_matrix)
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(given_rows, "_BLOCK", at_once)
        assert taken(rows, has_matrix=has_matrix) == expected


def test_plain_rows_take_the_quick_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GivenRows, "_take", None)
    texts = ["a text", "zwölf", None]
    rows = [{"id": f"c{n}", "text": texts[n % 3], "metadata": {"n": n, "x": 0.5}} for n in range(1_000)]
    taken_in = GivenRows(limits=LIMITS, has_matrix=True)
    taken_in.take_all(rows, str)
    assert taken_in.ids == [row["id"] for row in rows]


def test_a_row_without_an_id_gets_one() -> None:
    taken_in = GivenRows(limits=LIMITS, has_matrix=True)
    taken_in.take_all([{}, {"text": "a"}, {"document_id": "d"}], str)
    assert taken_in.faults == []
    assert len({chunk_id for chunk_id in taken_in.ids if len(chunk_id) == 36}) == 3
    assert [head[7:43].decode() for head in taken_in.heads()] == taken_in.ids
