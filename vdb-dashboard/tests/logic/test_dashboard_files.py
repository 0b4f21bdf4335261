"""Files to rows: what each kind holds, and every fault told by its row."""

from __future__ import annotations

import csv
import io
import itertools
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vdb_dashboard.logic.inputs import InputFault, parse_object, parse_vector, shorten
from vdb_dashboard.logic.reading import read, read_vectors
from vdb_dashboard.logic.rows import guess, typed, with_fields
from vdb_dashboard.logic.splitting import split


def npy(matrix: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, matrix, allow_pickle=True)
    return stream.getvalue()


def mapped(name: str, content: bytes, **more: object):  # the tests read its fields
    records = read(name, content)
    return with_fields(records, guess(records.columns), text_cells=name.endswith("csv"), **more)  # type: ignore[arg-type]


def test_json_lines_with_faults_by_line() -> None:
    lines = [
        '{"id": "a", "text": "one", "embedding": [1, 0], "lang": "en"}',
        "",
        "{oops",
        '["a list"]',
        '{"id": "b", "embedding": [1, 0, 0]}',
        '{"id": "c", "embedding": [1, "x"]}',
        '{"id": "d", "embedding": [1, 1e999]}',
        '{"id": "e", "embedding": [0, 1], "metadata": {"year": 1851}, "document": "book"}',
        '{"id": "f", "embedding": [0, NaN]}',
        '{"id": ["g"], "text": "x"}',
        '{"id": "h"}',
        '{"id": "i", "text": "x", "metadata": [1]}',
    ]
    result = mapped("rows.jsonl", "\n".join(lines).encode())
    assert [row["id"] for row in result.rows] == ["a", "e"]
    assert result.numbers == [1, 8]
    assert result.rows[0]["metadata"] == {"lang": "en"}
    assert result.rows[1]["metadata"] == {"year": 1851}
    assert result.rows[1]["document_id"] == "book"
    assert result.embedded == 2
    told = {fault.row: (fault.column, fault.text) for fault in result.faults}
    assert list(told) == [3, 4, 5, 6, 7, 9, 10, 11, 12]
    assert told[5] == ("embedding", "expected 2 numbers; received 3")
    assert told[6] == ("embedding", "expected a list of numbers")
    assert "not finite" in told[7][1]
    assert "NaN" in told[9][1]
    assert told[10][0] == "id"
    assert "neither an embedding nor a text" in told[11][1]
    assert told[12][0] == "metadata"


def test_csv_reads_numbers_by_column_and_ids_as_they_are() -> None:
    table = [
        ["id", "text", "vector", "year", "mixed", "seen", "price"],
        ["001", 'a, "quoted" one', "[1, 0]", "1851", "7", "true", "1.5"],
        ["002", "two\nlines", "0.5; 0.5", "1974", "x", "False", "2"],
        ["003", "three", "", "", "", "", ""],
    ]
    stream = io.StringIO(newline="")
    csv.writer(stream).writerows(table)
    result = mapped("rows.csv", b"\xef\xbb\xbf" + stream.getvalue().encode())
    assert not result.faults
    first, second, third = result.rows
    assert (first["id"], first["text"]) == ("001", 'a, "quoted" one')
    assert first["metadata"] == {"year": 1851, "mixed": "7", "seen": True, "price": 1.5}
    assert second["text"] == "two\nlines"
    assert second["metadata"] == {"year": 1974, "mixed": "x", "seen": False, "price": 2.0}
    assert "metadata" not in third
    assert "embedding" not in third
    np.testing.assert_array_equal(second["embedding"], np.float32([0.5, 0.5]))


