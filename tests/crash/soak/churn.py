"""One round of a soak: libraries come, are filled, searched, built, misused, and go; what is left is what was before."""

from __future__ import annotations

import http.client
import io
import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np
import orjson
from history.http_side import Connection
from history.operations import (
    CreateDocument,
    DeleteDocument,
    DeleteMatching,
    ExportLibrary,
    ListChunks,
    NewRow,
    Search,
    Upsert,
)

if TYPE_CHECKING:
    from history.events import Reply
    from history.operations import Read, Write

__all__ = ["Churn"]

_METRICS = ("cosine", "dot", "l2")
_TYPES = ("ivf_flat", "ivf_pq", "brute")


class Churn:
    """One client. Every round does the same with other numbers, so that it needs as much memory as the one before."""

    def __init__(self, url: str, number: int, *, rows: int, dimension: int) -> None:
        self._url = url
        self._number = number
        self._rows = rows
        self._dimension = dimension
        self._random = np.random.default_rng(number)
        self._connection = Connection(url)
        self._round = 0

    def close(self) -> None:
        """Close its connection."""
        self._connection.close()

    @property
    def requests(self) -> int:
        """How many it has sent, those it hung up on left out."""
        return self._connection.requests

    def round(self) -> None:
        """Do everything once."""
        self._round += 1
        turn = self._number + self._round
        library = f"churn{self._number}-{self._round}"
        body = {"id": library, "name": library, "metric": _METRICS[turn % 3], "dimension": self._dimension}
        self._expect(201, "POST", "/v1/libraries", body)
        self._fill(library)
        self._expect(200, "POST", f"/v1/libraries/{library}/index", {"type": _TYPES[turn % 3], "wait": True})
        self._search(library)
        self._overwrite_the_lasting()
        self._misuse(library)
        self._leave_early(library)
        self._ask(library, ExportLibrary())
        self._ask(library, DeleteMatching(filter={"lang": "de"}))
        self._ask(library, DeleteDocument(id="book"))
        self._expect(200, "POST", f"/v1/libraries/{library}/snapshot", {"wait": True})
        self._expect(204, "DELETE", f"/v1/libraries/{library}")
        self._expect(404, "GET", f"/v1/libraries/{library}")
        for path in ("/metrics", "/readyz", "/v1/libraries"):
            self._connection.request("GET", path)

    def _fill(self, library: str) -> None:
        self._ask(library, CreateDocument(id="book", metadata={"kind": "book"}))
        half = self._rows // 2
        for begin, bulk in ((0, True), (half, False)):
            rows = tuple(
                NewRow(
                    id=f"c{begin + at}",
                    vector=vector,
                    text=f"{library} {begin + at}",
                    metadata={
                        "lang": ("en", "de", "fr")[at % 3],
                        "year": 2000 + at % 25,
                        "own": f"{library}-{at}",
                    },
                    document_id="book" if at % 2 else None,
                )
                for at, vector in enumerate(self._vectors(half if bulk else self._rows - half))
            )
            self._ask(library, Upsert(rows=rows, bulk=bulk))

    def _vectors(self, count: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        return self._random.standard_normal((count, self._dimension)).astype(np.float32)

    def _search(self, library: str) -> None:
        for wanted in (None, {"lang": "en"}, {"year": {"$gte": 2010}, "own": f"{library}-7"}):
            self._ask(library, Search(queries=(self._vectors(1)[0],), k=10, filter=wanted))
        self._ask(library, Search(queries=tuple(self._vectors(8)), k=10))
        matrix = io.BytesIO()
        np.save(matrix, self._vectors(16), allow_pickle=False)
        path = f"/v1/libraries/{library}/search/batch?k=5"
        status, content = self._connection.request(
            "POST", path, matrix.getvalue(), {"content-type": "application/x-npy"}
        )
        if status != 200:
            raise AssertionError(f"{path} was answered {status}: {content[:500]!r}")
        self._ask(library, ListChunks(limit=100))

    def _overwrite_the_lasting(self) -> None:
        """A library that stays: its rows are written again and again, so that it is folded now and then."""
        lasting = f"lasting{self._number}"
        status, _ = self._connection.request("GET", f"/v1/libraries/{lasting}")
        fresh = status == 404
        if fresh:
            self._expect(
                201, "POST", "/v1/libraries", {"id": lasting, "name": lasting, "dimension": self._dimension}
            )
        rows = tuple(
            NewRow(id=f"c{at}", vector=vector, text=f"{self._round} {at}", metadata={"at": at})
            for at, vector in enumerate(self._vectors(200))
        )
        self._ask(lasting, Upsert(rows=rows, bulk=True))
        if fresh:
            # What it holds from its first fold on, it holds from the beginning.
            self._expect(200, "POST", f"/v1/libraries/{lasting}/index", {"wait": True})
        self._ask(lasting, Search(queries=(self._vectors(1)[0],), k=10))

    def _misuse(self, library: str) -> None:
        """Every kind of error that a client can make."""
        base = f"/v1/libraries/{library}"
        zeros = [0.0] * (self._dimension + 1)
        for status, method, path, body in (
            (422, "POST", f"{base}/chunks/upsert", {"chunks": [{"id": "bad", "embedding": zeros}]}),
            (422, "POST", f"{base}/search", {"embedding": zeros[1:], "k": 0, f"unknown{self._round}": 1}),
            (422, "POST", f"{base}/chunks/delete", {}),
            (404, "GET", f"{base}/chunks/absent-{self._round}", None),
            (404, "GET", f"/v1/nowhere/{self._round}", None),
            (404, "POST", f"/v1/libraries/absent-{self._round}/search", {"embedding": [1.0]}),
            (409, "POST", "/v1/libraries", {"id": library.upper(), "name": "taken"}),
            (422, "POST", f"{base}/index", {"type": f"unknown{self._round}"}),
        ):
            self._expect(status, method, path, body)
        headers = {"content-type": "application/json"}
        status, _ = self._connection.request("POST", f"{base}/search", b'{"embedding": [', headers)
        if status != 400:
            raise AssertionError(f"half a JSON was answered {status}")

    def _leave_early(self, library: str) -> None:
        """Hang up in the middle of a request, of an answer, and of a wait."""
        parts = urlsplit(self._url)
        address = (parts.hostname or "", parts.port or 0)
        host = f"Host: {parts.netloc}\r\n".encode()
        with socket.create_connection(address) as half:
            head = f"POST /v1/libraries/{library}/chunks/upsert HTTP/1.1\r\n".encode() + host
            half.sendall(
                head + b'Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n{"chunks": ['
            )
        with socket.create_connection(address) as deaf:
            deaf.sendall(f"GET /v1/libraries/{library}/export HTTP/1.1\r\n".encode() + host + b"\r\n")
            deaf.recv(100)
        impatient = http.client.HTTPConnection(*address)
        lists = 8 + self._round % 8
        body = orjson.dumps({"type": "ivf_flat", "params": {"n_lists": lists}, "wait": True})
        impatient.request(
            "POST", f"/v1/libraries/{library}/index", body, {"content-type": "application/json"}
        )
        impatient.close()
        # What it started goes on; the next build would be a 409.
        for _ in range(2_000):
            _, index = self._connection.json("GET", f"/v1/libraries/{library}/index")
            if index["job_id"] is None and index["params"].get("n_lists") == lists:
                return
        raise AssertionError(f"{library} is not built as was asked: {index}")

    def _ask(self, library: str, operation: Read | Write) -> Reply:
        reply = self._connection.send(library, operation)
        if reply.outcome != "ok":
            raise AssertionError(f"{library}: {operation} was answered {reply}")
        return reply

    def _expect(self, status: int, method: str, path: str, body: object = None) -> None:
        told, answer = self._connection.json(method, path, body)
        if told != status:
            raise AssertionError(f"{method} {path} was answered {told}; expected {status}: {answer}")
