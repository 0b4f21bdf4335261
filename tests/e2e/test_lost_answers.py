"""A connection that breaks after the server has written, before it has answered: the client asks again, once is done."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Self

from command_kit import serving

import vdb_sdk

if TYPE_CHECKING:
    from pathlib import Path


class LosesAnswers:
    """Stands between a client and a server, and hangs up in place of every other answer to a write."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writes = 0
        self.lost = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with (
            contextlib.suppress(OSError),
            client,
            socket.create_connection(("127.0.0.1", self._port)) as server,
        ):
            while True:
                request = self._message(client)
                if not request:
                    return
                server.sendall(request)
                answer = self._message(server)
                if not request.startswith(b"GET"):
                    self._writes += 1
                    if self._writes % 2:
                        self.lost += 1
                        return
                client.sendall(answer)

    @staticmethod
    def _message(source: socket.socket) -> bytes:
        """A head and the content whose length it tells."""
        data = b""
        while b"\r\n\r\n" not in data:
            piece = source.recv(65536)
            if not piece:
                return b""
            data += piece
        head, _, content = data.partition(b"\r\n\r\n")
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        while len(content) < length:
            piece = source.recv(65536)
            data, content = data + piece, content + piece
        return data

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()


def test_what_was_answered_into_a_broken_connection_is_done_once(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as server, LosesAnswers(int(server.url.rpartition(":")[2])) as between:
        with vdb_sdk.connect(between.url, retries=vdb_sdk.RetryPolicy(retries=3, first_delay=0.01)) as client:
            library = client.create_library("Once")
            assert [one.id for one in client.libraries()] == [library.id]
            library.create_document("book")
            ids = {library.add(embedding=[1.0, n], document_id="book").id for n in range(3)}
            result = library.upsert([{"embedding": [2.0, n]} for n in range(3)])
            assert library.upsert(embeddings=[[3.0, 1.0], [3.0, 2.0]]).created == 2
            patched = library.patch(min(ids), text="changed")
            assert library.patch(min(ids), text="again", if_match=patched.revision).text == "again"
            assert library.delete(list(result.ids)).deleted == 3
            # A write a call, none twice: the library's revision counts them.
            assert (library.info().chunks, library.info().revision) == (5, 1 + 1 + 3 + 2 + 2 + 1)
            library.drop()
            assert list(client.libraries()) == []
        lost = between.lost
        assert lost >= 10

        async def likewise() -> None:
            policy = vdb_sdk.RetryPolicy(retries=3, first_delay=0.01)
            async with vdb_sdk.connect_async(between.url, retries=policy) as client:
                library = await client.create_library("Once")
                await library.add(embedding=[1.0, 2.0])
                await library.add(embedding=[1.0, 3.0])
                assert (await library.info()).revision == 3
                await library.drop()

        asyncio.run(likewise())
        assert between.lost >= lost + 4
