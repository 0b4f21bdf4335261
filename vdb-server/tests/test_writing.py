"""Writes that are joined: every byte arrives, in order, and nothing waits for what does not come."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from vdb_server.cli.writing import JoinedWrites


class Recorder:
    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.closed_after: int | None = None

    def write(self, data: bytes) -> None:
        assert data, "an empty write"
        assert self.closed_after is None, "a write behind the end"
        self.writes.append(data)

    def close(self) -> None:
        self.closed_after = len(self.writes)

    def is_closing(self) -> bool:
        return self.closed_after is not None


def played(steps: list[bytes | None], *, close: bool) -> tuple[Recorder, Any]:
    """Write the steps; ``None`` lets the event loop turn."""
    recorder = Recorder()

    async def play() -> Any:
        joined = JoinedWrites(recorder, asyncio.get_running_loop())  # type: ignore[arg-type]
        for step in steps:
            if step is None:
                await asyncio.sleep(0)
            else:
                joined.write(step)
        if close:
            joined.close()
        await asyncio.sleep(0)
        return joined

    return recorder, asyncio.run(play())


@given(st.lists(st.none() | st.binary(max_size=3), max_size=12), st.booleans())
def test_every_byte_arrives_in_order(steps: list[bytes | None], close: bool) -> None:
    recorder, joined = played(steps, close=close)
    assert b"".join(recorder.writes) == b"".join(step for step in steps if step)
    assert joined.is_closing() is close


def test_head_and_body_are_one_write() -> None:
    assert played([b"head", b"body", None, b"head", b"body"], close=False)[0].writes == [
        b"headbody",
        b"headbody",
    ]


def test_what_stays_alone_is_written_when_the_loop_turns() -> None:
    assert played([b"head", None], close=False)[0].writes == [b"head"]
    assert played([b"head"], close=True)[0].writes == [b"head"]
