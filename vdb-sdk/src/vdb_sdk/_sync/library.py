# Written by vdb-sdk/scripts/unasync.py from _async/library.py: change that file, then run the script.
# fmt: off
# ruff: noqa: I001, UP028, RUF100
"""One library: its documents, chunks, index, and the search."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vdb_sdk import _chunk_requests, _request_parts, _requests, _responses
from vdb_sdk._sync.jobs import Job
from vdb_sdk._sync.pager import Pager
from vdb_sdk._progress import ProgressCallback, reporter
from vdb_sdk._request_parts import UNSET
from vdb_sdk._rows import Totals, chunk_row, plan_upsert
from vdb_sdk.errors import VdbSdkError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from vdb_sdk._sync.session import Session
    from vdb_sdk._chunk_requests import IncludeField
    from vdb_sdk._request_parts import Unset
    from vdb_sdk._rows import RowLike
    from vdb_sdk._tables import TableLike
    from vdb_sdk._vectors import MatrixLike, VectorLike
    from vdb_sdk.models import (
        Chunk,
        DeleteResult,
        Document,
        IndexStatus,
        Library,
        SearchResult,
        UpsertResult,
    )

__all__ = ["LibraryHandle"]

_QUERIES_A_REQUEST = 1_000


class LibraryHandle:
    """A library of a client. Handles are cheap and hold nothing but the id; they may be shared like their client."""

    def __init__(self, session: Session, library_id: str) -> None:
        self._session: Session = session
        self._id: str = library_id

    @property
    def id(self) -> str:
        """Id of the library."""
        return self._id

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._id!r})"

    # The library itself

    def info(self) -> Library:
        """The library as it is now."""
        return self._session.call(_requests.get_library(self._id), _responses.library)

    def update(
        self,
        *,
        name: str | Unset = UNSET,
        metadata: Mapping[str, object] | Unset | None = UNSET,
        embedder: str | Unset = UNSET,
        if_match: int | None = None,
    ) -> Library:
        """Change its name, its metadata or its embedder.

        ``metadata`` is a merge patch (RFC 7396), ``None`` removes a key. ``embedder`` says what made the embeddings of
        a library that does not say yet; another one is refused once there are rows.
        """
        request = _requests.patch_library(
            self._id, name=name, metadata=metadata, embedder=embedder, if_match=if_match
        )
        return self._session.call(request, _responses.library)

    def drop(self, *, if_match: int | None = None) -> None:
        """Delete the library and all it holds, at once and for good."""
        self._session.send(_requests.delete_library(self._id, if_match=if_match))

    def export(self, path: str | Path) -> Path:
        """Write the library into an archive (tar of JSON and `.npy`), consistent as of one revision.

        The file appears under its name when it is complete.
        """
        target = Path(path)
        partial = target.with_name(f"{target.name}.part")
        request = _requests.export_library(self._id)
        try:
            with partial.open("wb") as sink:
                self._session.send(request, sink)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
        return target

    def snapshot(
        self,
        *,
        wait: bool = True,
        timeout: float | None = None,  # noqa: ASYNC109  # sync and async are called alike
    ) -> Job:
        """Write a snapshot now rather than when the server finds it due. Writes are durable without it."""
        status = self._session.call(_requests.snapshot(self._id), _responses.job)
        job = Job(self._session, status)
        return job.wait(timeout) if wait else job

    # Documents

    def create_document(
        self,
        id: str | None = None,  # noqa: A002  # the contract's word
        *,
        metadata: Mapping[str, object] | None = None,
    ) -> Document:
        """Create a document; raises `ConflictError` where the id is taken."""
        request = _requests.create_document(self._id, document_id=id, metadata=metadata)
        return self._session.call(request, _responses.document)

    def get_document(self, document_id: str) -> Document:
        """A document; raises `NotFoundError` where there is none."""
        request = _request_parts.get(_requests.document_path(self._id, document_id))
        return self._session.call(request, _responses.document)

    def documents(self, *, page_size: int = 100, cursor: str | None = None) -> Pager[Document]:
        """All documents; fetched a page at a time."""
        return Pager(
            self._session,
            lambda after: _requests.list_documents(self._id, limit=page_size, cursor=after),
            _responses.page(_responses.document),
            cursor,
        )

    def update_document(
        self,
        document_id: str,
        *,
        metadata: Mapping[str, object] | None,
        if_match: int | None = None,
    ) -> Document:
        """Change the metadata of a document by a merge patch (RFC 7396)."""
        request = _requests.patch_document(self._id, document_id, metadata=metadata, if_match=if_match)
        return self._session.call(request, _responses.document)

    def delete_document(self, document_id: str, *, if_match: int | None = None) -> None:
        """Delete a document and its chunks."""
        path = _requests.document_path(self._id, document_id)
        self._session.send(_request_parts.delete(path, if_match=if_match))

    # Chunks

    def add(
        self,
        *,
        id: str | None = None,  # noqa: A002  # the contract's word
        embedding: VectorLike | None = None,
        text: str | None = None,
        document_id: str | None = None,
        metadata: Mapping[str, object] | None = None,
    ) -> Chunk:
        """Add one chunk; raises `ConflictError` where the id is taken. For many rows, `upsert` is far faster.

        Without ``embedding``, the library's embedder makes one of ``text``; so it does in `upsert`.
        """
        fields = {
            "id": id,
            "embedding": embedding,
            "text": text,
            "document_id": document_id,
            "metadata": metadata,
        }
        return self._session.call(
            _chunk_requests.create_chunk(self._id, chunk_row(fields, "add")), _responses.chunk
        )

    def upsert(
        self,
        rows: Iterable[RowLike] | TableLike | None = None,
        *,
        ids: Iterable[str] | None = None,
        embeddings: MatrixLike | None = None,
        texts: Iterable[str | None] | None = None,
        document_ids: Iterable[str | None] | None = None,
        metadatas: Iterable[Mapping[str, object] | None] | None = None,
        columns: Mapping[str, str] | None = None,
        create_documents: bool = False,
        batch_size: int | None = None,
        progress: bool | ProgressCallback = False,
    ) -> UpsertResult:
        """Create rows, and replace those whose id is there already.

        Give either ``rows``: dicts (``id``, ``embedding``, ``text``, ``document_id``, ``metadata``) or `Chunk`
        objects from any iterable, or a pandas, polars or Arrow table; or the columns one by one, of which
        ``embeddings`` may be any array ``[rows, dimension]``. In a table the columns of those five names are taken
        as such, and every other column becomes a key of the metadata (a missing value leaves the key out).
        A row without an embedding needs a text, of which the library's embedder makes one; ``warnings`` of the result
        tell of texts that are longer than it reads.

        Rows travel in batches. Each batch is all or nothing and durable when it is acknowledged; rows under
        explicit ids are sent again by themselves where the server was away for a moment.

        Args:
            columns: For a table, which column a field is read from: ``{"embedding": "vector"}``.
            create_documents: Make the documents that rows name and that are not there.
            batch_size: Rows a batch at most; a batch also ends at 16 MiB.
            progress: True writes to standard error; a callable gets a `Progress` after each batch.

        Raises:
            VdbSdkError: Its ``acknowledged`` says what earlier batches had done; pointers in ``errors`` count rows
                over all batches.

        >>> import vdb_sdk
        >>> client = vdb_sdk.connect()
        >>> colours = client.create_library("Colours")
        >>> result = colours.upsert(ids=["red", "lime"], embeddings=[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
        >>> result.created, result.updated
        (2, 0)
        >>> client.close()
        """
        plan = plan_upsert(
            self._id,
            rows,
            ids=ids,
            embeddings=embeddings,
            texts=texts,
            document_ids=document_ids,
            metadatas=metadatas,
            columns=columns,
            create_documents=create_documents,
            batch_size=batch_size,
        )
        report = reporter(progress)
        totals = Totals()
        began = time.monotonic()
        first = 0
        try:
            for batch in plan.batches:
                first = batch.first
                totals.add(batch, self._session.call(batch.request, _responses.upsert_result))
                if report is not None:
                    report(totals.progress(plan.total, time.monotonic() - began, finished=False))
        except VdbSdkError as error:
            raise totals.failure(error, first) from error.__cause__
        if report is not None:
            report(totals.progress(plan.total, time.monotonic() - began, finished=True))
        return totals.result()

    def get(self, chunk_id: str) -> Chunk:
        """A chunk with its embedding; raises `NotFoundError` where there is none."""
        request = _request_parts.get(_chunk_requests.chunk_path(self._id, chunk_id))
        return self._session.call(request, _responses.chunk)

    def chunks(
        self,
        *,
        document_id: str | None = None,
        filter: Mapping[str, object] | None = None,  # noqa: A002  # the contract's word
        include: Iterable[Literal["embedding"]] = (),
        page_size: int = 100,
        cursor: str | None = None,
    ) -> Pager[Chunk]:
        """Chunks, all or those of a document or a filter; fetched a page at a time.

        They come without their embeddings unless ``include=["embedding"]`` asks for them.
        """
        wanted = _chunk_requests.include_list(include)
        return Pager(
            self._session,
            lambda after: _chunk_requests.list_chunks(
                self._id,
                document_id=document_id,
                filter=filter,
                include=wanted,
                limit=page_size,
                cursor=after,
            ),
            _responses.page(_responses.chunk),
            cursor,
        )

    def patch(
        self,
        chunk_id: str,
        *,
        text: str | Unset | None = UNSET,
        embedding: VectorLike | Unset = UNSET,
        document_id: str | Unset | None = UNSET,
        metadata: Mapping[str, object] | Unset | None = UNSET,
        if_match: int | None = None,
    ) -> Chunk:
        """Change what is given of a chunk; ``None`` removes, and ``metadata`` is a merge patch (RFC 7396).

        Another text without an embedding gets a new one, where the library has an embedder.
        """
        request = _chunk_requests.patch_chunk(
            self._id,
            chunk_id,
            if_match=if_match,
            text=text,
            embedding=embedding,
            document_id=document_id,
            metadata=metadata,
        )
        return self._session.call(request, _responses.chunk)

    def delete(
        self,
        ids: Sequence[str] | None = None,
        *,
        filter: Mapping[str, object] | None = None,  # noqa: A002  # the contract's word
    ) -> DeleteResult:
        """Delete chunks by id or by filter. Ids that are not there count 0; for the library itself see `drop`."""
        request = _chunk_requests.delete_chunks(self._id, ids=ids, filter=filter)
        return self._session.call(request, _responses.delete_result)

    # Search

    def search(
        self,
        embedding: VectorLike | str | None = None,
        *,
        text: str | None = None,
        k: int = 10,
        filter: Mapping[str, object] | None = None,  # noqa: A002  # the contract's word
        params: Mapping[str, object] | None = None,
        include: Iterable[IncludeField] = ("text", "metadata"),
        min_score: float | None = None,
        explain: bool = False,
    ) -> SearchResult:
        """Find the ``k`` nearest chunks.

        Args:
            embedding: The query: an embedding ``[dimension]``, or a text.
            text: A text to look for, which the library's embedder turns into an embedding.
            k: How many; fewer come back only where fewer match.
            filter: Such as ``{"lang": "en", "year": {"$gte": 2024}}``.
            params: Search parameters of the index type, such as ``{"n_probes": 8}``.
            include: What hits carry beside id, document and score: ``text``, ``metadata``, ``embedding``.
            min_score: Leave out hits below it.
            explain: Have the server tell which route it took.

        >>> import vdb_sdk
        >>> client = vdb_sdk.connect()
        >>> colours = client.create_library("Colours")
        >>> result = colours.upsert(
        ...     [
        ...         {"id": "red", "embedding": [1.0, 0.0, 0.0], "metadata": {"warm": True}},
        ...         {"id": "lime", "embedding": [0.0, 1.0, 0.0], "metadata": {"warm": False}},
        ...     ]
        ... )
        >>> found = colours.search([0.9, 0.2, 0.0], k=1)
        >>> found[0].id, found.index.exact
        ('red', True)
        >>> (colours.search([0.9, 0.2, 0.0], filter={"warm": False})).ids
        ['lime']
        >>> client.close()
        """
        options = _chunk_requests.search_options(
            k=k, filter=filter, params=params, include=include, min_score=min_score, explain=explain
        )
        request = _chunk_requests.search(self._id, embedding=embedding, text=text, options=options)
        return self._session.call(request, _responses.search_result)

    def search_many(
        self,
        embeddings: MatrixLike | Sequence[str],
        *,
        k: int = 10,
        filter: Mapping[str, object] | None = None,  # noqa: A002  # the contract's word
        params: Mapping[str, object] | None = None,
        include: Iterable[IncludeField] = ("text", "metadata"),
        min_score: float | None = None,
        explain: bool = False,
    ) -> list[SearchResult]:
        """Find the ``k`` nearest chunks of each row of ``embeddings``, ``[queries, dimension]``, or of each text of a list.

        Any number of queries: they travel in requests of a thousand. The other arguments are those of `search`.
        """
        options = _chunk_requests.search_options(
            k=k, filter=filter, params=params, include=include, min_score=min_score, explain=explain
        )
        results: list[SearchResult] = []
        for request in _chunk_requests.search_batches(self._id, embeddings, options, _QUERIES_A_REQUEST):
            results.extend(self._session.call(request, _responses.search_results))
        return results

    # Index

    def build_index(
        self,
        type: str | None = None,  # noqa: A002  # the contract's word
        params: Mapping[str, object] | None = None,
        *,
        wait: bool = True,
        timeout: float | None = None,  # noqa: ASYNC109  # sync and async are called alike
        progress: bool | ProgressCallback = False,
    ) -> Job:
        """Build the index anew, in the background: reads and writes go on, and the old one serves until it is done.

        Args:
            type: Index type; ``None`` keeps the one it has.
            params: Its build parameters; ``None`` keeps those it has, or takes the defaults of another type.
            wait: Wait for the end (see `Job.wait`, also for ``timeout`` and ``progress``).
            timeout: Seconds to wait at most.
            progress: True writes to standard error; a callable gets a `Progress` after each look.

        Raises:
            ConflictError: A build runs already; its ``job_id`` names it.
        """
        request = _requests.build_index(self._id, index_type=type, params=params)
        job = Job(self._session, self._session.call(request, _responses.job))
        return job.wait(timeout, progress=progress) if wait else job

    def index_status(self) -> IndexStatus:
        """What the index is, and how far it is behind."""
        return self._session.call(_requests.index_status(self._id), _responses.index_status)
