"""An answer that is written as a whole has the bytes that uvicorn makes of the messages, and leaves a connection as it was."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from vdb_core.services import EngineSettings, open_services
from vdb_server.app import create_app
from vdb_server.cli import writing
from vdb_server.settings import Settings

L = "/v1/libraries/lib"


class Wire(asyncio.Transport):
    """Keeps what is written, also where it should not be."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("127.0.0.1", 7), "sockname": ("127.0.0.1", 8000)}.get(name, default)

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


def request(path: str, body: bytes, *, head: str = "", version: str = "1.1") -> bytes:
    return (
        f"POST {path} HTTP/{version}\r\nHost: 127.0.0.1:8000\r\nContent-Type: application/json\r\n"
        f"X-Request-ID: one\r\n{head}Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def exchange(pieces: list[bytes], *, answers: int, gone: bool = False) -> tuple[list[bytes], bool]:
    """Send pieces over one connection; gives what was written, one item a write, and whether the server hung up."""

    async def talk() -> tuple[list[bytes], bool]:
        with open_services(EngineSettings(data_dir=None)) as services:
            services.libraries.create({"id": "lib", "name": "lib", "dimension": 2}).result()
            services.libraries.upsert_chunks("lib", [{"id": "a", "embedding": [3, 4]}]).result()
            config = uvicorn.Config(
                create_app(Settings(), services),
                http=writing.Protocol,
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
            )
            config.load()
            life = config.lifespan_class(config)
            await life.startup()
            state = ServerState()
            state.default_headers = [(b"date", b"today")]
            wire = Wire()
            protocol = writing.Protocol(config, state, life.state)
            protocol.connection_made(wire)
            if gone:
                found = services.queries.search_text

                def leaving(*args: Any, **more: Any) -> Any:
                    protocol.connection_lost(None)
                    return found(*args, **more)

                services.queries.search_text = leaving  # type: ignore[method-assign]
            for piece in pieces:
                protocol.data_received(piece)
            for _ in range(4000):
                if b"".join(wire.writes).count(b"HTTP/1.1 ") >= answers and not state.tasks:
                    break
                await asyncio.sleep(0.005)
            await life.shutdown()
            return wire.writes, wire.closed

    writes, closed = asyncio.run(talk())
    return [re.sub(rb'"took_ms":[0-9.e-]+', b'"took_ms":0.12', write) for write in writes], closed


def with_length(answer: bytes) -> bytes:
    """The answer without the digits that stand for its length, which differs with ``took_ms``."""
    return re.sub(rb"content-length: [0-9]+", b"content-length: n", answer)


PLAIN = b'{"embedding":[1,2]}'
REQUESTS = {
    "a search": ([request(f"{L}/search", PLAIN)], 1),
    "a batch": ([request(f"{L}/search/batch", b'{"queries":[%b,%b]}' % (PLAIN, PLAIN))], 1),
    "an upsert": ([request(f"{L}/chunks/upsert", b'{"chunks":[{"id":"b","embedding":[1,2]}]}')], 1),
    "a body in two pieces": ([request(f"{L}/search", PLAIN)[:-4], PLAIN[-4:]], 1),
    "one that is refused": ([request(f"{L}/search", b'{"embedding":[1,2,3]}')], 1),
    "no such library": ([request("/v1/libraries/none/search", PLAIN)], 1),
    "the last of a connection": ([request(f"{L}/search", PLAIN, head="Connection: close\r\n")], 1),
    "HTTP/1.0": ([request(f"{L}/search", PLAIN, version="1.0")], 1),
    "several at once": ([3 * request(f"{L}/search", PLAIN) + request("/healthz", b"")], 4),
    "one after another": ([request(f"{L}/search", PLAIN), request(f"{L}/search", b"{")], 2),
}


@pytest.mark.parametrize("which", REQUESTS, ids=str)
def test_it_has_the_bytes_of_the_messages(which: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pieces, answers = REQUESTS[which]
    whole, closed = exchange(pieces, answers=answers)
    monkeypatch.setattr(writing, "_write_whole", lambda *_: False)
    messages, closed_there = exchange(pieces, answers=answers)
    assert b"".join(whole).count(b"HTTP/1.1 ") == answers
    assert with_length(b"".join(whole)) == with_length(b"".join(messages))
    assert closed is closed_there


def test_it_is_one_write() -> None:
    writes, closed = exchange(REQUESTS["a search"][0], answers=1)
    assert len(writes) == 1
    assert not closed
    head, _, body = writes[0].partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\ndate: today\r\n")
    assert b"x-request-id: one" in head
    assert b"content-security-policy: " in head
    assert body.startswith(b'{"hits":[{"id":"a"')


def test_nothing_is_written_to_who_has_gone() -> None:
    assert exchange(REQUESTS["a search"][0], answers=0, gone=True)[0] == []
