"""What the commands talk to: a running server by its URL, or a data directory in this process. One shape for both."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import quote

from vdb_server.cli.output import Failure
from vdb_server.keys import read_key

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    import httpx

    from vdb_server.embedded import EmbeddedServer

__all__ = ["Refusal", "Target", "mapped", "open_target", "refusal", "segment"]

_DEFAULT_URL: Final = "http://127.0.0.1:8000"
_JSON: Final = {"content-type": "application/json"}
_ERROR: Final = 400
_PIECE: Final = 1 << 20


class _Sender(Protocol):
    def __call__(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, bytes]: ...


class _Archives(Protocol):
    def download(self, library: str, sink: IO[bytes]) -> None:
        """Write the archive of a library to a file."""
        ...

    def upload(self, archive: Path, renamed: str | None = None) -> Any:
        """Make a library of an archive, under another id where one is given; gives the library."""
        ...


class Target:
    """Sends requests and reads answers; refusals become failures with the server's own words."""

    def __init__(self, send: _Sender, archives: _Archives) -> None:
        self._send = send
        self.archives = archives

    def json(self, method: str, target: str, body: object = None) -> Any:
        """Send JSON (or nothing) and read JSON."""
        content = b"" if body is None else json.dumps(body).encode()
        return self.raw(method, target, _JSON if content else {}, content)

    def raw(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Any:
        """Send bytes and read JSON."""
        status, content = self._send(method, target, headers, body)
        if status >= _ERROR:
            raise refusal(status, content)
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
    from vdb_server.cli.configuration import load_settings, told_of_settings
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
        raise Failure(told_of_settings(error), 2) from error
    except (OperatorError, OSError) as error:
        raise Failure(f"{data_dir} cannot be opened: {error}") from error

    def send(method: str, target: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        answer = server.request(method, target, headers, body)
        return answer.status, answer.body

    with server:
        yield Target(send, _DirectoryArchives(server))


class _DirectoryArchives:
    """Archives of a data directory that this process has open."""

    def __init__(self, server: EmbeddedServer) -> None:
        self._server = server

    def download(self, library: str, sink: IO[bytes]) -> None:
        from vdb_core.errors import VdbError

        try:
            sink.writelines(self._server.export(library))
        except VdbError as error:
            raise Refusal(str(error), error.code) from error

    def upload(self, archive: Path, renamed: str | None = None) -> Any:
        from vdb_core.errors import VdbError
        from vdb_server.errors import HttpProblem

        with mapped(archive) as view:
            try:
                return self._server.import_archive(view, renamed)
            except VdbError as error:
                raise Refusal(str(error), error.code) from error
            except HttpProblem as error:
                raise Refusal(error.problem.detail, error.problem.code) from error


@contextmanager
def mapped(path: Path) -> Generator[memoryview]:
    """A file as bytes; neither a symbolic link nor anything else than a plain file is opened."""
    import mmap
    import stat

    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise Failure(f"{path} is no plain file.")
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            # Not closed here: what was made of the view may still look at it.
            view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b"")
    except OSError as error:
        raise Failure(f"{path} cannot be read: {error.strerror}.") from error
    yield view


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
        with _reached(url):
            answer = client.request(method, target, headers=headers, content=body)
        return answer.status_code, answer.content

    with client:
        yield Target(send, _ServerArchives(client, url))


@contextmanager
def _reached(url: str) -> Generator[None]:
    import httpx

    try:
        yield
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise Failure(
            f"no answer from {url} ({error}). Is the server running? Start it with: vdb serve"
        ) from error


class _ServerArchives:
    """Archives of a server, in pieces both ways."""

    def __init__(self, client: httpx.Client, url: str) -> None:
        self._client = client
        self._url = url

    def download(self, library: str, sink: IO[bytes]) -> None:
        with (
            _reached(self._url),
            self._client.stream("GET", f"/v1/libraries/{segment(library)}/export") as answer,
        ):
            if answer.status_code >= _ERROR:
                raise refusal(answer.status_code, answer.read())
            for piece in answer.iter_bytes(_PIECE):
                sink.write(piece)

    def upload(self, archive: Path, renamed: str | None = None) -> Any:
        size = archive.stat().st_size
        query = "" if renamed is None else f"?id={segment(renamed)}"
        headers = {"content-type": "application/x-tar", "content-length": str(size)}
        with _reached(self._url), archive.open("rb") as file:
            answer = self._client.post(
                f"/v1/libraries/import{query}", headers=headers, content=iter(lambda: file.read(_PIECE), b"")
            )
        if answer.status_code >= _ERROR:
            raise refusal(answer.status_code, answer.content)
        return answer.json()


class Refusal(Failure):
    """The server refused, or the engine did; ``reason`` is its stable code."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


def refusal(status: int, content: bytes) -> Refusal:
    """Make the failure of an answer that is none of success."""
    try:
        reason = str(json.loads(content)["code"])
    except (ValueError, KeyError, TypeError):
        reason = ""
    return Refusal(_told(status, content), reason)


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
