"""vdb's indexes and their peers side by side: same data, same threads, interleaved rounds, ratios at equal recall.

::

    program ─▶ data, truth          rows, queries, the exact answer
       │ ├───▶ contest ─▶ peers/*   builds each contestant, sweeps it, races the finalists
       │ │        ├─────▶ sweep     smallest setting that reaches a recall
       │ │        ├─────▶ choose    who meets whom at equal recall
       │ │        └─────▶ measure   clocks, rounds, peak memory
       │ ├───▶ filtered, scaling    lines that compare an index with itself
       │ └───▶ machine              what it ran on
       └─────▶ table, plots         read the results' JSON and nothing else
"""

from __future__ import annotations

__all__: list[str] = []
