# Types of the native module; a test compares them with what it offers.

from collections.abc import Callable
from os import PathLike
from typing import TypedDict, final

import numpy as np
from numpy.typing import NDArray

class Stats(TypedDict):
    rows: int
    bytes: dict[str, int]
    details: dict[str, str | int | float | bool | None]

@final
class Index:
    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        allowed: NDArray[np.uint64] | None,
        threads: int,
        n_probes: int | None = None,
        rerank: int | None = None,
    ) -> tuple[NDArray[np.uint32], NDArray[np.float32]]: ...
    def stats(self) -> Stats: ...
    def save(self, directory: str | PathLike[str]) -> None: ...
    def close(self) -> None: ...

def build_brute(
    vectors: NDArray[np.float32],
    metric: str,
    threads: int,
    progress: Callable[[str, int, int], None],
    cancelled: Callable[[], bool],
    *,
    codes: bool,
) -> Index: ...
def build_ivf_flat(
    vectors: NDArray[np.float32],
    metric: str,
    threads: int,
    progress: Callable[[str, int, int], None],
    cancelled: Callable[[], bool],
    *,
    n_lists: int | None,
    codes: bool,
    seed: int,
) -> Index: ...
def build_ivf_pq(
    vectors: NDArray[np.float32],
    metric: str,
    threads: int,
    progress: Callable[[str, int, int], None],
    cancelled: Callable[[], bool],
    *,
    n_lists: int | None,
    n_subvectors: int | None,
    n_bits: int | None,
    codes: bool,
    seed: int,
) -> Index: ...
def load_brute(vectors: NDArray[np.float32], metric: str, *, codes: bool) -> Index: ...
def load_ivf_flat(
    directory: str | PathLike[str], vectors: NDArray[np.float32], metric: str, *, codes: bool
) -> Index: ...
def load_ivf_pq(
    directory: str | PathLike[str], vectors: NDArray[np.float32], metric: str, *, codes: bool
) -> Index: ...
def query_row(row: object, dimension: int, metric: str) -> NDArray[np.float32] | None: ...
def read_row(text: bytes, dimension: int, metric: str) -> NDArray[np.float32] | None: ...
def nearest(
    query: NDArray[np.float32],
    vectors: NDArray[np.float32],
    slots: NDArray[np.uint32],
    allowed: NDArray[np.uint64] | None,
    metric: str,
    want: int,
) -> tuple[list[int], list[float]]: ...
def hits(
    records: list[bytes], scores: bytes, distances: bytes, text: bool, metadata: bool
) -> bytes | None: ...
def instruction_set() -> str: ...
def default_n_lists(rows: int) -> int: ...
def default_n_subvectors(dimension: int, n_bits: int) -> int: ...
def panic_on_purpose() -> None: ...
