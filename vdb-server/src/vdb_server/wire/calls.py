"""Calls services from coroutines: whatever may wait for a lock or a disk runs in a thread."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from vdb_core.engine.jobs import Job

__all__ = ["commit", "finished", "in_thread"]

T = TypeVar("T")
P = ParamSpec("P")


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a call that reads: it may wait for a library to be loaded or for a writer."""
    return await asyncio.to_thread(function, *args, **kwargs)


async def commit(function: Callable[P, Future[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a call that writes, and wait until what it wrote is durable."""
    future = await asyncio.to_thread(function, *args, **kwargs)
    # A caller who goes away does not take the write back: it is in the queue.
    return await asyncio.shield(asyncio.wrap_future(future))


async def finished(job: Job) -> None:
    """Wait until a job has ended."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def notify(_: Job) -> None:
        try:
            loop.call_soon_threadsafe(done.set)
        except RuntimeError:
            # The loop is closed: nobody waits any more.
            return

    job.add_done_callback(notify)
    await done.wait()
