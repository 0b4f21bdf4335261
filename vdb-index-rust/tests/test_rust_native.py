"""The native module: types as its stub says, errors by who must act, no copy of the rows, panics held back."""

from __future__ import annotations

import ast
import gc
import inspect
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest

from vdb_core import errors
from vdb_core.indexes import NO_SLOT, IndexStats
from vdb_index_rust import _native, index, plugin
from vdb_index_rust.params import (
    BruteParams,
    IvfFlatParams,
    IvfFlatSearchParams,
    IvfPqParams,
    IvfPqSearchParams,
)


def rows(count: int = 300, dimension: int = 8, seed: int = 0) -> np.ndarray:
    made = np.random.default_rng(seed).standard_normal((count, dimension), dtype=np.float32)
    made.flags.writeable = False
    return made


def never() -> bool:
    return False


def silent(phase: str, done: int, total: int) -> None:
    del phase, done, total


def build(name: str, vectors: np.ndarray, metric: str = "l2", **params: int):
    models = {"brute": BruteParams, "ivf_flat": IvfFlatParams, "ivf_pq": IvfPqParams}
    types = {each.name: each for each in plugin.vdb_register_index_types()}
    return types[name].build(
        vectors,
        metric=metric,
        params=models[name](**params),
        seed=1,
        threads=2,
        progress=silent,
        cancelled=never,
    )


NAMES = ["brute", "ivf_flat", "ivf_pq"]


def test_the_stub_tells_what_the_module_has() -> None:
    stub = ast.parse((Path(index.__file__).parent / "_native.pyi").read_text(encoding="utf-8"))
    functions = {node.name: node for node in stub.body if isinstance(node, ast.FunctionDef)}
    classes = {node.name: node for node in stub.body if isinstance(node, ast.ClassDef)}
    del classes["Stats"]  # a type of what stats() returns, not an object of the module
    offered = {name for name in dir(_native) if not name.startswith("__")}
    assert offered == functions.keys() | classes.keys()
    methods = {node.name: node for node in classes["Index"].body if isinstance(node, ast.FunctionDef)}
    assert {name for name in dir(_native.Index) if not name.startswith("_")} == methods.keys()
    for owner, nodes in ((_native, functions), (_native.Index, methods)):
        for name, node in nodes.items():
            told = [each.arg for each in (*node.args.args, *node.args.kwonlyargs)]
            real = inspect.signature(getattr(owner, name)).parameters
            assert list(real) == told, name
            keyword_only = {each for each, it in real.items() if it.kind is inspect.Parameter.KEYWORD_ONLY}
            assert keyword_only == {each.arg for each in node.args.kwonlyargs}, name


def test_listing_the_types_loads_neither_numpy_nor_the_native_module() -> None:
    script = (
        "import sys\n"
        "before = set(sys.modules)\n"
        "import vdb_index_rust\n"
        "assert 'numpy' not in sys.modules\n"
        "from vdb_index_rust import plugin\n"
        "assert [each.name for each in plugin.vdb_register_index_types()] == ['brute', 'ivf_flat', 'ivf_pq']\n"
        "loaded = [name for name in set(sys.modules) - before if name.startswith('vdb_index_rust.')]\n"
        "assert sorted(loaded) == ['vdb_index_rust.params', 'vdb_index_rust.plugin'], loaded\n"
    )
    _ = subprocess.run([sys.executable, "-c", script], check=True)


def test_every_type_documents_itself() -> None:
    for each in plugin.vdb_register_index_types():
        assert each.complexity is not None
        assert all((each.complexity.build, each.complexity.query, each.complexity.space))
        assert each.estimate_memory is not None
        assert each.estimate_memory(0, 4, each.params()) >= 0
        for model in (each.params, each.search_params):
            assert model.__doc__
            for name, field in model.model_fields.items():
                assert field.description, f"{model.__name__}.{name}"
                assert field.title, f"{model.__name__}.{name}"


def test_a_panic_is_a_plugin_error() -> None:
    with pytest.raises(errors.PluginError, match="index out of bounds"):
        _native.panic_on_purpose()
    assert isinstance(_native.instruction_set(), str)


@pytest.mark.parametrize("name", NAMES)
def test_wrong_arrays_are_told_apart(name: str) -> None:
    made = build(name, rows())
    good = np.zeros((2, 8), np.float32)
    with pytest.raises(
        TypeError, match="queries: expected a float32 array of two dimensions, received a float64"
    ):
        made.search(good.astype(np.float64), 1)
    with pytest.raises(TypeError, match="received a float32 array of shape"):
        made.search(good[0], 1)
    with pytest.raises(TypeError, match="received a <class 'list'>"):
        made.search([[1.0]], 1)
    with pytest.raises(ValueError, match="8 values a query, as many as a row has, received 4"):
        made.search(good[:, :4].copy(), 1)
    with pytest.raises(ValueError, match="ascontiguousarray"):
        made.search(good[:, ::2], 1)
    with pytest.raises(TypeError, match="allowed: expected a uint64"):
        made.search(good, 1, allowed=np.ones(300, bool))
    with pytest.raises(ValueError, match="expected 5 words of 64 bits for 300 rows, received 4 words"):
        made.search(good, 1, allowed=np.zeros(4, np.uint64))
    with pytest.raises(errors.PluginError, match="params: expected an instance of"):
        made.search(good, 1, params=IvfPqParams())
    with pytest.raises(ValueError, match="fits memory"):
        made.search(good, 1 << 62)
    made.close()
    with pytest.raises(ValueError, match="closed"):
        made.search(good, 1)


