"""Whatever is handed to the native module: an answer that holds what it promises, or an exception that says why not.

A panic would arrive as ``PluginError``, which no test here accepts; memory that is not there would end the process.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from vdb_core import errors
from vdb_core.indexes import NO_SLOT
from vdb_index_rust import _native

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

NAMES = ["brute", "ivf_flat", "ivf_pq"]
METRICS = ["cosine", "dot", "l2"]
MOST = 2**64 - 1
REFUSED = (TypeError, ValueError, OverflowError, errors.ValidationFailed)


def silent(phase: str, done: int, total: int) -> None:
    del phase, done, total


def never() -> bool:
    return False


def build(name: str, vectors: Any, metric: Any = "l2", threads: Any = 1, **changed: Any) -> _native.Index:
    options: dict[str, dict[str, Any]] = {
        "brute": {"codes": True},
        "ivf_flat": {"n_lists": None, "codes": True, "seed": 1},
        "ivf_pq": {"n_lists": None, "n_subvectors": None, "n_bits": None, "codes": True, "seed": 1},
    }
    progress = changed.pop("progress", silent)
    cancelled = changed.pop("cancelled", never)
    function = getattr(_native, f"build_{name}")
    return function(vectors, metric, threads, progress, cancelled, **{**options[name], **changed})


def load(name: str, directory: Any, vectors: Any, metric: Any = "l2", codes: Any = True) -> _native.Index:
    if name == "brute":
        return _native.load_brute(vectors, metric, codes=codes)
    return getattr(_native, f"load_{name}")(directory, vectors, metric, codes=codes)


def rows(count: int = 300, dimension: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, dimension), dtype=np.float32)


def unaligned(array: np.ndarray) -> np.ndarray:
    shifted = np.frombuffer(b"\0" + array.tobytes(), dtype=np.uint8)[1:]
    return shifted.view(array.dtype).reshape(array.shape)


def bad_matrices(good: Any) -> dict[str, Any]:
    """The values of a float32 matrix in every form that is not accepted."""
    structured = np.zeros(good.shape, dtype=[("x", np.float32)])
    return {
        "nothing": None,
        "a list": good.tolist(),
        "a buffer": memoryview(good),
        "a number": 1.0,
        "float64": good.astype(np.float64),
        "float16": good.astype(np.float16),
        "int32": good.astype(np.int32),
        "complex": good.astype(np.complex64),
        "objects": good.astype(object),
        "fields": structured,
        "other bytes first": good.astype(">f4"),
        "one dimension": good.ravel(),
        "three dimensions": good[np.newaxis],
        "no dimension": np.array(1.0, np.float32),
        "every other column": np.repeat(good, 2, axis=1)[:, ::2],
        "every other row": np.repeat(good, 2, axis=0)[::2],
        "backwards": good[::-1],
        "columns first": np.asfortranarray(good),
        "one row again and again": np.broadcast_to(good[:1], good.shape),
        "unaligned": unaligned(good),
        "rows of nothing": np.empty((len(good), 0), np.float32),
        "no rows, endless": np.empty((0, 2**40), np.float32),
        "no rows, too long": np.empty((0, 2**24 + 1), np.float32),
        "text": np.full(good.shape, "1.0"),
    }


@contextmanager
def refused(what: str, match: str = "") -> Generator[None]:
    """As ``pytest.raises``, naming what was not refused."""
    told = None
    try:
        yield
    except REFUSED as error:
        told = str(error)
    assert told is not None, f"not refused: {what}"
    assert match in told, what


def check(found: tuple[np.ndarray, np.ndarray], asked: int, k: int, allowed: np.ndarray) -> None:
    """`min(k, allowed)` different rows that are allowed, then padding."""
    slots, distances = found
    assert slots.shape == distances.shape == (asked, k)
    assert slots.dtype == np.uint32
    assert distances.dtype == np.float32
    there = min(k, len(allowed))
    assert (slots[:, there:] == NO_SLOT).all()
    assert np.isposinf(distances[:, there:]).all()
    for of_query in slots[:, :there]:
        assert len(set(of_query.tolist())) == there
        assert np.isin(of_query, allowed).all()


BAD = list(bad_matrices(rows(4)))


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("name", NAMES)
def test_arrays_that_are_no_rows_are_refused(name: str, kind: str, tmp_path: Path) -> None:
    build(name, rows()).save(tmp_path)
    bad = bad_matrices(rows())[kind]
    with pytest.raises((TypeError, ValueError), match="vectors: "):
        _ = build(name, bad)
    with pytest.raises((TypeError, ValueError), match="vectors: "):
        _ = load(name, tmp_path, bad)


@pytest.mark.parametrize("name", NAMES)
def test_arrays_that_are_no_queries_or_filters_are_refused(name: str) -> None:
    made = build(name, rows())
    good = rows(5, seed=1)
    for kind, bad in bad_matrices(good).items():
        if kind != "nothing" and kind.startswith("no rows"):
            continue  # no queries, of whatever length: told apart below
        with refused(kind, match="queries: "):
            _ = made.search(bad, 3, None, 1)
    for length in (0, 7, 9, 2**24):
        with pytest.raises(ValueError, match="8 values a query"):
            _ = made.search(np.empty((0, length or 1), np.float32), 3, None, 1)
    words = np.zeros(5, np.uint64)
    flags = np.ones(300, bool)
    for bad in (
        flags,
        flags.tolist(),
        words.astype(np.int64),
        words.astype(">u8"),
        words.astype(np.float64),
        words[:4],
        np.zeros(6, np.uint64),
        np.zeros(0, np.uint64),
        words[np.newaxis],
        np.zeros(10, np.uint64)[::2],
        words[::-1],
        unaligned(words),
        np.uint64(1),
        5,
        "all",
    ):
        with pytest.raises((TypeError, ValueError), match="allowed: "):
            _ = made.search(good, 3, bad, 1)  # pyright: ignore[reportArgumentType]


def test_views_that_change_nothing_are_taken() -> None:
    vectors = rows()
    vectors.flags.writeable = False
    for same in (vectors, vectors[:], vectors.view(), np.lib.stride_tricks.as_strided(vectors)):
        made = build("ivf_flat", same)
        check(made.search(same[:3], 4, None, 1), 3, 4, np.arange(300))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("metric", METRICS)
def test_every_number_is_an_answer_or_refused(name: str, metric: str) -> None:
    made = build(name, rows(300, 40), metric)
    words = np.zeros(5, np.uint64)
    words[1] = 0b1011
    words[4] = MOST  # beyond the rows as well
    allowed = np.concatenate([[64, 65, 67], np.arange(256, 300)])
    for queries in (rows(1, 40), rows(60, 40), rows(0, 40)):
        for k in (0, 1, 299, 301, 2000):
            for threads in (0, 2, 2**62, MOST):
                for probes in (None, 0, MOST):
                    for rerank in (None, 0, MOST) if name == "ivf_pq" else (None,):
                        found = made.search(queries, k, None, threads, probes, rerank)
                        check(found, len(queries), k, np.arange(300))
            check(made.search(queries, k, words, 3), len(queries), k, allowed)
    for bad in (-1, 2**64, 1.5, "1", None, b"1", [1]):
        for place in range(2):
            arguments: list[Any] = [1, 1]
            arguments[place] = bad
            with pytest.raises((TypeError, OverflowError)):
                _ = made.search(rows(1, 40), arguments[0], None, arguments[1])
        if bad is not None:
            with pytest.raises((TypeError, OverflowError)):
                _ = made.search(rows(1, 40), 1, None, 1, bad)  # pyright: ignore[reportArgumentType]
            with pytest.raises((TypeError, OverflowError)):
                _ = made.search(rows(1, 40), 1, None, 1, 1, bad)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", NAMES)
def test_more_threads_than_can_be_counted_with_are_few(name: str) -> None:
    made = build(name, rows(4200, 104), threads=2**62)
    assert "codes" in {part.split()[-1] for part in made.stats()["bytes"]}
    for queries in (rows(1, 104), rows(60, 104)):
        for threads in (2**62, 2**63, MOST):
            check(made.search(queries, 5, None, threads), len(queries), 5, np.arange(4200))


@pytest.mark.parametrize("name", NAMES)
def test_more_places_than_memory_are_refused(name: str) -> None:
    made = build(name, rows())
    for k in (2**45, 2**60, 2**62, 2**63, MOST):
        with pytest.raises(ValueError, match="a result that fits memory"):
            _ = made.search(rows(1), k, None, 1)
    # No queries take no place, but no array has so many columns.
    for k in (2**63, MOST):
        with pytest.raises((ValueError, OverflowError)):
            _ = made.search(rows(0), k, None, 1)


@pytest.mark.parametrize("name", NAMES)
def test_options_out_of_range_are_refused(name: str) -> None:
    hostile: dict[str, list[Any]] = {
        "codes": [None, 1, "yes", 0.0, []],
        "threads": [-1, 2**64, 1.5, None, "2"],
        "metric": ["", "L2", "l2\0", "l2 ", "ℓ2", "\udcff", None, 2, b"l2", ["l2"]],
    }
    if name != "brute":
        hostile |= {
            "n_lists": [0, -1, 2**64, 1.5, "9"],
            "seed": [-1, 2**64, 1.5, None, "0"],
        }
    if name == "ivf_pq":
        hostile |= {
            "n_subvectors": [0, 9, 2**40, MOST, -1, 1.5],
            "n_bits": [0, 1, 5, 16, MOST, -4, 4.5],
        }
    for option, values in hostile.items():
        for value in values:
            with refused(f"{option}={value!r}"):
                _ = build(name, rows(), **{option: value})
    with pytest.raises(TypeError, match="codes"):
        _ = _native.load_brute(rows(), "l2")  # pyright: ignore[reportCallIssue]
    with pytest.raises(TypeError, match="positional"):
        _ = _native.load_brute(rows(), "l2", True)  # pyright: ignore[reportCallIssue]
    with pytest.raises(errors.ValidationFailed, match="one of cosine, dot, l2"):
        _ = build(name, rows(), "hamming")


@pytest.mark.parametrize("codes", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_options_at_their_ends_are_taken(name: str, codes: bool, tmp_path: Path) -> None:
    options: list[dict[str, Any]] = [{"codes": codes, "threads": threads} for threads in (0, 2**62, MOST)]
    if name != "brute":
        options += [{"codes": codes, "n_lists": lists, "seed": MOST} for lists in (1, 299, 300, MOST)]
    if name == "ivf_pq":
        options += [{"codes": codes, "n_subvectors": n, "n_bits": b} for n in (1, 7, 8) for b in (4, 8)]
    for each in options:
        made = build(name, rows(), **each)
        check(made.search(rows(20), 9, None, 1), 20, 9, np.arange(300))
        made.save(tmp_path)
        check(load(name, tmp_path, rows(), codes=codes).search(rows(2), 9, None, 1), 2, 9, np.arange(300))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("count", "dimension"), [(0, 1), (0, 2**24), (1, 1), (2, 1), (40, 1), (3, 3000)])
def test_the_smallest_and_the_longest_rows(name: str, count: int, dimension: int, tmp_path: Path) -> None:
    for metric in METRICS:
        vectors = rows(count, dimension)
        made = build(name, vectors, metric)
        made.save(tmp_path)
        for index in (made, load(name, tmp_path, vectors, metric)):
            assert index.stats()["rows"] == count
            queries = rows(1 if dimension < 2**20 else 0, dimension)
            check(index.search(queries, 5, None, 2), len(queries), 5, np.arange(count))


@pytest.mark.parametrize("codes", [False, True])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("count", "dimension"), [(300, 8), (300, 40), (4200, 104)])
def test_values_that_are_no_numbers_cost_no_row(
    name: str, codes: bool, count: int, dimension: int, tmp_path: Path
) -> None:
    special = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45, -0.0], np.float32)
    vectors = rows(count, dimension)
    queries = rows(60, dimension, seed=1)
    for array in (vectors, queries):
        flat = array.reshape(-1)
        places = np.random.default_rng(2).integers(0, array.size, array.size // 20)
        flat[places] = np.resize(special, places.size)
        array[:3] = special[:3, np.newaxis]
    words = np.zeros(-(-count // 64), np.uint64)
    words[0] = 0b1110_0111
    allowed = np.array([0, 1, 2, 5, 6, 7])
    options = {"brute": {}, "ivf_flat": {"n_lists": 20}, "ivf_pq": {"n_lists": 20}}[name]
    for metric in METRICS if count < 1000 else ["l2", "dot"]:
        made = build(name, vectors, metric, codes=codes, **options)
        made.save(tmp_path)
        for index in (made, load(name, tmp_path, vectors, metric, codes)):
            for asked in (queries, queries[:1], queries[3:4]):
                for rerank in (None, 0) if name == "ivf_pq" else (None,):
                    found = index.search(asked, 9, None, 2, 3, rerank)
                    check(found, len(asked), 9, np.arange(count))
                    check(index.search(asked, 9, words, 2, 1, rerank), len(asked), 9, allowed)


@pytest.mark.parametrize("name", ["ivf_flat", "ivf_pq"])
def test_places_where_no_index_lies_are_told(name: str, tmp_path: Path) -> None:
    made = build(name, rows())
    file = tmp_path / "file"
    file.touch()
    for place in (tmp_path / "missing", file, tmp_path / ("n" * 300), "a\0b"):
        with pytest.raises((errors.StorageFailed, ValueError)):
            made.save(place)
        with pytest.raises((errors.StorageFailed, errors.IndexDamaged, ValueError)):
            _ = load(name, place, rows())
    for place in (None, 5, [], 1.5):
        with pytest.raises(TypeError):
            made.save(place)  # pyright: ignore[reportArgumentType]
        with pytest.raises(TypeError):
            _ = load(name, place, rows())


@pytest.mark.parametrize("name", ["ivf_flat", "ivf_pq"])
def test_a_damaged_file_is_damage_in_python_too(name: str, tmp_path: Path) -> None:
    build(name, rows()).save(tmp_path)
    for file in sorted(tmp_path.iterdir()):
        whole = file.read_bytes()
        for damaged in (b"", whole[:-2], whole + b"\0" * 64, whole[::-1], b"\xff" * len(whole)):
            _ = file.write_bytes(damaged)
            with pytest.raises(errors.IndexDamaged, match=file.name):
                _ = load(name, tmp_path, rows())
        _ = file.write_bytes(whole)
    load(name, tmp_path, rows()).close()


@pytest.mark.parametrize("name", NAMES)
def test_a_closed_index_says_so(name: str, tmp_path: Path) -> None:
    made = build(name, rows())
    made.close()
    made.close()
    for queries in (rows(1), rows(0), None):
        with pytest.raises(ValueError, match="the index was closed; open it again"):
            _ = made.search(queries, 1, None, 1)  # pyright: ignore[reportArgumentType]
    assert made.stats()["rows"] == 300
    made.save(tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_rows_that_were_exchanged_behind_its_back_are_noticed(name: str) -> None:
    vectors = rows()
    made = build(name, vectors)
    for shape in ((200, 8), (300, 9), (0, 8)):
        vectors.resize(shape, refcheck=False)
        with pytest.raises(ValueError, match="300 x 8 rows of the index"):
            _ = made.search(rows(1), 1, None, 1)
    # Other values make other answers, not other memory.
    vectors.resize((300, 8), refcheck=False)
    vectors[:] = np.nan
    check(made.search(rows(60), 9, None, 1), 60, 9, np.arange(300))


@pytest.mark.parametrize("name", NAMES)
def test_searches_and_a_close_side_by_side(name: str) -> None:
    made = build(name, rows(4000, 32))
    failures: list[str] = []

    def ask() -> None:
        for _ in range(200):
            try:
                check(made.search(rows(3, 32), 5, None, 1), 3, 5, np.arange(4000))
            except ValueError as error:
                failures.append(str(error))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    made.close()
    for thread in threads:
        thread.join()
    assert set(failures) <= {"the index was closed; open it again"}


@pytest.mark.parametrize("name", NAMES)
def test_callbacks_that_misbehave_are_heard(name: str) -> None:
    class Undecided:
        def __bool__(self) -> bool:
            raise ArithmeticError("undecided")

    def raising(error: BaseException) -> Callable[..., Any]:
        def callback(*_: object) -> object:
            raise error

        return callback

    for error in (KeyError("from it"), KeyboardInterrupt("from it"), SystemExit("from it")):
        with pytest.raises(type(error), match="from it"):
            _ = build(name, rows(), progress=raising(error))
        with pytest.raises(type(error), match="from it"):
            _ = build(name, rows(), cancelled=raising(error))
    with pytest.raises(ArithmeticError, match="undecided"):
        _ = build(name, rows(), cancelled=Undecided)
    for callback in ("progress", "cancelled"):
        with pytest.raises(TypeError, match="not callable"):
            _ = build(name, rows(), **{callback: None})
        with pytest.raises(TypeError, match="argument"):
            _ = build(name, rows(), **{callback: lambda one, two: None})
    with pytest.raises(errors.BuildCancelled):
        _ = build(name, rows(), cancelled=lambda: True)


def test_the_rest_of_the_module_takes_any_number() -> None:
    for count in (0, 1, 2**40, MOST):
        assert _native.default_n_lists(count) >= 1
        for bits in (0, 4, 8, MOST):
            assert _native.default_n_subvectors(count, bits) >= 0
    for bad in (-1, 2**64, 1.5, None, "1"):
        with pytest.raises((TypeError, OverflowError)):
            _ = _native.default_n_lists(bad)  # pyright: ignore[reportArgumentType]
        with pytest.raises((TypeError, OverflowError)):
            _ = _native.default_n_subvectors(bad, 4)  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="create"):
        _ = _native.Index()
    with pytest.raises(TypeError, match="not an acceptable base type"):
        _ = type("Sub", (_native.Index,), {})
