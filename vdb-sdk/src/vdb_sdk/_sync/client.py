# Written by vdb-sdk/scripts/unasync.py from _async/client.py: change that file, then run the script.
# fmt: off
# ruff: noqa: I001, UP028, RUF100
"""The client: libraries, and what the server offers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Self

from vdb_sdk import _request_parts, _requests, _responses
from vdb_sdk._sync.jobs import Job
from vdb_sdk._sync.library import LibraryHandle
from vdb_sdk._sync.pager import Pager
from vdb_sdk._sync.session import Session
from vdb_sdk._retry import RetryPolicy
from vdb_sdk.errors import ConflictError, ConnectionFailed, InvalidArgument, TimeoutExceeded

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from vdb_sdk._requests import IndexLike
    from vdb_sdk._transport import Transport
    from vdb_sdk.models import IndexTypeInfo, Library, Metric, PluginInfo

__all__ = ["Client"]


class Client:
    """Libraries of a vdb engine, in this process or behind HTTP. Made by `vdb_sdk.connect`.

    It may be shared: calls may run at once. `close` it, or use it in ``with``, when you are done.
    """

    def __init__(self, transport: Transport, *, retries: int | RetryPolicy = 3) -> None:
        policy = retries if isinstance(retries, RetryPolicy) else RetryPolicy(retries=retries)
        self._session: Session = Session(transport, policy)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._session.transport.name!r})"

    def __enter__(self) -> Self:
        self._session.transport.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections, or the engine in this process; every later call raises `ClientClosed`."""
        self._session.transport.close()

    def ready(self) -> bool:
        """Whether the engine answers requests now; asks once, and takes no answer for a no."""
        try:
            response = self._session.transport.send(_request_parts.get("/readyz"))
        except (ConnectionFailed, TimeoutExceeded):
            return False
        return response.status < 300

    def create_library(
        self,
        name: str,
        *,
        id: str | None = None,  # noqa: A002  # the contract's word
        metric: Metric = "cosine",
        dimension: int | None = None,
        index: IndexLike = "brute",
        metadata: Mapping[str, object] | None = None,
        embedder: str | None = None,
        exist_ok: bool = False,
    ) -> LibraryHandle:
        """Create a library.

        Args:
            name: For people; need not be unique.
            id: ``[A-Za-z0-9][A-Za-z0-9._-]{0,127}``; without one the server makes one up.
            metric: ``cosine``, ``dot`` or ``l2``.
            dimension: Length of its embeddings; ``None`` lets the first one fix it.
            index: Name of an index type, or an `IndexSpec` with parameters.
            metadata: Whatever you want to keep with it.
            embedder: Name of an installed embedder, which makes embeddings of texts. Without one, the first texts
                that are written choose the server's.
            exist_ok: Take the library that has this id already. Needs ``id``.

        Raises:
            ConflictError: The id is taken; with ``exist_ok``, by one of another metric, dimension or embedder.
            ValidationError: Something the server does not accept, such as an unknown index type.

        >>> import vdb_sdk
        >>> client = vdb_sdk.connect()
        >>> words = client.create_library("Words", id="words", metric="cosine")
        >>> words.id
        'words'
        >>> (words.info()).name
        'Words'
        >>> client.close()
        """
        if exist_ok and id is None:
            msg = "create_library: exist_ok needs an id: several libraries may have the same name."
            raise InvalidArgument(msg)
        request = _requests.create_library(
            name=name,
            library_id=id,
            metric=metric,
            dimension=dimension,
            index=index,
            metadata=metadata,
            embedder=embedder,
        )
        try:
            library = self._session.call(request, _responses.library)
        except ConflictError as error:
            if not exist_ok or id is None or error.code != "already_exists":
                raise
            library = self.library(id).info()
            there = (library.metric, library.dimension, library.embedder)
            asked = (metric, dimension, embedder)
            if any(want not in {None, have} for want, have in zip(asked, there, strict=True)):
                shown = "metric={!r}, dimension={}, embedder={!r}"
                error.add_note(f"It is there with {shown.format(*there)}; asked for: {shown.format(*asked)}.")
                raise
        return LibraryHandle(self._session, library.id)

    def library(self, library_id: str) -> LibraryHandle:
        """A handle to a library. Sends nothing: whether it exists shows at the first call."""
        _request_parts.segment(library_id, "library_id")
        return LibraryHandle(self._session, library_id)

    def get_library(self, library_id: str) -> LibraryHandle:
        """A handle to a library that exists now; raises `NotFoundError` where it does not."""
        library = self._session.call(_requests.get_library(library_id), _responses.library)
        return LibraryHandle(self._session, library.id)

    def libraries(self, *, page_size: int = 100, cursor: str | None = None) -> Pager[Library]:
        """All libraries; fetched a page at a time."""
        return Pager(
            self._session,
            lambda after: _requests.list_libraries(limit=page_size, cursor=after),
            _responses.page(_responses.library),
            cursor,
        )

    def delete_library(self, library_id: str, *, if_match: int | None = None) -> None:
        """Delete a library and all it holds, at once and for good.

        Raises:
            NotFoundError: There is none.
            PreconditionFailed: It is at another revision than ``if_match``.
        """
        self._session.send(_requests.delete_library(library_id, if_match=if_match))

    def import_library(
        self,
        path: str | Path,
        *,
        id: str | None = None,  # noqa: A002  # the contract's word
    ) -> LibraryHandle:
        """Make a library of an archive that `LibraryHandle.export` wrote; ``id`` gives it another id.

        Raises:
            ConflictError: The id is taken.
        """
        request = _requests.import_library(Path(path), library_id=id)
        library = self._session.call(request, _responses.library)
        return LibraryHandle(self._session, library.id)

    def index_types(self) -> list[IndexTypeInfo]:
        """The index types on offer, with their parameters."""
        return self._session.call(_request_parts.get("/v1/index-types"), _responses.index_types)

    def plugins(self) -> list[PluginInfo]:
        """The plugins that the server found, and what became of each."""
        return self._session.call(_request_parts.get("/v1/plugins"), _responses.plugins)

    def job(self, job_id: str) -> Job:
        """A background job by its id; raises `NotFoundError` where the server knows it no more."""
        status = self._session.call(_request_parts.get(_requests.job_path(job_id)), _responses.job)
        return Job(self._session, status)
