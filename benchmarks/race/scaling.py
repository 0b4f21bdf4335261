"""What a second thread gives: to batches and builds, and, measured in the same rounds, to arithmetic and to memory."""

from __future__ import annotations

import statistics
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from race.measure import batch_of, batch_s, timed, turns

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from race.data import Workload
    from race.options import Options
    from race.peers.contract import Built, Setting, Variant

__all__ = ["Machine", "measure_scaling"]

_BATCH: Final = 1000
_STREAM_BYTES: Final = 256 << 20
_PRODUCT: Final = 256
_PRODUCTS: Final = 200
_PASSES: Final = 3


class Machine:
    """Work that nothing bounds but arithmetic, or reading memory; split over threads, BLAS on one thread each."""

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        self._small = random.standard_normal((_PRODUCT, _PRODUCT), dtype=np.float32)
        self._stream: NDArray[np.float32] = np.ones(_STREAM_BYTES // 4, dtype=np.float32)

    def arithmetic_s(self, threads: int) -> float:
        """Seconds of matrix products that stay in the first levels of cache."""

        def work(share: int) -> None:
            out = np.empty_like(self._small)
            for _ in range(_PRODUCTS // share):
                np.matmul(self._small, self._small, out=out)

        return _split(work, threads)

    def memory_s(self, threads: int) -> float:
        """Seconds to read far more than the second level of cache holds, adding up squares on the way."""
        parts = np.array_split(self._stream, threads)

        def work(share: int) -> None:
            del share
            part = parts.pop()
            for _ in range(_PASSES):
                np.dot(part, part)

        return _split(work, threads)

    @property
    def stream_bytes(self) -> int:
        """Bytes that :meth:`memory_s` reads."""
        return self._stream.nbytes * _PASSES


def _split(work: Callable[[int], None], threads: int) -> float:
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda _: None, range(threads)))  # threads exist before the clock starts
        return timed(lambda: list(pool.map(work, [threads] * threads)))[1]


def measure_scaling(
    variant: Variant, built: Built, setting: Setting, workload: Workload, options: Options
) -> dict[str, Any]:
    """Time an index on one and on two threads, the machine's resources between its turns."""
    machine, batch = Machine(), batch_of(workload.queries, _BATCH)

    def search_on(threads: int) -> float:
        return batch_s(built.use(setting, options.k, threads), batch)

    def build_on(threads: int) -> float:
        again, took = timed(lambda: variant.build(workload, threads))
        again.close()
        return took

    tasks: dict[str, tuple[Callable[[int], float], int]] = {
        "arithmetic": (machine.arithmetic_s, options.rounds),
        "memory": (machine.memory_s, options.rounds),
        "batch": (search_on, options.rounds),
        "build": (build_on, options.build_rounds),
    }
    seconds: dict[str, dict[int, list[float]]] = {name: {1: [], 2: []} for name in tasks}
    for work, _ in tasks.values():
        if work is not build_on:
            work(1)  # pages are touched and pools are made before the first round
    for name, threads in turns([(name, threads) for name in tasks for threads in (1, 2)], options.rounds):
        work, rounds = tasks[name]
        if len(seconds[name][threads]) < rounds:
            seconds[name][threads].append(work(threads))
    gains = {name: statistics.median(each[1]) / statistics.median(each[2]) for name, each in seconds.items()}
    return {
        "index": variant.label,
        "setting": dict(setting),
        "seconds": {
            name: {str(threads): took for threads, took in each.items()} for name, each in seconds.items()
        },
        "gain": gains,
        "memory_gb_s": machine.stream_bytes / statistics.median(seconds["memory"][1]) / 1e9,
    }
