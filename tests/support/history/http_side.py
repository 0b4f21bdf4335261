"""Asks a server over HTTP with nothing between: one connection a client, no retries, so that no answer is ambiguous."""

from __future__ import annotations

import hashlib
import http.client
import io
import tarfile
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

import numpy as np
import orjson

from history.events import Reply
from history.operations import (
    CreateChunk,
    CreateDocument,
    DeleteChunk,
    DeleteChunks,
    DeleteDocument,
    DeleteMatching,
    ExportLibrary,
    GetChunk,
    GetDocument,
    GetLibrary,
    ListChunks,
    ListDocuments,
    PatchChunk,
    PatchDocument,
    PatchLibrary,
    Search,
    Upsert,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Self

    from numpy.typing import NDArray

    from history.operations import NewRow, Read, Write

__all__ = ["Connection", "Failure", "ServerFailed"]

_BOUNDARY = "vdb-history-boundary"


class Failure(Exception):
    """No answer came. ``sent`` is false where the request cannot have reached the server."""

    def __init__(self, *, sent: bool) -> None:
        super().__init__("no answer")
        self.sent = sent


class ServerFailed(AssertionError):
    """The server answered with an error of its own, which nothing here may cause."""


class Connection:
    """One connection to a server. Used by one thread."""

    def __init__(self, url: str, *, timeout: float = 60.0) -> None:
        parts = urlsplit(url)
        self._http = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
        self.requests = 0
        """How many were sent."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it."""
        self._http.close()

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Send a request and read the whole answer; raises ``Failure`` where none came."""
        if self._http.sock is None:
            try:
                self._http.connect()
            except OSError as error:
                raise Failure(sent=False) from error
        self.requests += 1
        try:
            self._http.request(method, path, body, headers or {})
            answer = self._http.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._http.close()
            raise Failure(sent=True) from error

    def json(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        """Send JSON, or nothing, and read JSON."""
        given = dict(headers or {})
        raw = None
        if body is not None:
            raw = orjson.dumps(body)
            given["content-type"] = "application/json"
        status, content = self.request(method, path, raw, given)
        return status, orjson.loads(content) if content else None

    def send(self, library_id: str, operation: Read | Write) -> Reply:
        """Ask a library; raises ``ServerFailed`` where the server says that it failed."""
        try:
            status, value, shape = self._ask(f"/v1/libraries/{quote(library_id, safe='')}", operation)
        except Failure as failure:
            return Reply("unknown" if failure.sent else "unsent")
        if status < 400:
            return Reply("ok", shape(value))
        if status == 503:
            return Reply("refused", value["code"])
        if status >= 500 or status == 422:
            raise ServerFailed(f"{operation} was answered {status}: {value}")
        return Reply("refused", value["code"])

    def _ask(  # noqa: C901 - one case an operation
        self, base: str, operation: Read | Write
    ) -> tuple[int, Any, Callable[[Any], object]]:
        match operation:
            case Upsert():
                return *self._upsert(base, operation), _upserted
            case CreateChunk():
                return *self.json("POST", f"{base}/chunks", row_body(operation.row)), chunk_of
            case PatchChunk():
                body: dict[str, object] = {"metadata": operation.metadata}
                if operation.text is not None:
                    body["text"] = operation.text
                if operation.vector is not None:
                    body["embedding"] = operation.vector.tolist()
                headers = {} if operation.if_match is None else {"if-match": f'"{operation.if_match}"'}
                return *self.json("PATCH", f"{base}/chunks/{_id(operation.id)}", body, headers), chunk_of
            case DeleteChunk():
                return *self.json("DELETE", f"{base}/chunks/{_id(operation.id)}"), _deleted
            case DeleteChunks():
                return *self.json("POST", f"{base}/chunks/delete", {"ids": list(operation.ids)}), _deleted
            case DeleteMatching():
                return *self.json("POST", f"{base}/chunks/delete", {"filter": operation.filter}), _deleted
            case CreateDocument():
                body = {"id": operation.id, "metadata": operation.metadata}
                return *self.json("POST", f"{base}/documents", body), document_of
            case PatchDocument():
                body = {"metadata": operation.metadata}
                return *self.json("PATCH", f"{base}/documents/{_id(operation.id)}", body), document_of
            case DeleteDocument():
                return *self.json("DELETE", f"{base}/documents/{_id(operation.id)}"), _deleted
            case PatchLibrary():
                body = {"name": operation.name, "metadata": operation.metadata}
                return *self.json("PATCH", base, body), library_of
            case GetChunk():
                return *self.json("GET", f"{base}/chunks/{_id(operation.id)}"), chunk_of
            case GetDocument():
                return *self.json("GET", f"{base}/documents/{_id(operation.id)}"), document_of
            case GetLibrary():
                return *self.json("GET", base), library_of
            case ListChunks():
                query: dict[str, object] = {"limit": operation.limit, "include": "embedding"}
                if operation.cursor is not None:
                    query["cursor"] = operation.cursor
                if operation.filter is not None:
                    query["filter"] = orjson.dumps(operation.filter).decode()
                return *self.json("GET", f"{base}/chunks?{urlencode(query)}"), _page_of(chunk_of)
            case ListDocuments():
                query = {"limit": operation.limit}
                if operation.cursor is not None:
                    query["cursor"] = operation.cursor
                return *self.json("GET", f"{base}/documents?{urlencode(query)}"), _page_of(document_of)
            case Search():
                return self._search(base, operation)
            case ExportLibrary():
                status, content = self.request("GET", f"{base}/export")
                return (
                    (status, content, _export_of)
                    if status == 200
                    else (status, orjson.loads(content), _export_of)
                )

    def _upsert(self, base: str, operation: Upsert) -> tuple[int, Any]:
        if not operation.bulk:
            body = {
                "chunks": [row_body(row) for row in operation.rows],
                "create_documents": operation.create_documents,
            }
            return self.json("POST", f"{base}/chunks/upsert", body)
        matrix = io.BytesIO()
        np.save(matrix, np.stack([row.vector for row in operation.rows]), allow_pickle=False)
        lines = b"\n".join(orjson.dumps(row_body(row, embedding=False)) for row in operation.rows)
        pieces = [
            part
            for name, content in (("vectors", matrix.getvalue()), ("chunks", lines))
            for part in (
                f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n\r\n'.encode(),
                content,
                b"\r\n",
            )
        ]
        flag = "true" if operation.create_documents else "false"
        status, content = self.request(
            "POST",
            f"{base}/chunks/bulk?create_documents={flag}",
            b"".join([*pieces, f"--{_BOUNDARY}--\r\n".encode()]),
            {"content-type": f"multipart/form-data; boundary={_BOUNDARY}"},
        )
        return status, orjson.loads(content)

    def _search(self, base: str, operation: Search) -> tuple[int, Any, Callable[[Any], object]]:
        bodies = [
            {
                "embedding": query.tolist(),
                "k": operation.k,
                **({} if operation.filter is None else {"filter": operation.filter}),
            }
            for query in operation.queries
        ]
        if len(bodies) == 1:
            return *self.json("POST", f"{base}/search", bodies[0]), lambda body: [answer_of(body)]
        return (
            *self.json("POST", f"{base}/search/batch", {"queries": bodies}),
            lambda body: [answer_of(one) for one in body["results"]],
        )


def row_body(row: NewRow, *, embedding: bool = True) -> dict[str, object]:
    """The body of a chunk."""
    body: dict[str, object] = {"id": row.id, "text": row.text, "metadata": row.metadata}
    if row.document_id is not None:
        body["document_id"] = row.document_id
    if embedding:
        body["embedding"] = row.vector.tolist()
    return body


def chunk_of(body: Mapping[str, Any]) -> dict[str, object]:
    """What the model compares of a chunk: the embedding as the bits of its float32 numbers."""
    fields: dict[str, object] = {
        name: body[name] for name in ("id", "document_id", "text", "metadata", "revision")
    }
    return {**fields, "embedding": np.asarray(body["embedding"], dtype=np.float32).tobytes()}


def document_of(body: Mapping[str, Any]) -> dict[str, object]:
    """What the model compares of a document."""
    return {name: body[name] for name in ("id", "metadata", "revision")}


def library_of(body: Mapping[str, Any]) -> dict[str, object]:
    """What the model compares of a library."""
    return {name: body[name] for name in ("name", "metadata", "revision", "chunks", "documents")}


def answer_of(body: Mapping[str, Any]) -> dict[str, object]:
    """What the model compares of a search."""
    return {
        "hits": list(body["hits"]),
        "exact": body["index"]["exact"],
        "revision": body["revision"],
        "warnings": list(body["warnings"]),
    }


def export_of(
    library: Mapping[str, Any],
    documents: list[dict[str, Any]],
    chunks: list[dict[str, Any]],
    vectors: NDArray[np.float32],
    norms: NDArray[np.float64] | None,
    row_ids: NDArray[np.int64],
) -> dict[str, object]:
    """What the model compares of an export: embeddings in the scale in which a reader gets them."""
    lengths = {len(chunks), len(vectors), len(row_ids), len(chunks) if norms is None else len(norms)}
    if len(lengths) != 1 or np.any(np.diff(row_ids) <= 0):
        raise ServerFailed(
            f"the parts of an export contradict each other: {lengths} rows, numbered {row_ids}"
        )
    if norms is not None:
        vectors = (vectors.astype(np.float64) * norms[:, np.newaxis]).astype(np.float32)
    return {
        "library": library_of(library),
        "documents": {one["id"]: document_of(one) for one in documents},
        "chunks": [
            chunk_of({**chunk, "embedding": vector}) for chunk, vector in zip(chunks, vectors, strict=True)
        ],
    }


def _export_of(content: bytes) -> dict[str, object]:
    files: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as tar:
        for member in tar:
            stream = tar.extractfile(member)
            files[member.name] = b"" if stream is None else stream.read()
    for line in files.pop("SHA256SUMS").decode().splitlines():
        digest, name = line.split("  ")
        if hashlib.sha256(files[name]).hexdigest() != digest:
            raise ServerFailed(f"{name} of an export is not what SHA256SUMS says")
    arrays = {
        name: np.load(io.BytesIO(content), allow_pickle=False)
        for name, content in files.items()
        if name.endswith(".npy")
    }
    return export_of(
        orjson.loads(files["library.json"]),
        [orjson.loads(line) for line in files["documents.jsonl"].splitlines()],
        [orjson.loads(line) for line in files["chunks.jsonl"].splitlines()],
        arrays["vectors.npy"],
        arrays.get("norms.npy"),
        arrays["ids.npy"],
    )


def _page_of(shape: Callable[[Any], dict[str, object]]) -> Callable[[Any], object]:
    def page(body: Mapping[str, Any]) -> dict[str, object]:
        items = [shape(item) for item in body["items"]]
        return {"items": items, "more": body["next_cursor"] is not None, "cursor": body["next_cursor"]}

    return page


def _upserted(body: Mapping[str, Any]) -> dict[str, object]:
    return {name: body[name] for name in ("created", "updated", "revision")}


def _deleted(body: Mapping[str, Any]) -> dict[str, object]:
    return {name: body[name] for name in ("deleted", "revision")}


def _id(value: str) -> str:
    return quote(value, safe="")