def test_wrong_rows_and_metrics_are_told() -> None:
    with pytest.raises(TypeError, match="vectors: expected a float32 array"):
        build("brute", rows().astype(np.float16))
    with pytest.raises(ValueError, match="ascontiguousarray"):
        build("brute", rows()[:, ::2])
    with pytest.raises(errors.ValidationFailed, match="one of cosine, dot, l2"):
        build("brute", rows(), "hamming")


def test_too_many_pieces_point_at_the_parameter() -> None:
    with pytest.raises(errors.ValidationFailed) as caught:
        build("ivf_pq", rows(), n_subvectors=9)
    assert [fault.pointer for fault in caught.value.faults] == ["/params/n_subvectors"]
    assert "1 to 8" in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_the_rows_are_kept_alive_until_close(name: str) -> None:
    vectors = rows()
    alive = weakref.ref(vectors)
    made = build(name, vectors)
    expected = vectors[17:18].copy()
    del vectors
    _ = gc.collect()
    assert alive() is not None
    assert made.search(expected, 1)[0].tolist() == [[17]]
    made.close()
    made.close()
    _ = gc.collect()
    assert alive() is None


@pytest.mark.parametrize("name", NAMES)
def test_stats_tell_the_parameters_that_were_chosen(name: str) -> None:
    made = build(name, rows(1000, 16), "cosine")
    stats = made.stats()
    assert isinstance(stats, IndexStats)
    assert stats.rows == 1000
    told = {"brute": set(), "ivf_flat": {"n_lists", "default_n_probes"}}
    told["ivf_pq"] = told["ivf_flat"] | {"n_subvectors", "n_bits"}
    assert stats.details.keys() == told[name] | {"instruction_set"}


@pytest.mark.parametrize("name", ["ivf_flat", "ivf_pq"])
def test_an_exception_in_a_callback_stops_the_build(name: str) -> None:
    def broken(*_: object) -> bool:
        raise KeyError("from the callback")

    types = {each.name: each for each in plugin.vdb_register_index_types()}
    for progress, cancelled in ((broken, never), (silent, broken)):
        with pytest.raises(KeyError, match="from the callback"):
            types[name].build(
                rows(),
                metric="l2",
                params=types[name].params(),
                seed=0,
                threads=2,
                progress=progress,
                cancelled=cancelled,
            )


def test_a_build_is_cancelled_from_another_thread() -> None:
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    vectors = rows(30_000, 96)
    began = time.monotonic()
    with pytest.raises(errors.BuildCancelled):
        _native.build_ivf_flat(vectors, "l2", 2, silent, stop.is_set, n_lists=8000, codes=True, seed=0)
    assert time.monotonic() - began < 10


def test_load_refuses_other_parameters_than_were_built(tmp_path: Path) -> None:
    vectors = rows()
    build("ivf_pq", vectors, n_lists=7, n_bits=8).save(tmp_path)
    index.load_ivf_pq(tmp_path, vectors, metric="l2", params=IvfPqParams(n_lists=7, n_bits=8)).close()
    for params in (IvfPqParams(n_lists=8, n_bits=8), IvfPqParams(n_lists=7)):
        with pytest.raises(errors.IndexDamaged, match="build it again"):
            index.load_ivf_pq(tmp_path, vectors, metric="l2", params=params)


def test_what_is_saved_are_open_formats(tmp_path: Path) -> None:
    vectors = rows(500, 12)
    build("ivf_pq", vectors).save(tmp_path)
    arrays = {file.stem: np.load(file, allow_pickle=False) for file in tmp_path.glob("*.npy")}
    lists = len(arrays["centroids"])
    assert arrays["centroids"].shape == (lists, 12)
    assert arrays["offsets"].shape == (lists + 1,)
    assert sorted(arrays["slots"].tolist()) == list(range(500))
    assert arrays["codebooks"].shape == (16, 12)
    assert arrays["codes"].shape == (500, 3)
    assert arrays["terms"].shape == (500,)
    # The codes stand for the rows: centroid plus one codeword a piece, two dimensions each.
    of_list = np.repeat(np.arange(lists), np.diff(arrays["offsets"].astype(np.int64)))
    nibbles = np.stack([arrays["codes"] & 15, arrays["codes"] >> 4], axis=2).reshape(500, 6)
    decoded = arrays["centroids"][of_list] + np.concatenate(
        [arrays["codebooks"][nibbles[:, piece], 2 * piece : 2 * piece + 2] for piece in range(6)], axis=1
    )
    error = np.square(decoded - vectors[arrays["slots"]]).sum()
    assert error < 0.35 * np.square(vectors).sum()


