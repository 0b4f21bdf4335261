"""Describes requests and errors in OpenAPI for routes that read their bodies themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from vdb_server.errors import PROBLEM_MEDIA_TYPE

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["BINARY", "body", "json_content", "problems", "schema_ref"]

BINARY: Final[dict[str, Any]] = {"type": "string", "format": "binary"}

_MEANINGS: Final[dict[int, str]] = {
    400: "The request cannot be read: not JSON, a broken path (`malformed_json`, `malformed_path`, ...).",
    404: "There is no such thing (`library_not_found`, `document_not_found`, `chunk_not_found`, `job_not_found`).",
    409: "It is in the way of what exists (`already_exists`, `build_in_progress`).",
    412: "The entity is at another revision than `If-Match` names (`revision_mismatch`).",
    413: "The body is larger than the server is set to take (`body_too_large`).",
    415: "The body is of a media type that this route does not take (`unsupported_media_type`).",
    422: "The request is understood and not acceptable (`validation_failed`); `errors` lists every fault.",
    503: (
        "Try again after `Retry-After` seconds (`write_queue_full`); there is no model (`embedder_unavailable`); or the "
        "storage failed, and nothing is written until somebody saw to it (`storage_read_only`)."
    ),
    507: "The disk is full; reads go on (`storage_full`).",
}


def schema_ref(model: type[BaseModel] | str) -> dict[str, str]:
    """Refer to a model's schema among the components."""
    return {"$ref": f"#/components/schemas/{model if isinstance(model, str) else model.__name__}"}


def json_content(model: type[BaseModel], **examples: object) -> dict[str, Any]:
    """Describe a JSON body with named examples."""
    return {
        "schema": schema_ref(model),
        "examples": {name: {"value": value} for name, value in examples.items()},
    }


def body(
    content: dict[str, dict[str, Any]],
    *,
    required: bool = True,
    query: dict[str, tuple[dict[str, Any], str]] | None = None,
) -> dict[str, Any]:
    """Describe a request body by media type, as ``openapi_extra`` of a route.

    ``query`` has schema and meaning of parameters that the route reads by itself.
    """
    extra: dict[str, Any] = {"requestBody": {"required": required, "content": content}}
    if query:
        extra["parameters"] = [
            {"name": name, "in": "query", "required": False, "schema": schema, "description": description}
            for name, (schema, description) in query.items()
        ]
    return extra


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the errors of a route, as its ``responses``."""
    return {
        status: {
            "description": _MEANINGS[status],
            "content": {PROBLEM_MEDIA_TYPE: {"schema": schema_ref("ProblemView")}},
        }
        for status in sorted(statuses)
    }