def test_csv_faults_name_the_line_in_the_file() -> None:
    result = mapped("rows.csv", b'id,text\na,"two\nlines"\nb\nc,fine,too many\nd,fine\n')
    assert [row["id"] for row in result.rows] == ["a", "d"]
    assert result.numbers == [2, 6]
    assert [fault.row for fault in result.faults] == [4, 5]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "empty"),
        (b"a,a\n1,2\n", "a twice"),
        (b"a,,b\n", "without a name"),
        (b"id,text\na,\xff\n", "line 2"),
    ],
)
def test_a_csv_file_that_is_none(content: bytes, told: str) -> None:
    with pytest.raises(InputFault, match=told):
        read("rows.csv", content)


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.float32()), pa.list_(pa.float64(), 2), pa.large_list(pa.float16())]
)
def test_parquet_in_every_kind_of_list(kind: pa.DataType) -> None:
    numbers = np.asarray([[1, 0.5], [0.25, 0]], dtype=kind.value_type.to_pandas_dtype())
    table = pa.table(
        {
            "id": ["a", "b"],
            "embedding": pa.array(list(numbers), type=kind),
            "n": pa.array([1, None]),
            "when": pa.array([0, 1], type=pa.timestamp("s", tz="UTC")),
            "tags": [["x"], []],
        }
    )
    stream = io.BytesIO()
    pq.write_table(table, stream)
    result = mapped("rows.parquet", stream.getvalue())
    assert not result.faults
    np.testing.assert_array_equal(result.rows[0]["embedding"], np.float32([1, 0.5]))
    assert result.rows[0]["metadata"] == {"n": 1, "when": "1970-01-01T00:00:00+00:00", "tags": ["x"]}
    assert result.rows[1]["metadata"] == {"when": "1970-01-01T00:00:01+00:00", "tags": []}


def test_parquet_with_a_missing_embedding_and_bytes() -> None:
    table = pa.table({"id": ["a", "b"], "embedding": [[1.0, 2.0], None], "blob": [None, b"x"]})
    stream = io.BytesIO()
    pq.write_table(table, stream)
    result = mapped("rows.parquet", stream.getvalue())
    assert [row["id"] for row in result.rows] == ["a"]
    assert [(fault.row, fault.column) for fault in result.faults] == [(2, "blob")]
    with pytest.raises(InputFault, match="no Parquet"):
        read("rows.parquet", b"PAR1 not really")


def test_vectors_beside_a_file() -> None:
    content = b'{"id": "a", "text": "x"}\n{"id": "b", "text": "y"}\n'
    vectors = read_vectors(npy(np.float16([[1, 0], [0, 1]])))
    result = mapped("rows.jsonl", content, vectors=vectors)
    assert result.embedded == 2
    np.testing.assert_array_equal(result.rows[1]["embedding"], np.float32([0, 1]))
    with pytest.raises(InputFault, match="1 vectors and 2 rows"):
        mapped("rows.jsonl", content, vectors=vectors[:1])
    with pytest.raises(InputFault, match="mend the file"):
        mapped("rows.jsonl", content.replace(b"}\n{", b"}\n?{"), vectors=vectors)


def test_vectors_that_are_none() -> None:
    good = npy(np.float32([[1, 2], [3, 4]]))
    for content, told in [
        (b"nothing", "no .npy"),
        (good[:-4], "the file has 12"),
        (good.replace(b"(2, 2)", b"(9, 9)"), "324 bytes; the file has 16"),
        (npy(np.array([[{}]], dtype=object)), "expected float32 or float16"),
        (npy(np.arange(4).reshape(2, 2)), "expected float32 or float16"),
        (npy(np.float32([1, 2])), "expected float32 or float16"),
    ]:
        with pytest.raises(InputFault, match=told):
            read_vectors(content)


def test_a_text_becomes_chunks_of_a_document() -> None:
    text = "One sentence. Another one.\n\nA paragraph of its own, which is somewhat longer than the others."
    records = read("notes.md", text.encode(), chunk_size=40, overlap=0)
    result = with_fields(records, guess(records.columns))
    assert [row["id"] for row in result.rows] == ["notes-1", "notes-2", "notes-3", "notes-4"]
    assert {row["document_id"] for row in result.rows} == {"notes.md"}
    assert result.rows[0]["text"] == "One sentence. Another one."
    assert result.rows[0]["metadata"] == {"part": 1}


