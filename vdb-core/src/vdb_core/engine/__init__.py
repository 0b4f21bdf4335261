"""The engine: libraries as a base and a delta, one committer, exact plans, and builds beside the traffic.

::

    committer ── journals, then publishes ──▶ LibraryState
                                               ├── blocks[0]      the base: rows under the current index
                                               ├── blocks[1:]     the delta: fixed segments, searched exactly
                                               ├── documents
                                               └── chunk ids ──▶ internal ids (ascending; a slot by bisection)
    builder   ── immutable view ──▶ new base, saved, loaded, swapped in by the committer

Only the engine holds an index. Everything above it talks to ``vdb_core.services``.
"""
