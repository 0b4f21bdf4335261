"""Calls services from coroutines: whatever may wait for a lock or a disk runs in a thread."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from vdb_server.state import embedding_threads_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from vdb_core.engine.jobs import Job

__all__ = ["embedding", "finished", "in_thread"]

T = TypeVar("T")
P = ParamSpec("P")


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a call that reads: it may wait for a library to be loaded or for a writer."""
    return await asyncio.to_thread(function, *args, **kwargs)


async def embedding(request: Request, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a call that may embed texts, or open the model that does."""
    loop = asyncio.get_running_loop()
    # As `to_thread`: what the caller's context holds, such as the id of the request, holds in the thread too.
    call = partial(copy_context().run, function, *args, **kwargs)
    return await loop.run_in_executor(embedding_threads_of(request), call)


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
