"""The benchmark's command: pins every library to the stated number of threads, then runs what the options ask for."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from race.options import parse

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

# Each of these libraries reads its variable once, when it is loaded.
THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    options = parse(arguments)
    for name in THREADS:
        os.environ[name] = str(options.threads)
    from race.program import run  # loads NumPy, and so its BLAS

    return run(options)


if __name__ == "__main__":
    sys.exit(main())
