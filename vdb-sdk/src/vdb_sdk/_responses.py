"""Reads every answer of the REST contract into records, and every refusal into the right error. Pure.

Unknown keys are passed over, so that a newer server still serves an older client.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar, cast

from vdb_sdk import errors, models
from vdb_sdk._json import loads
from vdb_sdk._retry import parse_retry_after
from vdb_sdk.errors import ApiError, Fault, Problem, UnexpectedResponse

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vdb_sdk._transport import Request, Response

__all__ = ["error_of", "parse"]

Raw: TypeAlias = Mapping[str, Any]
"""Parsed JSON; a wrong shape is caught by `parse`."""

Result = TypeVar("Result")
Item = TypeVar("Item")

_ERRORS: Final[Mapping[int, type[ApiError]]] = {
    400: errors.BadRequestError,
    401: errors.AuthenticationError,
    403: errors.PermissionDeniedError,
    404: errors.NotFoundError,
    409: errors.ConflictError,
    412: errors.PreconditionFailed,
    413: errors.PayloadTooLargeError,
    422: errors.ValidationError,
    429: errors.TooManyRequestsError,
    503: errors.UnavailableError,
    507: errors.StorageFullError,
}


def parse(response: Response, reader: Callable[[Raw], Result]) -> Result:
    """Read an answer, or raise `UnexpectedResponse` where it has not the shape that the contract gives it."""
    data = loads(response.body)
    try:
        return reader(cast("Raw", data))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        msg = (
            f"The answer has not the shape that this version of the SDK knows: {type(error).__name__}: {error}. "
            "Is the server of another version?"
        )
        raise UnexpectedResponse(msg) from error


def error_of(request: Request, response: Response) -> ApiError | UnexpectedResponse:
    """The error that an answer of 300 or more stands for."""
    status = response.status
    if status < 400:
        where = response.headers.get("location", "elsewhere")
        msg = (
            f"The server answered {status} and points to {where}. Redirects are not followed, since an API key "
            "must not travel: connect to the final URL."
        )
        return UnexpectedResponse(msg)
    raw: Raw = {}
    try:
        parsed = loads(response.body)
        if isinstance(parsed, dict):
            raw = cast("Raw", parsed)
    except UnexpectedResponse:
        pass  # a proxy's page; the status still tells what happened
    excerpt = response.body[:200].decode("utf-8", "replace")
    detail = raw.get("detail") or raw.get("title") or excerpt or "no text was sent"
    problem = Problem(
        status=status,
        code=str(raw.get("code") or f"http_{status}"),
        detail=str(detail),
        method=request.method,
        target=request.target,
        errors=_faults(raw.get("errors")),
        request_id=response.headers.get("x-request-id") or _text(raw.get("request_id")),
        retry_after=parse_retry_after(response.headers.get("retry-after")),
        job_id=_text(raw.get("job_id")),
    )
    kind = _ERRORS.get(status, errors.ServerError if status >= 500 else ApiError)
    return kind(problem)


def is_in_progress(error: ApiError | UnexpectedResponse) -> bool:
    """Whether the server is still making the very write that was sent again under its key."""
    return isinstance(error, ApiError) and error.code == "idempotency_key_in_use"


def _faults(value: object) -> tuple[Fault, ...]:
    if not isinstance(value, list):
        return ()
    items = [cast("Raw", item) for item in cast("Sequence[object]", value) if isinstance(item, dict)]
    return tuple(
        Fault(str(item.get("pointer", "")), str(item.get("detail", "")), str(item.get("in", "body")))
        for item in items
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _time(value: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(value)


def _optional_time(value: str | None) -> datetime.datetime | None:
    return None if value is None else datetime.datetime.fromisoformat(value)


def _embedding(value: Sequence[float] | None) -> NDArray[np.float32] | None:
    if value is None:
        return None
    import numpy as np

    return np.asarray(value, dtype=np.float32)


def _strings(value: Sequence[object] | None) -> tuple[str, ...]:
    return tuple(str(item) for item in value or ())


def library(raw: Raw) -> models.Library:
    """Read a library."""
    index = cast("Raw", raw["index"])
    return models.Library(
        id=raw["id"],
        name=raw["name"],
        metric=raw["metric"],
        dimension=raw.get("dimension"),
        index=models.IndexSpec(type=index["type"], params=dict(index.get("params") or {})),
        metadata=dict(raw.get("metadata") or {}),
        revision=raw["revision"],
        created_at=_time(raw["created_at"]),
        updated_at=_time(raw["updated_at"]),
        documents=raw.get("documents", 0),
        chunks=raw.get("chunks", 0),
        embedder=_text(raw.get("embedder")),
    )


def document(raw: Raw) -> models.Document:
    """Read a document."""
    return models.Document(
        id=raw["id"],
        metadata=dict(raw.get("metadata") or {}),
        revision=raw["revision"],
        created_at=_time(raw["created_at"]),
        updated_at=_time(raw["updated_at"]),
    )


def chunk(raw: Raw) -> models.Chunk:
    """Read a chunk; its embedding comes back as float32."""
    return models.Chunk(
        id=raw["id"],
        document_id=raw.get("document_id"),
        text=raw.get("text"),
        embedding=_embedding(raw.get("embedding")),
        metadata=dict(raw.get("metadata") or {}),
        revision=raw.get("revision"),
        created_at=_optional_time(raw.get("created_at")),
        updated_at=_optional_time(raw.get("updated_at")),
        warnings=_strings(raw.get("warnings")),
    )


def page(reader: Callable[[Raw], Item]) -> Callable[[Raw], models.Page[Item]]:
    """Make the reader of a page from the reader of its items."""

    def read(raw: Raw) -> models.Page[Item]:
        return models.Page(
            items=tuple(reader(item) for item in raw["items"]), next_cursor=raw.get("next_cursor")
        )

    return read


def upsert_result(raw: Raw) -> models.UpsertResult:
    """Read the answer to an upsert."""
    return models.UpsertResult(
        created=raw["created"],
        updated=raw["updated"],
        ids=raw["ids"],
        revision=raw.get("revision"),
        warnings=_strings(raw.get("warnings")),
    )


def delete_result(raw: Raw) -> models.DeleteResult:
    """Read the answer to a delete."""
    return models.DeleteResult(deleted=raw["deleted"], revision=raw.get("revision"))


def _setters(record: type[models.Hit]) -> list[Callable[[models.Hit, object], None]]:
    """What sets each field, in their order: half the time of a frozen record's own ``__init__``, and hits come by the thousand."""
    return [vars(record)[field.name].__set__ for field in dataclasses.fields(record)]


