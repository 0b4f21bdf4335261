"""Waiting, sync and async, under names that the generator of the sync client can swap."""

from __future__ import annotations

import time

__all__ = ["async_sleep", "sleep"]


async def async_sleep(seconds: float) -> None:
    """Let other tasks run for so long."""
    import asyncio  # costs 30 ms, which those who use the sync client alone need not pay

    await asyncio.sleep(seconds)


def sleep(seconds: float) -> None:
    """Block this thread for so long."""
    time.sleep(seconds)
