"""The demo: it runs on anybody's corpus, says what is wrong with one it cannot use, and fails where a promise is broken."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cut_corpus
import numpy as np
import pytest
from loading import CorpusError, hold_out, load_corpus
from truth import GroundTruth

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "demo" / "corpus"


def write(folder: Path, lines: list[object], matrix: np.ndarray) -> Path:
    file = folder / "corpus.jsonl"
    file.write_text(
        "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines), "utf-8"
    )
    np.save(folder / "corpus.npy", matrix)
    return file


def rows(count: int) -> list[object]:
    return [
        {"id": f"r{n}", "text": f"text {n}", "document": f"d{n % 3}", "lang": ["en", "de", "fr"][n % 3]}
        for n in range(count)
    ]


def matrix(count: int, dimension: int = 16) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, dimension)).astype(np.float32)


def spoiled(value: float) -> np.ndarray:
    bad = matrix(120)
    bad[17, 3] = value
    return bad


@pytest.mark.parametrize(
    ("lines", "vectors", "said"),
    [
        (rows(119), matrix(120), "119 lines and its matrix 120 rows"),
        (rows(20), matrix(20), "at least 100"),
        ([*rows(119), "{bad"], matrix(120), "line 120: not JSON"),
        ([*rows(119), "[1]"], matrix(120), "line 120: expected a JSON object"),
        ([*rows(119), {"id": "r3"}], matrix(120), "'r3' stands on more than one line"),
        ([*rows(119), {"id": ["r"]}], matrix(120), "line 120: id: expected a string"),
        (rows(120), spoiled(np.nan), "row 17 holds NaN"),
        (rows(120), spoiled(np.inf), "row 17 holds NaN or infinity"),
        (rows(120), matrix(120) * 0, "Row 0 of the matrix is all zeros"),
        (rows(120), matrix(120).astype(np.int64), "received int64"),
        (rows(120), matrix(120)[0], "received float32 [16]"),
    ],
)
def test_a_corpus_that_cannot_be_used(
    tmp_path: Path, lines: list[object], vectors: np.ndarray, said: str
) -> None:
    file = write(tmp_path, lines, vectors)
    with pytest.raises(CorpusError, match=re.escape(said)):
        load_corpus(file, vectors=None, metric="cosine")


def test_a_matrix_that_is_missing_or_no_matrix(tmp_path: Path) -> None:
    file = write(tmp_path, rows(120), matrix(120))
    (tmp_path / "corpus.npy").write_bytes(b"nothing of the kind")
    with pytest.raises(CorpusError, match=r"not a whole \.npy matrix"):
        load_corpus(file, vectors=None, metric="cosine")
    (tmp_path / "corpus.npy").unlink()
    with pytest.raises(
        CorpusError, match=r"expected corpus.npy or corpus.f16.npy; or name it with --vectors"
    ):
        load_corpus(file, vectors=None, metric="cosine")


def test_held_out_rows_are_not_in_the_corpus(tmp_path: Path) -> None:
    corpus = load_corpus(write(tmp_path, rows(120), matrix(120)), vectors=None, metric="l2")
    kept, held = hold_out(corpus, 12)
    assert len(held) == 12
    assert sorted([*kept.ids, *held.ids]) == sorted(corpus.ids)


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_recall_counts_what_is_among_the_nearest(metric: str) -> None:
    data, queries = matrix(200), matrix(7) + 0.1
    ids = [f"r{n}" for n in range(200)]
    truth = GroundTruth.of(ids, data, queries, metric=metric, k=10)
    distances = (
        ((queries[:, None].astype(float) - data[None]) ** 2).sum(-1)
        if metric == "l2"
        else -(queries @ data.T).astype(float)
    )
    order = np.argsort(distances, axis=1)
    assert truth.recall([[ids[slot] for slot in row[:10]] for row in order]) == 1
    assert truth.recall([[ids[slot] for slot in row[5:15]] for row in order]) == 0.5
    assert truth.recall([[ids[row[0]]] * 10 for row in order]) == pytest.approx(0.1)


def test_the_shipped_corpus_is_what_its_readme_says() -> None:
    corpus = load_corpus(SHIPPED / "glosses.jsonl.gz", vectors=None, metric="cosine")
    queries = load_corpus(SHIPPED / "glosses-queries.jsonl.gz", vectors=None, metric="cosine")
    assert corpus.vectors.shape == (12_000, 384)
    assert queries.vectors.shape == (300, 384)
    assert set(corpus.ids).isdisjoint(queries.ids)
    assert "12,000" in (SHIPPED / "README.md").read_text("utf-8")
    assert "Princeton University" in (SHIPPED / "LICENSE-wordnet.txt").read_text("utf-8")


def test_a_cut_is_stratified_and_the_same_every_time(tmp_path: Path) -> None:
    everything = [{"id": f"r{n}", "document": "big" if n % 4 else "small"} for n in range(400)]
    chosen = cut_corpus.sample(everything, 40)
    assert chosen == cut_corpus.sample(everything, 40)
    assert sorted({*chosen}) == chosen
    assert sum(everything[n]["document"] == "small" for n in chosen) == 10
    for stem, count in (("all", 60), ("queries", 20)):
        lines = "".join(json.dumps({"id": f"{stem}{n}", "document": "d"}) + "\n" for n in range(count))
        (tmp_path / f"{stem}.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
        np.save(tmp_path / f"{stem}.f16.npy", np.arange(count * 2, dtype=np.float16).reshape(count, 2))
    out = tmp_path / "out"
    out.mkdir()
    cut_corpus.main(
        [
            str(tmp_path / "all"),
            str(tmp_path / "queries"),
            str(out),
            "--rows",
            "12",
            "--n-queries",
            "5",
            "--first",
            "queries7",
        ]
    )
    with gzip.open(out / "glosses.jsonl.gz", "rt") as lines_of_rows:
        numbers = [int(json.loads(line)["id"][3:]) for line in lines_of_rows]
    assert np.load(out / "glosses.npy")[:, 0].tolist() == [2 * n for n in numbers]
    with gzip.open(out / "glosses-queries.jsonl.gz", "rt") as lines_of_queries:
        assert json.loads(next(iter(lines_of_queries)))["id"] == "queries7"


def demo(*arguments: str, program: str = "demo.py") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "demo" / program), *arguments],
        env={**os.environ, "VDB_PORT": "1", "VDB_API_KEY": "of another server"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_runs_on_anybodys_corpus_and_ends(tmp_path: Path) -> None:
    file = write(tmp_path, rows(1_500), matrix(1_500))
    done = demo("--corpus", str(file), "--metric", "l2")
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("brute", "ivf_flat", "ivf_pq"):
        assert f"│ {name}" in done.stdout
    assert "1.0000" in done.stdout
    assert "Every promise was kept" in done.stdout


def test_a_bad_corpus_ends_it_before_a_server_is_started(tmp_path: Path) -> None:
    done = demo("--corpus", str(tmp_path / "nothing.jsonl"))
    assert done.returncode == 2
    assert "nothing.jsonl cannot be read" in done.stdout.replace("\n", "")
    assert "Starting" not in done.stdout


@pytest.mark.parametrize("name", ["texts.txt", "texts.jsonl"])
def test_texts_alone_are_loaded_and_found(tmp_path: Path, name: str) -> None:
    texts = ["The cat sleeps.", "", "Rates rise again.", "word " * 300]
    lines = [json.dumps({"text": text}) if name.endswith("jsonl") else text for text in texts]
    (tmp_path / name).write_text("\n".join(lines), "utf-8")
    done = demo("--file", str(tmp_path / name), "a pet", "monetary policy", program="text_demo.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 texts embedded by all_minilm_l6_v2" in done.stdout
    assert "1 of them are longer than the model reads" in done.stdout
    first = [lines[0] for lines in (part.splitlines()[1:] for part in done.stdout.split("▸")[1:])]
    assert ["cat" in first[0], "Rates" in first[1]] == [True, True]


def test_texts_that_are_none_end_it_before_a_server_is_started(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n\n", "utf-8")
    done = demo("--file", str(tmp_path / "empty.txt"), program="text_demo.py")
    assert done.returncode == 2
    assert "holds no text" in done.stdout
    assert "ready" not in done.stdout
