"""What the commands talk to: a running server by its URL, or a data directory in this process. One shape for both."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import quote

from vdb_server.cli.output import Failure
from vdb_server.keys import read_key

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

__all__ = ["Target", "open_target", "segment"]

_DEFAULT_URL: Final = "http://127.0.0.1:8000"
_JSON: Final = {"content-type": "application/json"}
_ERROR: Final = 400


class _Sender(Protocol):
    def __call__(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, bytes]: ...


class Target:
    """Sends requests and reads answers; refusals become failures with the server's own words."""

    def __init__(self, send: _Sender) -> None:
        self._send = send

    def json(self, method: str, target: str, body: object = None) -> Any:
        """Send JSON (or nothing) and read JSON."""
        content = b"" if body is None else json.dumps(body).encode()
        return self.raw(method, target, _JSON if content else {}, content)

    def raw(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Any:
        """Send bytes and read JSON."""
        status, content = self._send(method, target, headers, body)
        if status >= _ERROR:
            raise Failure(_told(status, content))
        return json.loads(content) if content else None


def segment(value: str) -> str:
    """Encode an id as one segment of a path."""
    return quote(value, safe="")


@contextmanager
def open_target(url: str | None, data_dir: Path | None) -> Generator[Target]:
    """Open what the flags, else the environment, else the default names.

    A flag goes before ``VDB_URL``, that before ``VDB_DATA_DIR``; with none of them it is the server at its usual
    address.
    """
    if url is not None and data_dir is not None:
        raise Failure("--url and --data-dir were both given: say which of the two is meant.", 2)
    if url is None and data_dir is None:
        url = os.environ.get("VDB_URL")
        directory = os.environ.get("VDB_DATA_DIR")
        if url is None:
            if directory:
                data_dir = Path(directory)
            else:
                url = _DEFAULT_URL
    if data_dir is not None:
        with _open_directory(data_dir) as target:
            yield target
    else:
        with _open_url(url or _DEFAULT_URL) as target:
            yield target


@contextmanager
def _open_directory(data_dir: Path) -> Generator[Target]:
    from vdb_core.errors import DataDirectoryLocked, OperatorError, ValidationFailed
    from vdb_server.cli.configuration import load_settings
    from vdb_server.embedded import open_embedded

    if not data_dir.is_dir():
        raise Failure(
            f"there is no data directory at {data_dir}; give another --data-dir, or the --url of a server."
        )
    try:
        server = open_embedded(data_dir, settings=load_settings(data_dir=data_dir))
    except DataDirectoryLocked as error:
        raise Failure(f"{error} Where that is a server, give its --url.") from error
    except ValidationFailed as error:
        raise Failure(f"VDB_EMBEDDER: {error.faults[0].detail}", 2) from error
    except (OperatorError, OSError) as error:
        raise Failure(f"{data_dir} cannot be opened: {error}") from error

    def send(method: str, target: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        answer = server.request(method, target, headers, body)
        return answer.status, answer.body

    with server:
        yield Target(send)


@contextmanager
def _open_url(url: str) -> Generator[Target]:
    import httpx

    key = _key()
    headers = {"authorization": f"Bearer {key}"} if key else {}
    try:
        client = httpx.Client(
            base_url=url, headers=headers, timeout=httpx.Timeout(10.0, read=None, write=None)
        )
    except (httpx.InvalidURL, ValueError) as error:
        raise Failure(f"{url!r} is no URL ({error}); write it as {_DEFAULT_URL}.", 2) from error

    def send(method: str, target: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        try:
            answer = client.request(method, target, headers=headers, content=body)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise Failure(
                f"no answer from {url} ({error}). Is the server running? Start it with: vdb serve"
            ) from error
        return answer.status_code, answer.content

    with client:
        yield Target(send)


def _key() -> str | None:
    """The key of the environment, the one that may write first."""
    for name in ("VDB_API_KEY", "VDB_READ_ONLY_API_KEY"):
        file = os.environ.get(f"{name}_FILE")
        if key := os.environ.get(name):
            return key
        if file:
            try:
                return read_key(Path(file))
            except ValueError as error:
                raise Failure(f"{name}_FILE: {error}", 2) from error
    return None


def _told(status: int, content: bytes) -> str:
    try:
        problem = json.loads(content)
        faults = problem.get("errors", [])
        detail = str(problem["detail"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"the answer was {status}: {content[:200].decode('utf-8', 'replace')}"
    lines = [detail]
    if len(faults) > 1:
        lines += [f"  {fault['pointer'] or '(body)'}: {fault['detail']}" for fault in faults[:20]]
        lines += [f"  and {len(faults) - 20} more"] if len(faults) > 20 else []
    return "\n".join(lines)
