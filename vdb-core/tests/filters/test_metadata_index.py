"""The packed index at a size where its bitmaps of heavy values and of prefixes come in, and its form on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest

from vdb_core.errors import FormatUnsupported, SnapshotDamaged
from vdb_core.filters import MetadataIndex, parse_filter
from vdb_core.indexes import bitmap

if TYPE_CHECKING:
    from collections.abc import Collection

    from vdb_core.filters import Filter

ROWS = 70_000


class Table:
    """Columns of numbers, and the index over them."""

    def __init__(self) -> None:
        generator = np.random.default_rng(7)
        self.unique = generator.permutation(ROWS) * 3
        self.few = generator.integers(0, 7, ROWS)
        self.skewed = np.minimum(generator.geometric(0.02, ROWS), 400)
        self.real = generator.normal(size=ROWS)
        self.has_real = generator.random(ROWS) < 0.6
        index = MetadataIndex()
        for row in range(ROWS):
            own: dict[str, object] = {
                "unique": int(self.unique[row]),
                "few": int(self.few[row]),
                "skewed": int(self.skewed[row]),
                "name": f"n-{self.unique[row]:07}",
                "kind": f"kind {self.few[row]}",
                "both": [int(self.few[row]), int(self.skewed[row])],
                "at": f"2024-01-{self.few[row] + 1:02}T00:00:00.{self.unique[row]:06}Z",
            }
            if self.has_real[row]:
                own["real"] = float(self.real[row])
            index.append(f"r{row}", f"d{self.skewed[row]}", own)
        index.pack()
        self.index = index


@pytest.fixture(scope="module")
def table() -> Table:
    return Table()


def rows_of(index: MetadataIndex, wanted: dict[str, Any], documents: Collection[str] = ()) -> np.ndarray:
    def find_documents(leaf: Filter) -> Collection[str]:
        return documents

    words = index.evaluate(parse_filter(wanted), ids=lambda _: None, documents=find_documents)
    before = words.copy()
    again = index.evaluate(parse_filter(wanted), ids=lambda _: None, documents=find_documents)
    # An answer that shares the index's own bitmap must not be changed by the next evaluation.
    assert np.array_equal(words, before)
    assert np.array_equal(words, again)
    return bitmap.to_bool(words, index.rows)


@pytest.mark.parametrize("name", ["unique", "few", "skewed", "real", "both"])
def test_ranges_over_many_rows(table: Table, name: str) -> None:
    generator = np.random.default_rng(11)
    if name == "both":
        columns = [table.few.astype(float), table.skewed.astype(float)]
    else:
        columns = [np.where(table.has_real, table.real, np.nan) if name == "real" else getattr(table, name)]
    pool = columns[-1][~np.isnan(columns[-1])] if name == "real" else columns[-1]
    for low, high in np.sort(generator.choice(pool, size=(25, 2)), axis=1).tolist():
        found = rows_of(table.index, {name: {"$gte": low}})
        assert np.array_equal(found, np.any([column >= low for column in columns], axis=0))
        found = rows_of(table.index, {name: {"$gt": low, "$lte": high}})
        above = np.any([column > low for column in columns], axis=0)
        assert np.array_equal(found, above & np.any([column <= high for column in columns], axis=0))
        found = rows_of(table.index, {name: low})
        assert np.array_equal(found, np.any([column == low for column in columns], axis=0))


def test_datetimes_over_many_rows(table: Table) -> None:
    micros = table.few.astype(np.int64) * 86_400_000_000 + table.unique
    for day, fraction in [(0, 0), (2, 100_000), (4, 209_997), (6, 999_999)]:
        text = f"2024-01-{day + 1:02}T01:00:00.{fraction:06}+01:00"
        assert np.array_equal(
            rows_of(table.index, {"at": {"$lt": text}}), micros < day * 86_400_000_000 + fraction
        )


def test_texts_over_many_rows(table: Table) -> None:
    index = table.index
    assert np.array_equal(rows_of(index, {"kind": "kind 3"}), table.few == 3)
    assert np.array_equal(
        rows_of(index, {"kind": {"$in": ["kind 3", "kind 5", "none"]}}), np.isin(table.few, [3, 5])
    )
    assert np.array_equal(rows_of(index, {"name": "n-0000300"}), table.unique == 300)
    part = np.array(["99" in f"n-{value:07}" for value in table.unique])
    assert np.array_equal(rows_of(index, {"name": {"$contains": "99"}}), part)
    assert rows_of(index, {"name": {"$contains": "n-"}}).all()
    # It occurs only where one text meets the next.
    assert not rows_of(index, {"name": {"$contains": "0n-0"}}).any()
    names = [f"n-{value:07}" for value in table.unique[:9_000]]
    assert rows_of(index, {"name": {"$in": names}}).nonzero()[0].tolist() == list(range(9_000))


def test_documents_over_many_rows(table: Table) -> None:
    for wanted in ({"d1"}, {"d1", "d399", "gone"}, {f"d{number}" for number in range(50, 500)}):
        numbers = [int(name[1:]) for name in wanted if name != "gone"]
        expected = np.isin(table.skewed, numbers)
        assert np.array_equal(rows_of(table.index, {"$document.x": 1}, wanted), expected)
        assert np.array_equal(rows_of(table.index, {"$document.x": {"$ne": 1}}, wanted), ~expected)
        assert np.array_equal(rows_of(table.index, {"$document_id": {"$in": sorted(wanted)}}), expected)


def test_the_form_on_disk_brings_everything_back(table: Table) -> None:
    lines = list(table.index.to_rows())
    assert all(b"\n" not in line for line in lines)
    again = MetadataIndex.from_rows(lines)
    assert list(again.to_rows()) == lines
    assert again.rows == ROWS
    assert again.nbytes == table.index.nbytes
    assert np.array_equal(rows_of(again, {"skewed": {"$lt": 20}}), table.skewed < 20)
    assert np.array_equal(rows_of(again, {"both": 5}), (table.few == 5) | (table.skewed == 5))


def test_three_keys_take_less_than_60_bytes_a_row() -> None:
    index = MetadataIndex()
    for row in range(50_000):
        index.append(
            "", None, {"lang": "en" if row % 3 else "de", "year": row * 7, "title": f"title-{row * 977:09}"}
        )
    index.pack()
    assert index.nbytes / index.rows < 60


def test_a_packed_index_takes_no_more_rows() -> None:
    index = MetadataIndex()
    index.pack()
    index.pack()
    with pytest.raises(RuntimeError, match="takes no more rows"):
        index.append("a", None, {})


def test_an_empty_index() -> None:
    index = MetadataIndex()
    assert len(rows_of(index, {"a": {"$ne": 1}})) == 0
    again = MetadataIndex.from_rows(index.to_rows())
    assert again.rows == 0
    assert len(rows_of(again, {})) == 0


def test_rows_without_metadata() -> None:
    index = MetadataIndex()
    for _ in range(65):
        index.append("a", None, {})
    assert rows_of(index, {"a": {"$exists": False}}).all()
    index.pack()
    assert rows_of(index, {"$not": {"a": 1}}).tolist() == [True] * 65


def test_contains_on_ids_asks_for_all_ids() -> None:
    index = MetadataIndex()
    index.append("a", None, {})
    with pytest.raises(TypeError, match="all_ids"):
        rows_of(index, {"$id": {"$contains": "a"}})


def line(**changes: object) -> bytes:
    whole = {
        "path": "a",
        "part": "scalars",
        "type": "integer",
        "values": [1, 2],
        "counts": [1, 2],
        "rows": [1, 0, 2],
    }
    whole.update(changes)
    return orjson.dumps({key: value for key, value in whole.items() if value != "left out"})


HEADER = b'{"format":"vdb-metadata-index","version":1,"rows":3}'


def test_a_value_may_go_on_in_the_next_line() -> None:
    index = MetadataIndex.from_rows(
        [
            HEADER,
            line(values=[1, 2], counts="left out", rows=[1, 0]),
            line(values=[2, 3], counts=[1, 1], rows=[2, 1]),
        ]
    )
    assert rows_of(index, {"a": 2}).tolist() == [True, False, True]
    assert rows_of(index, {"a": {"$gt": 2}}).tolist() == [False, True, False]


@pytest.mark.parametrize(
    "damaged",
    [
        pytest.param([], id="nothing"),
        pytest.param([b"{"], id="not JSON"),
        pytest.param([b"[]"], id="no object"),
        pytest.param([b'{"format":"other","version":1,"rows":3}'], id="another format"),
        pytest.param([b'{"format":"vdb-metadata-index","version":1,"rows":-1}'], id="negative rows"),
        pytest.param([b'{"format":"vdb-metadata-index","version":1,"rows":true}'], id="rows a boolean"),
        pytest.param([HEADER, b"[]"], id="line no object"),
        pytest.param([HEADER, line(rows=[1, 0, 3])], id="row too large"),
        pytest.param([HEADER, line(rows=[1, 0, -1])], id="row negative"),
        pytest.param([HEADER, line(rows=[1, 2, 0])], id="rows descend"),
        pytest.param([HEADER, line(rows=[1, 0, 0])], id="row twice"),
        pytest.param([HEADER, line(rows=[1, 0, 0.5])], id="row a fraction"),
        pytest.param([HEADER, line(rows=[1, 0, "2"])], id="row a string"),
        pytest.param([HEADER, line(rows=[[1], [0], [2]])], id="rows nested"),
        pytest.param([HEADER, line(rows=[])], id="no rows"),
        pytest.param([HEADER, line(counts=[2, 2])], id="counts too large"),
        pytest.param([HEADER, line(counts=[3, 0])], id="count of none"),
        pytest.param([HEADER, line(counts=[1])], id="counts too few"),
        pytest.param([HEADER, line(values=[2, 1])], id="values descend"),
        pytest.param([HEADER, line(values=[1, 1])], id="value twice"),
        pytest.param([HEADER, line(values=[1, "2"])], id="values mixed"),
        pytest.param([HEADER, line(values=[1, 2**63])], id="value beyond int64"),
        pytest.param([HEADER, line(values=[], counts=[], rows=[])], id="no values"),
        pytest.param([HEADER, line(type="float")], id="float without fraction"),
        pytest.param([HEADER, line(type="constant")], id="numbers as constants"),
        pytest.param([HEADER, line(type="string")], id="numbers as strings"),
        pytest.param([HEADER, line(type="string", values=["b", "a"])], id="strings descend"),
        pytest.param([HEADER, line(type="date")], id="unknown type"),
        pytest.param([HEADER, line(part="other")], id="unknown part"),
        pytest.param([HEADER, line(part="wholes")], id="wholes not strings"),
        pytest.param([HEADER, line(path=1)], id="path no string"),
        pytest.param([HEADER, line(path="left out")], id="no path"),
        pytest.param([HEADER, line(), line(path="b"), line(values=[5, 6])], id="column twice"),
    ],
)
def test_nonsense_is_refused(damaged: list[bytes]) -> None:
    with pytest.raises(SnapshotDamaged, match="the metadata index is not what was written"):
        MetadataIndex.from_rows(damaged)


def test_a_newer_form_is_refused_by_name() -> None:
    with pytest.raises(FormatUnsupported, match="version 2"):
        MetadataIndex.from_rows([b'{"format":"vdb-metadata-index","version":2,"rows":3}'])