def test_an_ending_that_is_not_known_is_named_with_those_that_are() -> None:
    with pytest.raises(InputFault, match=r"x.docx: expected .*\.jsonl.*\.parquet"):
        read("x.docx", b"")


@given(st.text(alphabet=st.sampled_from("ab .\n!,"), max_size=300), st.integers(1, 40))
def test_a_split_loses_nothing_but_blanks_and_keeps_to_its_size(text: str, size: int) -> None:
    pieces = split(text, size=size)
    assert all(0 < len(piece) <= size for piece in pieces)
    assert "".join("".join(pieces).split()) == "".join(text.split())


@given(
    st.lists(st.sampled_from(["", " ", ". ", "\n", "\n\n", ", "]), max_size=120),
    st.integers(1, 40),
    st.data(),
)
def test_a_split_that_overlaps_covers_the_text_in_its_order(
    marks: list[str], size: int, data: st.DataObject
) -> None:
    overlap = data.draw(st.integers(0, size - 1))
    # Each letter stands once, so that a piece is found where it was cut.
    text = "".join(f"{chr(0x4E00 + place)}{mark}" for place, mark in enumerate(marks))
    pieces = split(text, size=size, overlap=overlap)
    assert all(0 < len(piece) <= size for piece in pieces)
    assert {letter for piece in pieces for letter in piece if letter >= "\u4e00"} == {
        letter for letter in text if letter >= "\u4e00"
    }
    found = [(text.index(piece), text.index(piece) + len(piece)) for piece in pieces if len(piece) > 2]
    assert all(one[0] < two[0] and one[1] < two[1] for one, two in itertools.pairwise(found))


def test_a_split_repeats_the_words_before() -> None:
    text = "alpha beta gamma delta epsilon zeta eta theta"
    first, second, *_ = split(text, size=20, overlap=8)
    assert first == "alpha beta gamma"
    assert second.startswith("gamma delta")


def test_no_piece_of_a_split_lies_within_another() -> None:
    pieces = split("aaaa bbbb cccccccc", size=10, overlap=9)
    assert pieces[:2] == ["aaaa bbbb", "bbbb ccccc"]


def test_a_split_refuses_what_would_never_end() -> None:
    with pytest.raises(ValueError, match="overlap < size"):
        split("text", size=5, overlap=5)


def test_numbers_are_told_a_column_at_a_time() -> None:
    rows = [{"a": "1", "b": "01", "c": "-2.5e3"}, {"a": "-7", "b": "2", "c": "3"}, {}]
    assert typed(rows, ["a", "b", "c"]) == [
        {"a": 1, "b": "01", "c": -2500.0},
        {"a": -7, "b": "2", "c": 3.0},
        {},
    ]


@pytest.mark.parametrize("text", ["[1, 2.5, -3]", "1 2.5 -3", "1;2.5;-3", "(1,\n2.5,\t-3)"])
def test_a_vector_in_any_notation(text: str) -> None:
    np.testing.assert_array_equal(parse_vector(text, 3), np.float32([1, 2.5, -3]))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "empty"),
        ("1 two 3", "Number 2 .* 'two'"),
        ("1 2", "expected 3 numbers; received 2"),
        ("1 2 inf", "number 3 is inf"),
    ],
)
def test_a_vector_that_is_none(text: str, told: str) -> None:
    with pytest.raises(InputFault, match=told):
        parse_vector(text, 3)


def test_an_object_or_nothing() -> None:
    assert parse_object("  ", "The filter") is None
    assert parse_object('{"a": 1}', "The filter") == {"a": 1}
    for text in ("[1]", "{a: 1}"):
        with pytest.raises(InputFault, match="The filter"):
            parse_object(text, "The filter")


def test_shortening_says_that_it_did() -> None:
    assert shorten("a  b\nc", 10) == "a b c"
    assert shorten("abcdefgh", 5) == "abcd…"
    assert json.dumps(shorten("", 5)) == '""'
