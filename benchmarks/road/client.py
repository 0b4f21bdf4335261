"""A small HTTP client over one connection, and the bodies that vdb's fast routes take."""

from __future__ import annotations

import http.client
import io
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
import orjson

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Client", "as_form", "as_npy", "as_query", "as_upsert"]

_TIMEOUT_S: Final = 600
_BOUNDARY: Final = b"a-boundary-that-no-row-holds"


class Client:
    """Sends requests to a server of this machine, one at a time. Use as a context manager."""

    def __init__(self, port: int, *, prefix: str = "", key: str | None = None) -> None:
        self.port = port
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
        self._prefix = prefix
        self._headers = {} if key is None else {"authorization": f"Bearer {key}"}

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self._connection.close()

    def send(
        self, method: str, path: str, body: bytes = b"", content_type: str = "application/json"
    ) -> bytes:
        """Send a request and return the body of its answer.

        Raises:
            SystemExit: the answer is no success.
        """
        headers = {**self._headers, "content-type": content_type}
        self._connection.request(method, self._prefix + path, body, headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status >= 300:
            raise SystemExit(f"{method} {self._prefix}{path}: {answer.status} {content[:500]!r}")
        return content

    def call(self, method: str, path: str, value: object = None) -> Any:
        """Send a value as JSON and return that of the answer."""
        body = b"" if value is None else orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
        content = self.send(method, path, body)
        return orjson.loads(content) if content else None


def as_query(vector: NDArray[np.float32], k: int, **options: object) -> bytes:
    """A search of vdb's, and of the bare routes': the numbers as orjson writes float32, in about 11 characters."""
    return orjson.dumps({"embedding": vector, "k": k, **options}, option=orjson.OPT_SERIALIZE_NUMPY)


def as_npy(matrix: NDArray[np.float32]) -> bytes:
    """A ``.npy`` file."""
    file = io.BytesIO()
    np.save(file, matrix, allow_pickle=False)
    return file.getvalue()


def as_upsert(chunks: Sequence[dict[str, Any]], rows: NDArray[np.float32]) -> bytes:
    """The JSON body of ``chunks/upsert``."""
    full = [{**chunk, "embedding": row} for chunk, row in zip(chunks, rows, strict=True)]
    return orjson.dumps({"chunks": full}, option=orjson.OPT_SERIALIZE_NUMPY)


def as_form(chunks: Sequence[dict[str, Any]], rows: NDArray[np.float32]) -> tuple[bytes, str]:
    """The body of ``chunks/bulk`` and its content type."""
    parts = (("vectors", as_npy(rows)), ("chunks", b"\n".join(map(orjson.dumps, chunks))))
    body = b"".join(
        b'--%b\r\nContent-Disposition: form-data; name="%b"; filename="%b"\r\n\r\n%b\r\n'
        % (_BOUNDARY, name.encode(), name.encode(), content)
        for name, content in parts
    )
    return body + b"--%b--\r\n" % _BOUNDARY, f"multipart/form-data; boundary={_BOUNDARY.decode()}"
