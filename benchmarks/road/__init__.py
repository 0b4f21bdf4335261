"""The whole way of a request, over HTTP and embedded: vdb beside Chroma's server and bare FastAPI routes, in one run.

::

    program ─▶ work            rows and queries (of race.data), what lies beside them, bodies ready to be sent
       ├─────▶ searches        contenders' servers side by side, wrk in interleaved rounds
       │          └─▶ contenders/*   start, fill, and the cheapest setting that reaches the recall
       ├─────▶ ingest          durable writes, JSON and .npy
       ├─────▶ stall           fast searches alone and beside a slow one
       ├─────▶ embedded        vdb_sdk.connect() beside the bare index
       └─────▶ goals, table    read the results' JSON and nothing else

    servers, client, wrk       processes, HTTP, load
"""

from __future__ import annotations

__all__: list[str] = []