def test_unwritable_directories_are_the_operators_problem(tmp_path: Path) -> None:
    with pytest.raises(errors.StorageFailed):
        build("ivf_flat", rows()).save(tmp_path / "missing")


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_all_lists_equal_brute_to_the_id(metric: str) -> None:
    vectors = rows(3000, 24)
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    queries = np.ascontiguousarray(vectors[:50] + np.float32(0.01))
    allowed = np.random.default_rng(2).integers(0, 1 << 63, 47, dtype=np.uint64)
    allowed[-1] &= np.uint64((1 << (3000 - 46 * 64)) - 1)
    exact = build("brute", vectors, metric)
    lists = build("ivf_flat", vectors, metric)
    for words in (None, allowed):
        params = IvfFlatSearchParams(n_probes=10_000)
        expected = exact.search(queries, 20, allowed=words)
        found = lists.search(queries, 20, allowed=words, params=params, threads=2)
        assert np.array_equal(expected[0], found[0])
        assert np.array_equal(expected[1], found[1])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", [0, 1, 2, 15, 17, 255])
def test_few_rows(name: str, count: int, tmp_path: Path) -> None:
    vectors = rows(count, 5)
    made = build(name, vectors)
    slots, distances = made.search(np.zeros((3, 5), np.float32), 20)
    found = min(count, 20)
    assert (slots[:, found:] == NO_SLOT).all()
    assert np.isinf(distances[:, found:]).all()
    expected = np.argsort(np.square(vectors.astype(np.float64)).sum(axis=1), kind="stable")[:20]
    assert slots[:, :found].tolist() == [expected.tolist()] * 3
    made.save(tmp_path)


def test_rerank_none_returns_estimates() -> None:
    vectors = rows(2000, 32)
    made = build("ivf_pq", vectors)
    exact = made.search(vectors[:20].copy(), 5, params=IvfPqSearchParams(rerank=200))[1]
    estimated = made.search(vectors[:20].copy(), 5, params=IvfPqSearchParams(rerank=0))[1]
    assert (exact[:, 0] == 0).all()
    assert (estimated[:, 0] != 0).any()


def test_a_single_query_costs_microseconds() -> None:
    # The budget beside the arithmetic is 15 µs; the smallest of many rounds, because machines are shared.
    vectors = rows(1, 384)
    made = build("brute", vectors, "cosine")
    query = vectors.copy()
    best = min(_time(lambda: made.search(query, 10)) for _ in range(2000))
    assert best < 15e-6, f"{best * 1e6:.1f} µs"


def test_a_small_exact_index_costs_nothing_to_make() -> None:
    vectors = rows(4096, 384)
    _ = build("brute", vectors, "cosine")
    best = min(
        _time(lambda: _native.build_brute(vectors, "cosine", 1, silent, never, codes=False))
        for _ in range(50)
    )
    assert best < 100e-6, f"{best * 1e6:.1f} µs"


def _time(call) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


@pytest.mark.parametrize("count", [512, 4096, 5000])
@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_codes_stay_within_the_estimate_and_are_made_again(metric: str, count: int, tmp_path: Path) -> None:
    vectors = rows(count, 128)
    if metric == "cosine":
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    brute = next(each for each in plugin.vdb_register_index_types() if each.name == "brute")
    made = build("brute", vectors, metric, codes=True)
    batch = made.search(vectors[:8], 3)
    stats = made.stats()
    assert stats.bytes["codes"] == -(-count // 16) * 16 * 128
    assert brute.estimate_memory is not None
    assert (
        sum(stats.bytes.values())
        <= brute.estimate_memory(count, 128, BruteParams(codes=True))
        < 0.3 * vectors.nbytes
    )
    made.save(tmp_path)
    opened = brute.load(tmp_path, vectors, metric=metric, params=BruteParams(codes=True))
    assert np.array_equal(opened.search(vectors[:8], 3)[0], batch[0])
    assert opened.stats().bytes == stats.bytes
    queries = vectors[:40] + np.float32(0.01)
    for some in (queries, queries[:1]):
        slots, distances = made.search(some, 10)
        wide, stored = some.astype(np.float64), vectors.astype(np.float64)
        exact = -wide @ stored.T
        if metric == "l2":
            exact = ((wide[:, np.newaxis] - stored) ** 2).sum(axis=2)
        assert (slots == np.argsort(exact, axis=1, kind="stable")[:, :10]).all()
        assert (opened.search(some, 10)[0] == slots).all()
        assert (np.diff(distances, axis=1) >= 0).all()
