"""Builds every request of the REST contract. Pure: arguments in, `Request` out; nothing is sent from here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast
from urllib.parse import quote, urlencode

from vdb_sdk._json import check_finite, dumps
from vdb_sdk._transport import Repeat, Request
from vdb_sdk._vectors import as_matrix, npy_parts, vector_base64
from vdb_sdk.errors import InvalidArgument
from vdb_sdk.models import IndexSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from vdb_sdk._vectors import MatrixArray

__all__ = ["UNSET", "IncludeField", "IndexLike", "Unset"]

IncludeField: TypeAlias = Literal["text", "metadata", "embedding"]
"""What a hit or a listed chunk may carry beside its id."""

IndexLike: TypeAlias = "str | IndexSpec | Mapping[str, object]"
"""The name of an index type, or a type with its parameters."""

_JSON: Final = {"content-type": "application/json", "accept": "application/json"}
_PATCH: Final = {"content-type": "application/merge-patch+json", "accept": "application/json"}
_ACCEPT: Final = {"accept": "application/json"}


_LONGEST_QUERY: Final = 4_000
"""Characters; servers and proxies take at least 8,000 for the whole URL (RFC 9110, 4.1)."""


class Unset:
    """The type of an argument that was left out, where ``None`` means "remove it"."""

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset()
"""Leave it as it is."""


def segment(value: object, what: str) -> str:
    """Percent-encode an id so that it is one path segment, whatever it holds."""
    if not isinstance(value, str):
        msg = f"{what}: expected a string, received {type(value).__name__}."
        raise InvalidArgument(msg)
    if not value:
        msg = f"{what}: expected an id of 1 to 256 characters, received an empty string."
        raise InvalidArgument(msg)
    try:
        encoded = quote(value, safe="")
    except UnicodeEncodeError as error:
        msg = f"{what}: an id cannot hold a lone surrogate; received {value!r}."
        raise InvalidArgument(msg) from error
    # A literal dot segment would be resolved away before it reaches the server (RFC 3986, 5.2.4).
    return encoded.replace(".", "%2E") if encoded in {".", ".."} else encoded


def _query(parameters: Mapping[str, object]) -> str:
    given = {name: value for name, value in parameters.items() if value is not None}
    try:
        return f"?{urlencode(given, doseq=True, quote_via=quote)}" if given else ""
    except UnicodeEncodeError as error:
        msg = f"an argument cannot hold a lone surrogate: {error}"
        raise InvalidArgument(msg) from error


def _if_match(headers: Mapping[str, str], if_match: int | None) -> dict[str, str]:
    result = dict(headers)
    if if_match is not None:
        result["if-match"] = f'"{if_match}"'
    return result


def _conditional(if_match: int | None) -> Repeat:
    # The second send of a conditional change would meet the revision that the first one made, and fail.
    return Repeat.ALWAYS if if_match is None else Repeat.REFUSED


def _given(**values: object) -> dict[str, object]:
    return {name: value for name, value in values.items() if not isinstance(value, Unset)}


def _body(values: Mapping[str, object], where: str) -> bytes:
    check_finite(values, where)
    return dumps(values, where)


def _library(library_id: str) -> str:
    return f"/v1/libraries/{segment(library_id, 'library_id')}"


def index_choice(index: IndexLike) -> dict[str, object]:
    """The ``index`` object of a library, from any of its spellings."""
    if isinstance(index, str):
        return {"type": index, "params": {}}
    if isinstance(index, IndexSpec):
        return {"type": index.type, "params": index.params}
    return dict(index)


# Libraries


def create_library(
    *,
    name: str,
    library_id: str | None,
    metric: str,
    dimension: int | None,
    index: IndexLike,
    metadata: Mapping[str, object] | None,
) -> Request:
    """``POST /libraries``."""
    body: dict[str, object] = {"name": name, "metric": metric, "index": index_choice(index)}
    if library_id is not None:
        body["id"] = library_id
    if dimension is not None:
        body["dimension"] = dimension
    if metadata is not None:
        body["metadata"] = metadata
    repeat = Repeat.UNSENT if library_id is None else Repeat.REFUSED
    return Request(
        method="POST",
        target="/v1/libraries",
        headers=_JSON,
        body=_body(body, "create_library"),
        repeat=repeat,
    )


def get(target: str) -> Request:
    """``GET`` of anything that answers JSON."""
    return Request(method="GET", target=target, headers=_ACCEPT)


def get_library(library_id: str) -> Request:
    """``GET /libraries/{id}``."""
    return get(_library(library_id))


def list_libraries(*, limit: int, cursor: str | None) -> Request:
    """``GET /libraries``."""
    return get(f"/v1/libraries{_query({'limit': limit, 'cursor': cursor})}")


def patch_library(
    library_id: str,
    *,
    name: str | Unset,
    metadata: Mapping[str, object] | Unset | None,
    if_match: int | None,
) -> Request:
    """``PATCH /libraries/{id}``."""
    return Request(
        method="PATCH",
        target=_library(library_id),
        headers=_if_match(_PATCH, if_match),
        body=_body(_given(name=name, metadata=metadata), "update"),
        repeat=_conditional(if_match),
    )


def delete(target: str, *, if_match: int | None = None) -> Request:
    """``DELETE`` of one entity."""
    return Request(
        method="DELETE", target=target, headers=_if_match(_ACCEPT, if_match), repeat=Repeat.REFUSED
    )


def delete_library(library_id: str, *, if_match: int | None) -> Request:
    """``DELETE /libraries/{id}``."""
    return delete(_library(library_id), if_match=if_match)


def export_library(library_id: str) -> Request:
    """``GET …/export``."""
    return Request(
        method="GET",
        target=f"{_library(library_id)}/export",
        headers={"accept": "application/x-tar"},
        patient=True,
    )


def import_library(source: Path, *, library_id: str | None) -> Request:
    """``POST /libraries/import``."""
    if not source.is_file():
        msg = f"import_library: there is no file {str(source)!r}."
        raise InvalidArgument(msg)
    return Request(
        method="POST",
        target=f"/v1/libraries/import{_query({'id': library_id})}",
        headers={"content-type": "application/x-tar", "accept": "application/json"},
        source=source,
        repeat=Repeat.REFUSED,
        patient=True,
    )


# Documents


def document_path(library_id: str, document_id: str) -> str:
    """Path of a document."""
    return f"{_library(library_id)}/documents/{segment(document_id, 'document_id')}"


def create_document(
    library_id: str, *, document_id: str | None, metadata: Mapping[str, object] | None
) -> Request:
    """``POST …/documents``."""
    body: dict[str, object] = {}
    if document_id is not None:
        body["id"] = document_id
    if metadata is not None:
        body["metadata"] = metadata
    return Request(
        method="POST",
        target=f"{_library(library_id)}/documents",
        headers=_JSON,
        body=_body(body, "create_document"),
        repeat=Repeat.UNSENT if document_id is None else Repeat.REFUSED,
    )


def list_documents(library_id: str, *, limit: int, cursor: str | None) -> Request:
    """``GET …/documents``."""
    return get(f"{_library(library_id)}/documents{_query({'limit': limit, 'cursor': cursor})}")


def patch_document(
    library_id: str,
    document_id: str,
    *,
    metadata: Mapping[str, object] | Unset | None,
    if_match: int | None,
) -> Request:
    """``PATCH …/documents/{id}``."""
    return Request(
        method="PATCH",
        target=document_path(library_id, document_id),
        headers=_if_match(_PATCH, if_match),
        body=_body(_given(metadata=metadata), "update_document"),
        repeat=_conditional(if_match),
    )


# Chunks


def chunk_path(library_id: str, chunk_id: str) -> str:
    """Path of a chunk."""
    return f"{_library(library_id)}/chunks/{segment(chunk_id, 'chunk_id')}"


def create_chunk(library_id: str, row: Mapping[str, object]) -> Request:
    """``POST …/chunks`` with a row in the shape of the contract."""
    return Request(
        method="POST",
        target=f"{_library(library_id)}/chunks",
        headers=_JSON,
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
    query = _query(
        {
            "limit": limit,
            "cursor": cursor,
            "document_id": document_id,
            "filter": None if filter is None else _body(filter, "filter").decode(),
            "include": ",".join(include_list(include)) or None,
        }
    )
    return get(f"{_library(library_id)}/chunks{query}")


def patch_chunk(library_id: str, chunk_id: str, *, if_match: int | None, **fields: object) -> Request:
    """``PATCH …/chunks/{id}``."""
    body = _given(**fields)
    embedding = body.pop("embedding", None)
    if embedding is not None:
        body["embedding_b64"] = vector_base64(embedding)
    return Request(
        method="PATCH",
        target=chunk_path(library_id, chunk_id),
        headers=_if_match(_PATCH, if_match),
        body=_body(body, "patch"),
        repeat=_conditional(if_match),
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
        target=f"{_library(library_id)}/chunks/delete",
        headers=_JSON,
        body=_body(body, "delete"),
    )


def upsert(library_id: str, rows: Sequence[bytes], *, create_documents: bool, repeat: Repeat) -> Request:
    """``POST …/chunks/upsert`` with rows that are JSON already."""
    flag = b',"create_documents":true' if create_documents else b""
    return Request(
        method="POST",
        target=f"{_library(library_id)}/chunks/upsert",
        headers=_JSON,
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
    query = _query({"create_documents": "true" if create_documents else None})
    return Request(
        method="POST",
        target=f"{_library(library_id)}/chunks/bulk{query}",
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
    query: dict[str, object] = (
        {"text": text} if embedding is None else {"embedding_b64": vector_base64(embedding)}
    )
    query.update(options)
    return Request(
        method="POST",
        target=f"{_library(library_id)}/search",
        headers=_JSON,
        body=dumps(query, "search"),
    )


def search_batches(
    library_id: str, embeddings: object, options: Mapping[str, object], size: int
) -> Iterator[Request]:
    """``POST …/search/batch``, a request for every ``size`` queries: the matrix as `.npy`, the options in the URL.

    Options that would make the URL too long travel as a list of queries with base64 embeddings instead.
    """
    matrix = as_matrix(embeddings, "search_many")
    path = f"{_library(library_id)}/search/batch"
    query = _query(_search_query(options))
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
            queries = [{"embedding_b64": vector_base64(row), **options} for row in part]
            yield Request(
                method="POST", target=path, headers=_JSON, body=dumps({"queries": queries}, "search_many")
            )


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


# Index, snapshots and jobs


def build_index(library_id: str, *, index_type: str | None, params: Mapping[str, object] | None) -> Request:
    """``POST …/index``."""
    body: dict[str, object] = {}
    if index_type is not None:
        body["type"] = index_type
    if params is not None:
        body["params"] = params
    return Request(
        method="POST",
        target=f"{_library(library_id)}/index",
        headers=_JSON,
        body=_body(body, "build_index"),
        repeat=Repeat.REFUSED,
    )


def index_status(library_id: str) -> Request:
    """``GET …/index``."""
    return get(f"{_library(library_id)}/index")


def snapshot(library_id: str) -> Request:
    """``POST …/snapshot``."""
    return Request(
        method="POST",
        target=f"{_library(library_id)}/snapshot",
        headers=_ACCEPT,
        repeat=Repeat.REFUSED,
        patient=True,
    )


def job_path(job_id: str) -> str:
    """Path of a job."""
    return f"/v1/jobs/{segment(job_id, 'job_id')}"