_set_id, _set_score, _set_distance, _set_document_id, _set_text, _set_metadata, _set_embedding = _setters(
    models.Hit
)


def _hit(raw: Raw) -> models.Hit:
    embedding = raw.get("embedding")
    hit = object.__new__(models.Hit)
    _set_id(hit, raw["id"])
    _set_score(hit, raw["score"])
    _set_distance(hit, raw["distance"])
    _set_document_id(hit, raw.get("document_id"))
    _set_text(hit, raw.get("text"))
    _set_metadata(hit, raw.get("metadata") or {})
    _set_embedding(hit, None if embedding is None else _embedding(embedding))
    return hit


def search_result(raw: Raw) -> models.SearchResult:
    """Read the answer to one query."""
    index = cast("Raw", raw["index"])
    warnings = raw.get("warnings")
    return models.SearchResult(
        hits=tuple([_hit(hit) for hit in raw["hits"]]),
        index=models.ActiveIndex(type=index["type"], exact=index["exact"]),
        revision=raw["revision"],
        warnings=_strings(warnings) if warnings else (),
        took_ms=raw.get("took_ms", 0.0),
        explain=raw.get("explain"),
    )


def search_results(raw: Raw) -> list[models.SearchResult]:
    """Read the answer to a batch of queries."""
    return [search_result(item) for item in raw["results"]]


def index_status(raw: Raw) -> models.IndexStatus:
    """Read what an index is doing."""
    return models.IndexStatus(
        type=raw["type"],
        params=dict(raw.get("params") or {}),
        state=raw["state"],
        rows=raw["rows"],
        delta_rows=raw["delta_rows"],
        dead_rows=raw["dead_rows"],
        bytes=raw["bytes"],
        job_id=raw.get("job_id"),
        warnings=_strings(raw.get("warnings")),
    )


def job(raw: Raw) -> models.JobStatus:
    """Read a job, or the acceptance of one (which has a ``job_id`` and little else)."""
    error = raw.get("error")
    if isinstance(error, Mapping):
        problem = cast("Raw", error)
        error = problem.get("detail") or problem.get("message") or str(dict(problem))
    identifier = raw.get("id") or raw["job_id"]
    return models.JobStatus(
        id=identifier,
        state=raw.get("state") or "queued",
        library_id=raw.get("library_id"),
        kind=raw.get("kind") or "",
        phase=raw.get("phase"),
        progress=raw.get("progress") or 0.0,
        eta_s=raw.get("eta_s"),
        error=_text(error),
    )


def _items(raw: object) -> Sequence[Raw]:
    """The items of an answer that is a list, bare or under ``items``."""
    return cast("Sequence[Raw]", raw if isinstance(raw, list) else cast("Raw", raw)["items"])


def index_types(raw: Raw) -> list[models.IndexTypeInfo]:
    """Read the index types on offer."""
    return [
        models.IndexTypeInfo(
            name=item["name"],
            summary=item.get("summary") or "",
            metrics=_strings(item.get("metrics")),
            capabilities=dict(item.get("capabilities") or {}),
            complexity=item.get("complexity"),
            params=dict(item.get("params") or {}),
            search_params=dict(item.get("search_params") or {}),
        )
        for item in _items(raw)
    ]


def plugins(raw: Raw) -> list[models.PluginInfo]:
    """Read the plugins that were found."""
    return [
        models.PluginInfo(
            name=item["name"],
            state=item["state"],
            distribution=item.get("distribution"),
            version=item.get("version"),
            reason=item.get("reason"),
            provides=_strings(item.get("provides")),
        )
        for item in _items(raw)
    ]
