"""What the design says of filters, sentence by sentence, as a table of examples."""

from __future__ import annotations

from typing import Any

import pytest

from vdb_core.filters import MetadataIndex, parse_filter, row_matches
from vdb_core.indexes import bitmap

ROWS: dict[str, dict[str, Any]] = {
    "english": {"lang": "en", "year": 2024, "tags": ["a", "b"], "at": "2024-05-01T12:00:00Z"},
    "german": {"flag": None, "lang": "de", "year": 2020.5, "tags": [], "at": "2024-05-01T14:00:00+02:00"},
    "nested": {"book": {"author": {"name": "Ada"}, "pages": 10}, "year": None},
    "dotted": {"book.author.name": "Ada", "year": "2024"},
    "odd": {"flag": False, "year": True, "tags": ["ab", 1, None], "at": "yesterday", "book": {}},
    "empty": {},
}
DOCUMENTS = {"english": "d1", "german": "d2", "nested": "d1"}
DOCUMENT_METADATA = {"d1": {"title": "One", "rank": 1}, "d2": {"title": "Two"}}
ALL = list(ROWS)

EXAMPLES: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ALL),
    ({"lang": "en", "year": {"$gte": 2024}}, ["english"]),
    ({"lang": {"$eq": "de"}}, ["german"]),
    ({"year": {"$gt": 2020, "$lt": 2021}}, ["german"]),
    # A stored value of another type never matches and never raises.
    ({"year": 2024.0}, ["english"]),
    ({"year": "2024"}, ["dotted"]),
    ({"year": 1}, []),
    ({"year": True}, ["odd"]),
    ({"year": {"$gte": -1e300}}, ["english", "german"]),
    # null is a value; a missing key is not.
    ({"year": None}, ["nested"]),
    ({"flag": None}, ["german"]),
    ({"flag": False}, ["odd"]),
    ({"year": {"$exists": True}}, ["english", "german", "nested", "dotted", "odd"]),
    ({"year": {"$exists": False}}, ["empty"]),
    # A missing key matches only $ne, $nin, $not and $exists: false.
    ({"lang": {"$ne": "en"}}, ["german", "nested", "dotted", "odd", "empty"]),
    ({"lang": {"$nin": ["en", "de"]}}, ["nested", "dotted", "odd", "empty"]),
    ({"year": {"$not": {"$gt": 2000}}}, ["nested", "dotted", "odd", "empty"]),
    ({"$not": {"lang": {"$in": ["en", "de"]}}}, ["nested", "dotted", "odd", "empty"]),
    ({"lang": {"$in": []}}, []),
    ({"lang": {"$nin": []}}, ALL),
    # A scalar operand against a list matches a member; a list operand is the whole list.
    ({"tags": "a"}, ["english"]),
    ({"tags": None}, ["odd"]),
    ({"tags": {"$in": ["b", 1]}}, ["english", "odd"]),
    ({"tags": ["a", "b"]}, ["english"]),
    ({"tags": ["b", "a"]}, []),
    ({"tags": []}, ["german"]),
    ({"tags": {"$gte": 1}}, ["odd"]),
    # $contains: a member of a list or a substring of a string.
    ({"tags": {"$contains": "a"}}, ["english"]),
    ({"tags": {"$contains": 1}}, ["odd"]),
    ({"lang": {"$contains": "e"}}, ["english", "german"]),
    ({"lang": {"$contains": ""}}, ["english", "german"]),
    ({"year": {"$contains": 2024}}, []),
    # Datetimes are instants, UTC where no zone is given.
    ({"at": "2024-05-01T12:00:00"}, ["english", "german"]),
    ({"at": {"$gt": "2024-05-01"}}, ["english", "german"]),
    ({"at": {"$lt": "2024-05-01 12:00:00.000000001Z"}}, ["english", "german"]),
    ({"at": {"$lt": "2024-05-01T13:00:00+01:00"}}, []),
    ({"at": {"$gt": 0}}, []),
    ({"at": {"$contains": "+02"}}, ["german"]),
    # Dotted paths reach into objects; objects are compared whole.
    ({"book.author.name": "Ada"}, ["nested", "dotted"]),
    ({"book": {"$exists": True}}, ["nested", "odd"]),
    ({"book.author": {"name": "Ada"}}, ["nested"]),
    ({"book": {"pages": 10.0, "author": {"name": "Ada"}}}, ["nested"]),
    ({"book": {"pages": 10}}, []),
    ({"book": {}}, ["odd"]),
    # $document reaches the document's metadata, $id and $document_id the ids.
    ({"$document.title": "One"}, ["english", "nested"]),
    ({"$document.title": {"$ne": "One"}}, ["german", "dotted", "odd", "empty"]),
    ({"$document.rank": {"$exists": False}}, ["german", "dotted", "odd", "empty"]),
    ({"$document.rank": {"$lte": 1}}, ["english", "nested"]),
    ({"$id": "odd"}, ["odd"]),
    ({"$id": {"$in": ["odd", "gone", 1]}}, ["odd"]),
    ({"$id": {"$ne": "odd"}}, ["english", "german", "nested", "dotted", "empty"]),
    ({"$id": {"$contains": "e"}}, ["english", "german", "nested", "dotted", "empty"]),
    ({"$id": {"$exists": True}}, ALL),
    ({"$id": {"$gt": 1}}, []),
    ({"$document_id": "d1"}, ["english", "nested"]),
    ({"$document_id": {"$exists": False}}, ["dotted", "odd", "empty"]),
    ({"$document_id": {"$nin": ["d1"]}}, ["german", "dotted", "odd", "empty"]),
    ({"$document_id": {"$contains": "2"}}, ["german"]),
    ({"$document_id": None}, []),
    # Combinations.
    ({"$or": [{"lang": "de"}, {"$and": [{"year": 2024}, {"tags": "b"}]}]}, ["english", "german"]),
    ({"$and": [{}]}, ALL),
    ({"$not": {}}, []),
]


def index_of(rows: dict[str, dict[str, Any]]) -> MetadataIndex:
    index = MetadataIndex()
    for name, own in rows.items():
        index.append(name, DOCUMENTS.get(name), own)
    return index


@pytest.mark.parametrize(("wanted", "expected"), EXAMPLES, ids=[str(wanted) for wanted, _ in EXAMPLES])
def test_example(wanted: dict[str, Any], expected: list[str]) -> None:
    parsed = parse_filter(wanted)
    assert [
        name
        for name, own in ROWS.items()
        if row_matches(
            parsed,
            chunk_id=name,
            document_id=DOCUMENTS.get(name),
            metadata=own,
            document_metadata=DOCUMENT_METADATA.get(DOCUMENTS.get(name, "")),
        )
    ] == expected
    packed = index_of(ROWS)
    packed.pack()
    for index in (index_of(ROWS), packed, MetadataIndex.from_rows(packed.to_rows())):
        words = index.evaluate(
            parsed,
            ids=lambda name: ALL.index(name) if name in ALL else None,
            documents=lambda leaf: [
                name
                for name, own in DOCUMENT_METADATA.items()
                if row_matches(leaf, chunk_id=None, document_id=None, metadata=own, document_metadata=None)
            ],
            all_ids=lambda: ALL,
        )
        assert [ALL[slot] for slot in bitmap.to_slots(words)] == expected
