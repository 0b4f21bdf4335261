"""Builds the requests about chunks and the searches. Pure: arguments in, `Request` out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast

from vdb_sdk._json import check_finite, dumps
from vdb_sdk._request_parts import (
    JSON,
    PATCH,
    conditional,
    get,
    given_only,
    if_match_header,
    json_body,
    library_path,
    query_string,
    segment,
)
from vdb_sdk._transport import Repeat, Request
from vdb_sdk._vectors import as_matrix, npy_parts, vector_base64
from vdb_sdk.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from vdb_sdk._vectors import MatrixArray

__all__ = [
    "IncludeField",
    "bulk",
    "chunk_path",
    "create_chunk",
    "delete_chunks",
    "include_list",
    "list_chunks",
    "patch_chunk",
    "search",
    "search_batches",
    "search_options",
    "upsert",
]

IncludeField: TypeAlias = Literal["text", "metadata", "embedding"]
"""What a hit may carry beside its id, document and score."""

_LONGEST_QUERY: Final = 4_000
"""Characters; servers and proxies take at least 8,000 for the whole URL (RFC 9110, 4.1)."""


# Chunks


def chunk_path(library_id: str, chunk_id: str) -> str:
    """Path of a chunk."""
    return f"{library_path(library_id)}/chunks/{segment(chunk_id, 'chunk_id')}"


def create_chunk(library_id: str, row: Mapping[str, object]) -> Request:
    """``POST …/chunks`` with a row in the shape of the contract."""
    return Request(
        method="POST",
        target=f"{library_path(library_id)}/chunks",
        headers=JSON,
        body=dumps(row, "add"),
        repeat=Repeat.UNSENT if row.get("id") is None else Repeat.REFUSED,
    )


def list_chunks(
    library_id: str,
    *,
    document_id: str | None,
    filter: Mapping[str, object] | None,  # noqa: A002  # the contract's word
    include: Iterable[str],
    limit: int,
    cursor: str | None,
) -> Request:
    """``GET …/chunks``."""
    query = query_string(
        {
            "limit": limit,
            "cursor": cursor,
            "document_id": document_id,
            "filter": None if filter is None else json_body(filter, "filter").decode(),
            "include": ",".join(include_list(include)) or None,
        }
    )
    return get(f"{library_path(library_id)}/chunks{query}")


def patch_chunk(library_id: str, chunk_id: str, *, if_match: int | None, **fields: object) -> Request:
    """``PATCH …/chunks/{id}``."""
    body = given_only(**fields)
    embedding = body.pop("embedding", None)
    if embedding is not None:
        body["embedding_b64"] = vector_base64(embedding)
    return Request(
        method="PATCH",
        target=chunk_path(library_id, chunk_id),
        headers=if_match_header(PATCH, if_match),
        body=json_body(body, "patch"),
        repeat=conditional(if_match),
    )


def delete_chunks(
    library_id: str,
    *,
    ids: Sequence[str] | None,
    filter: Mapping[str, object] | None,  # noqa: A002  # the contract's word
) -> Request:
    """``POST …/chunks/delete``."""
    if (ids is None) == (filter is None):
        given = "neither" if ids is None else "both"
        msg = f"delete: expected either ids or filter, received {given}. To delete the library, use drop()."
        raise InvalidArgument(msg)
    if isinstance(ids, str):
        msg = f"delete: ids: expected a list of ids, received one string. Write ids=[{ids!r}]."
        raise InvalidArgument(msg)
    body: dict[str, object] = {"ids": list(ids)} if ids is not None else {"filter": filter}
    return Request(
        method="POST",
        target=f"{library_path(library_id)}/chunks/delete",
        headers=JSON,
        body=json_body(body, "delete"),
    )


def upsert(library_id: str, rows: Sequence[bytes], *, create_documents: bool, repeat: Repeat) -> Request:
    """``POST …/chunks/upsert`` with rows that are JSON already."""
    flag = b',"create_documents":true' if create_documents else b""
    return Request(
        method="POST",
        target=f"{library_path(library_id)}/chunks/upsert",
        headers=JSON,
        body=b"".join((b'{"chunks":[', b",".join(rows), b"]", flag, b"}")),
        repeat=repeat,
    )


def bulk(
    library_id: str,
    rows: Sequence[bytes],
    matrix: MatrixArray,
    *,
    create_documents: bool,
    boundary: str,
    repeat: Repeat,
) -> Request:
    """``POST …/chunks/bulk``: the matrix as `.npy`, the rows as JSON Lines, in one multipart body."""
    header, content = npy_parts(matrix)
    dashes = f"--{boundary}".encode("ascii")
    body = b"".join(
        (
            dashes,
            _part_header("vectors", "vectors.npy", "application/x-npy"),
            header,
            content,
            b"\r\n",
            dashes,
            _part_header("chunks", "chunks.jsonl", "application/jsonl"),
            b"\n".join(rows),
            b"\r\n",
            dashes,
            b"--\r\n",
        )
    )
    query = query_string({"create_documents": "true" if create_documents else None})
    return Request(
        method="POST",
        target=f"{library_path(library_id)}/chunks/bulk{query}",
        headers={"content-type": f"multipart/form-data; boundary={boundary}", "accept": "application/json"},
        body=body,
        repeat=repeat,
    )


def _part_header(name: str, filename: str, media_type: str) -> bytes:
    disposition = f'Content-Disposition: form-data; name="{name}"; filename="{filename}"'
    return f"\r\n{disposition}\r\nContent-Type: {media_type}\r\n\r\n".encode("ascii")


# Search


def include_list(include: Iterable[str]) -> list[str]:
    """Check ``include`` for the mistake that a string would be."""
    if isinstance(include, str):
        msg = f"include: expected a list of names, received one string. Write include=[{include!r}]."
        raise InvalidArgument(msg)
    return list(include)


def search_options(
    *,
    k: int,
    filter: Mapping[str, object] | None,  # noqa: A002  # the contract's word
    params: Mapping[str, object] | None,
    include: Iterable[str],
    min_score: float | None,
    explain: bool,
) -> dict[str, object]:
    """The part of a query that is not its embedding."""
    options: dict[str, object] = {"k": k, "include": include_list(include)}
    if filter is not None:
        check_finite(filter, "filter")
        options["filter"] = filter
    if params is not None:
        check_finite(params, "params")
        options["params"] = params
    if min_score is not None:
        check_finite(min_score, "min_score")
        options["min_score"] = min_score
    if explain:
        options["explain"] = True
    return options


def search(library_id: str, *, embedding: object, text: str | None, options: Mapping[str, object]) -> Request:
    """``POST …/search``."""
    if (embedding is None) == (text is None):
        given = "neither" if text is None else "both"
        msg = f"search: expected either an embedding or text=..., received {given}."
        raise InvalidArgument(msg)
    if isinstance(embedding, str):
        embedding, text = None, embedding
    query: dict[str, object] = (
        {"text": text} if embedding is None else {"embedding_b64": vector_base64(embedding)}
    )
    query.update(options)
    return Request(
        method="POST",
        target=f"{library_path(library_id)}/search",
        headers=JSON,
        body=dumps(query, "search"),
    )


def search_batches(
    library_id: str, embeddings: object, options: Mapping[str, object], size: int
) -> Iterator[Request]:
    """``POST …/search/batch``, a request for every ``size`` queries: the matrix as `.npy`, the options in the URL.

    Options that would make the URL too long travel as a list of queries with base64 embeddings instead; texts always
    travel as a list of queries.
    """
    path = f"{library_path(library_id)}/search/batch"
    texts = _texts(embeddings)
    if texts is not None:
        for start in range(0, len(texts), size):
            yield _batch(path, [{"text": text, **options} for text in texts[start : start + size]])
        return
    matrix = as_matrix(embeddings, "search_many")
    query = query_string(_search_query(options))
    for start in range(0, len(matrix), size):
        part = matrix[start : start + size]
        if len(query) <= _LONGEST_QUERY:
            header, content = npy_parts(part)
            yield Request(
                method="POST",
                target=f"{path}{query}",
                headers={"content-type": "application/x-npy", "accept": "application/json"},
                body=b"".join((header, content)),
            )
        else:
            yield _batch(path, [{"embedding_b64": vector_base64(row), **options} for row in part])


def _texts(queries: object) -> Sequence[str] | None:
    """The queries, where they are a list of texts."""
    if isinstance(queries, str):
        msg = (
            f"search_many: expected a list of texts or embeddings, received one string. Write [{queries!r}]."
        )
        raise InvalidArgument(msg)
    if not isinstance(queries, (list, tuple)):
        return None
    items = cast("Sequence[object]", queries)
    return cast("Sequence[str]", items) if items and all(isinstance(one, str) for one in items) else None


def _batch(path: str, queries: Sequence[Mapping[str, object]]) -> Request:
    return Request(method="POST", target=path, headers=JSON, body=dumps({"queries": queries}, "search_many"))


def _search_query(options: Mapping[str, object]) -> dict[str, object]:
    """Options of a search as parameters of a URL."""
    query: dict[str, object] = {}
    for name, value in options.items():
        if isinstance(value, bool):
            query[name] = "true" if value else "false"
        elif isinstance(value, list):
            query[name] = ",".join(cast("list[str]", value))
        elif isinstance(value, Mapping):
            query[name] = dumps(value, name).decode()
        else:
            query[name] = value
    return query
