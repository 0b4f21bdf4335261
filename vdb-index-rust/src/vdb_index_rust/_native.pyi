from collections.abc import Callable
from typing import TypedDict, final

import numpy as np
from numpy.typing import NDArray

class _Stats(TypedDict):
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
    ) -> tuple[NDArray[np.uint32], NDArray[np.float32]]: ...
    def stats(self) -> _Stats: ...
    def close(self) -> None: ...

def build_brute(
    vectors: NDArray[np.float32],
    metric: str,
    threads: int,
    progress: Callable[[str, int, int], None],
    cancelled: Callable[[], bool],
) -> Index: ...
def load_brute(vectors: NDArray[np.float32], metric: str) -> Index: ...
def instruction_set() -> str: ...
def panic_on_purpose() -> None: ...
