"""Whatever the metadata and the filter, every form of the index answers as an oracle that reads the raw JSON does."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vdb_core.filters import MetadataIndex, parse_filter, row_matches
from vdb_core.indexes import bitmap

# Few keys and few values, so that rows and filters meet often.
KEYS = ["a", "b", "a.b", "é/~"]
PATHS = [*KEYS, "a.a", "nowhere"]
EDGES = [2**53, 2**53 + 1, 2**63 - 1, 2**63 - 512, -(2**63), 0, 1]
DATETIMES = [
    "2024-01-01T00:00:00Z",
    "2024-01-01T01:00:00+01:00",
    "2023-12-31T19:00:00.000-05:00",
    "2024-01-01 00:00:00",
    "2024-01-01",
    "2024-01-01T00:00:00.123456789Z",
    "2024-01-01T00:00:00.123456788Z",
    "2024-01-01T00:00:00.123456Z",
    "0000-02-29T00:00:00Z",
    "9999-12-31T23:59:60Z",
    "2024-02-30T00:00:00Z",
    "2024-01-01T00:00:00.1234567891Z",
]

integers = st.sampled_from(EDGES)
floats = st.sampled_from([float(2**53), 2.0**63, 2.0**64, -(2.0**64), 0.5, -0.0, 1.0, 1e300, 5e-324])
numbers = (
    integers | floats | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
datetimes = st.sampled_from(DATETIMES)
words = st.sampled_from(["", "x", "xy", "yx", "é", "😀é", "1", "true"])
scalars = (
    st.sampled_from([None, True, False]) | integers | floats | numbers | words | words | datetimes | datetimes
)
lists = st.lists(scalars, max_size=3)
metadata = st.recursive(
    st.dictionaries(st.sampled_from(KEYS), scalars | lists, max_size=4),
    lambda inner: st.dictionaries(st.sampled_from(KEYS), scalars | lists | inner, max_size=4),
    max_leaves=3,
)
rows = st.lists(st.tuples(st.sampled_from([None, "d0", "d1", "d2"]), metadata), min_size=2, max_size=9)
big = st.sampled_from([2**64, 2**64 + 1, 2**64 - 1, -(2**64) - 1, 2**1100, -(2**1100)])
bounds = integers | floats | big | st.sampled_from(DATETIMES[:10])
operators = st.fixed_dictionaries(
    {},
    optional={
        "$eq": scalars | lists | big,
        "$ne": scalars | lists,
        "$in": lists,
        "$nin": lists,
        "$gt": bounds,
        "$gte": bounds,
        "$lt": bounds,
        "$lte": bounds,
        "$exists": st.booleans(),
        "$contains": words | scalars,
    },
).filter(bool)
# Many operators at once rarely match anything, so most conditions have one.
operators = operators | operators.map(lambda several: dict([next(iter(several.items()))]))
negated = operators.map(lambda condition: {"$not": condition})
any_condition = (
    scalars | lists | metadata | operators | negated | negated.map(lambda condition: {"$not": condition})
)


@st.composite
def draw_condition(draw: st.DrawFn) -> object:
    """Keeps the printed form of what is built on it short, which Hypothesis insists on."""
    return draw(any_condition)


conditions = draw_condition()
ids = st.sampled_from(["r0", "r1", "r3", "d0", "d1", "gone", "r", "", None, 1])
id_conditions = ids | st.fixed_dictionaries(
    {},
    optional={
        "$eq": ids,
        "$ne": ids,
        "$in": st.lists(ids),
        "$exists": st.booleans(),
        "$contains": ids,
        "$gt": bounds,
    },
).filter(bool)
fields = st.dictionaries(
    st.sampled_from(PATHS + [f"$document.{path}" for path in PATHS]), conditions, max_size=3
)
id_fields = st.dictionaries(st.sampled_from(["$id", "$document_id"]), id_conditions, max_size=2)
filters = st.recursive(
    fields | id_fields,
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "$and": st.lists(inner, min_size=1, max_size=3),
            "$or": st.lists(inner, min_size=1, max_size=3),
            "$not": inner,
            "b": conditions,
        },
    ),
    max_leaves=4,
)


def is_condition(value: object) -> bool:
    return isinstance(value, dict) and bool(value) and all(key.startswith("$") for key in value)


# The oracle: straight from the text of the design, over the raw filter, with the standard library's datetimes.


def instant_of(text: str) -> tuple[datetime, int] | None:
    if text == DATETIMES[8]:
        return datetime.min.replace(tzinfo=UTC), -1
    if text == DATETIMES[9]:
        return datetime.max.replace(tzinfo=UTC), 1_000
    head, dot, rest = text.partition(".")
    digits = len(rest) - len(rest.lstrip("0123456789"))
    if digits > 9 or (dot and not digits) or len(text) < 10 or not text[:4].isdecimal():
        return None
    fraction = rest[:digits].ljust(9, "0")
    try:
        moment = datetime.fromisoformat(head + rest[digits:].replace("Z", "+00:00"))
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment + timedelta(microseconds=int(fraction[:6])), int(fraction[6:])


def same(left: Any, right: Any) -> bool:
    if isinstance(left, bool) or isinstance(right, bool) or left is None or right is None:
        return type(left) is type(right) and left == right
    if isinstance(left, str) and isinstance(right, str):
        return left == right or (instant_of(left) is not None and instant_of(left) == instant_of(right))
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(same(one, two) for one, two in zip(left, right, strict=True))
    if isinstance(left, dict) and isinstance(right, dict):
        return set(left) == set(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, (int, float)) and isinstance(right, (int, float)):
        return left == right
    return False


def flatten(value: dict[str, Any], lead: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, item in value.items():
        found.append((lead + key, item))
        if isinstance(item, dict):
            found += flatten(item, f"{lead}{key}.")
    return found


def compare(operator: str, value: Any, operand: Any) -> bool:
    number = (int, float)
    if isinstance(value, str) and isinstance(operand, str):
        value, operand = instant_of(value), instant_of(operand)
        if value is None or operand is None:
            return False
    elif isinstance(value, bool) or not isinstance(value, number) or not isinstance(operand, number):
        return False
    return {
        "$gt": value > operand,
        "$gte": value >= operand,
        "$lt": value < operand,
        "$lte": value <= operand,
    }[operator]


def satisfies(operator: str, operand: Any, values: list[Any], *, is_id: bool) -> bool:
    if is_id and operator in {"$gt", "$gte", "$lt", "$lte"}:
        return False
    if operator == "$not":
        return not all(satisfies(inner, item, values, is_id=is_id) for inner, item in operand.items())
    if operator == "$exists":
        return bool(values) is operand
    if operator == "$ne":
        return not satisfies("$eq", operand, values, is_id=is_id)
    if operator == "$nin":
        return not satisfies("$in", operand, values, is_id=is_id)
    if operator == "$in":
        return any(satisfies("$eq", one, values, is_id=is_id) for one in operand)
    for value in values:
        members = value if isinstance(value, list) else []
        if operator == "$eq":
            hit = same(value, operand) or any(same(member, operand) for member in members)
        elif operator == "$contains":
            hit = any(same(member, operand) for member in members)
            hit = hit or (isinstance(value, str) and isinstance(operand, str) and operand in value)
        else:
            hit = any(compare(operator, one, operand) for one in [value, *members])
        if hit:
            return True
    return False


def oracle(wanted: Any, chunk_id: str, document_id: str | None, own: Any, of_document: Any) -> bool:
    def holds(inner: Any) -> bool:
        return oracle(inner, chunk_id, document_id, own, of_document)

    for key, condition in wanted.items():
        if key == "$and":
            good = all(map(holds, condition))
        elif key == "$or":
            good = any(map(holds, condition))
        elif key == "$not":
            good = not holds(condition)
        else:
            if key == "$id":
                values: list[Any] = [chunk_id]
            elif key == "$document_id":
                values = [] if document_id is None else [document_id]
            elif key.startswith("$document."):
                path = key.removeprefix("$document.")
                values = [value for found, value in flatten(of_document or {}) if found == path]
            else:
                values = [value for found, value in flatten(own) if found == key]
            operators = condition if is_condition(condition) else {"$eq": condition}
            good = all(
                satisfies(name, item, values, is_id=not key.startswith("$document.") and key[0] == "$")
                for name, item in operators.items()
            )
        if not good:
            return False
    return True


def answers(index: MetadataIndex, wanted: Any, documents: dict[str, Any]) -> list[int]:
    def find_documents(leaf: Any) -> set[str]:
        assert not leaf.uses_documents
        return {
            name
            for name, own in documents.items()
            if row_matches(leaf, chunk_id=None, document_id=None, metadata=own, document_metadata=None)
        }

    names = [f"r{row}" for row in range(index.rows)]
    words = index.evaluate(
        parse_filter(wanted),
        ids=lambda name: names.index(name) if name in names else None,
        documents=find_documents,
        all_ids=lambda: names,
    )
    assert len(words) == bitmap.words_for(index.rows)
    return bitmap.to_slots(words).tolist()


@settings(max_examples=250, deadline=None)
@given(rows, filters, st.tuples(metadata, metadata))
@example([(None, {"a": 2**53 + 1}), (None, {"a": float(2**53)})], {"a": {"$gt": float(2**53)}}, ({}, {}))
@example([(None, {"a": float(2**53)})], {"a": {"$lt": 2**53 + 1}}, ({}, {}))
@example([(None, {"a.b": 1, "a": {"b": 2}})], {"a.b": {"$ne": 1}}, ({}, {}))
@example([(None, {"a": ["xy"]}), (None, {"a": "xy"})], {"a": {"$contains": "x"}}, ({}, {}))
@example([(None, {"a": True}), (None, {"a": 1}), (None, {"a": "1"})], {"a": 1}, ({}, {}))
def test_any_tree_answers_as_the_oracle(rows: Any, wanted: Any, documents: Any) -> None:
    known = dict(zip(("d0", "d1"), documents, strict=True))
    check(rows, wanted, {**known, "d2": {}})


@st.composite
def draw_collision(draw: st.DrawFn) -> tuple[list[Any], Any]:
    """Values at one key, and one condition on it over the same few values: most of them meet."""
    alike = st.sampled_from([None, True, False, 0, 1, 1.0, "", "1"])
    kind = draw(st.sampled_from([integers | floats, datetimes, words, scalars, alike]))
    pool = [*draw(st.lists(kind, min_size=1, max_size=5)), draw(scalars)]
    value = st.sampled_from(pool)
    values = draw(st.lists(value | st.lists(value, max_size=3), min_size=3, max_size=8))
    operator = draw(st.sampled_from(["$eq", "$ne", "$in", "$nin", "$contains", "$gt", "$gte", "$lt", "$lte"]))
    if operator in {"$in", "$nin"}:
        return values, {operator: draw(st.lists(value, max_size=3))}
    if operator in {"$eq", "$ne"}:
        return values, {operator: draw(value | st.sampled_from(values))}
    if operator == "$contains":
        return values, {operator: draw(value | words)}
    usable = [one for one in pool if compare("$lte", one, one)]
    return values, {operator: draw(st.sampled_from(usable) | bounds if usable else bounds)}


@settings(max_examples=500, deadline=None)
@given(draw_collision(), st.sampled_from(["a", "$document.a"]))
def test_one_condition_answers_as_the_oracle(collision: tuple[list[Any], Any], path: str) -> None:
    values, condition = collision
    documents = {f"d{number}": {"a": value} for number, value in enumerate(values)}
    rows = [*documents.items(), (None, {})]
    check(rows, {path: condition}, documents)


def check(rows: Any, wanted: Any, known: Any) -> None:
    """Compare the oracle, the slow twin and every form of the index."""
    parsed = parse_filter(wanted)
    expected, twin = [], []
    index = MetadataIndex()
    for row, (document_id, own) in enumerate(rows):
        index.append(f"r{row}", document_id, own)
        of_document = known.get(document_id)
        if oracle(wanted, f"r{row}", document_id, own, of_document):
            expected.append(row)
        if row_matches(
            parsed, chunk_id=f"r{row}", document_id=document_id, metadata=own, document_metadata=of_document
        ):
            twin.append(row)
    assert twin == expected
    assert answers(index, wanted, known) == expected
    written = list(index.to_rows())
    index.pack()
    assert answers(index, wanted, known) == expected
    assert list(index.to_rows()) == written
    again = MetadataIndex.from_rows(written)
    assert answers(again, wanted, known) == expected
    assert list(again.to_rows()) == written
    merged = merge_of(rows)
    assert answers(merged, wanted, known) == expected
    assert sorted(merged.to_rows()) == sorted(written)
    assert merged.nbytes == again.nbytes


def merge_of(rows: Any) -> MetadataIndex:
    """The index over rows as a fold makes it: out of a packed one, one that grows, and one read from disk.

    Each holds rows besides its own, which are left out: some that look like others and one that looks like none.
    """
    parts: list[tuple[MetadataIndex, np.ndarray]] = []
    for form in range(3):
        own = rows[form * len(rows) // 3 : (form + 1) * len(rows) // 3]
        index = MetadataIndex()
        slots: list[int] = []
        index.append("gone", "d9", {"a": "gone", "gone": {"for": ["good", 1, True]}, "b": [0.5, "x", None]})
        for document_id, metadata in own:
            slots.append(index.rows)
            index.append("", document_id, metadata)
            index.append("gone", *rows[len(slots) % len(rows)])
        if form == 0:
            index.pack()
        parts.append(
            (index if form < 2 else MetadataIndex.from_rows(index.to_rows()), np.array(slots, dtype=np.int64))
        )
    return MetadataIndex.merged(parts)


@settings(max_examples=200, deadline=None)
@given(filters)
def test_the_key_is_a_filter_with_the_same_key(wanted: Any) -> None:
    parsed = parse_filter(wanted)
    again = parse_filter(json.loads(parsed.key), max_depth=64)
    assert again == parsed
    assert hash(again) == hash(parsed)
    assert again.key == parsed.key
    assert (again.uses_documents, again.uses_ids) == (parsed.uses_documents, parsed.uses_ids)
