"""The command of the road benchmark: whole requests, over HTTP and embedded."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from road.options import parse

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    options = parse(arguments)
    # FAISS and NumPy of this process; the servers have their own settings.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        _ = os.environ.setdefault(name, "1")
    from road.program import run  # loads NumPy, and so its BLAS

    return run(options)


if __name__ == "__main__":
    sys.exit(main())
