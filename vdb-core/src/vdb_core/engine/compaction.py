"""Compaction: the live rows of a view in one block, in their order.

What can be copied as a whole array is; records stay where they are until they are written. Python objects are made
for the rows of one segment at a time at most: the allocator would keep what many of them took.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from vdb_core.engine.blocks import Block
from vdb_core.engine.chunk_ids import PackedIdsMaker
from vdb_core.engine.records import RecordFile, RecordSelection
from vdb_core.errors import BuildCancelled
from vdb_core.filters import MetadataIndex
from vdb_core.indexes import bitmap

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vdb_core.engine.jobs import Job
    from vdb_core.engine.state import View

__all__ = ["compact"]

_COPY_ROWS: Final = 8_192


def compact(job: Job, view: View, *, in_memory: bool) -> Block | None:
    """Copy the live rows of a view into one block; none where there are no live rows.

    Args:
        job: is told how far it is, and asked whether to stop.
        view: its blocks take no more rows.
        in_memory: whether records need a place of their own because nothing is written to disk.

    Raises:
        BuildCancelled: the job was cancelled.
    """
    live = view.live
    if live == 0:
        return None
    vectors = np.empty((live, view.info["dimension"] or 0), dtype=np.float32)
    norms = np.empty(live, dtype=np.float64) if view.info["metric"] == "cosine" else None
    ids = np.empty(live, dtype=np.int64)
    names = PackedIdsMaker()
    at = 0
    chosen: list[tuple[Block, NDArray[np.int64]]] = []
    for part in view.parts:
        slots = bitmap.to_slots(part.alive)
        chosen.append((part.block, slots))
        part.block.name_rows(slots, names)
        for begin in range(0, len(slots), _COPY_ROWS):
            some = slots[begin : begin + _COPY_ROWS]
            to = slice(at, at + len(some))
            # Not `raise`, which takes them to a place of their own first: all of these slots are there.
            _ = part.block.vectors.take(some, axis=0, out=vectors[to], mode="clip")
            if norms is not None and part.block.norms is not None:
                norms[to] = part.block.norms[some]
            ids[to] = part.block.ids[some]
            at = to.stop
            job.report("compact", 0, live)
            if job.cancelled():
                raise BuildCancelled("The job was cancelled.")
    metadata = MetadataIndex.merged([(block.whole_metadata(), slots) for block, slots in chosen])
    selection = RecordSelection([(block.records, slots) for block, slots in chosen])
    return Block(
        vectors=vectors,
        norms=norms,
        ids=ids,
        names=names.make(),
        records=RecordFile.of(selection) if in_memory else selection,
        metadata=metadata,
        rows=live,
    )
