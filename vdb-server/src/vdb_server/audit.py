"""The audit log of deletes: who took what away, one line each, once it is durable.

Lines of the logger ``vdb_server.audit`` are written whatever the log level is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, ParamSpec, TypeVar, cast

import orjson

from vdb_core.services import DeleteResult
from vdb_server.logging import AUDIT_LOGGER, REQUEST_ID, get_logger
from vdb_server.system.tracing import trace_ids

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Future

    from starlette.requests import Request

__all__ = ["KEY_NAME", "audited_delete"]

T = TypeVar("T")
P = ParamSpec("P")

KEY_NAME: Final = "vdb.key"
"""Where authentication leaves in the scope which key a request came with."""

_SHOWN_IDS: Final = 20
_SHOWN_TEXT: Final = 1_000

_log: Final = get_logger(AUDIT_LOGGER)


def audited_delete(
    request: Request,
    delete: Callable[P, Future[T]],
    what: Literal["library", "document", "chunk", "chunks"],
    library_id: str,
    *,
    item: str | None = None,
    body: Mapping[str, object] | None = None,
) -> Callable[P, Future[T]]:
    """Make a delete write its line once it is durable, also where its caller has gone away by then.

    Args:
        request: who asked.
        delete: starts the delete; its result says how many chunks are gone.
        what: what is taken away.
        library_id: the library, or in which.
        item: the id of the document or chunk.
        body: ``{"ids": [...]}`` or ``{"filter": {...}}`` of a delete of many.
    """
    client = request.client
    # Taken now: the line is written by the thread that makes writes durable, which knows of no request.
    told: dict[str, object] = {
        "what": what,
        "library_id": library_id,
        "key": request.scope.get(KEY_NAME, "none"),
        "client": None if client is None else client.host,
        "request_id": REQUEST_ID.get(),
        **trace_ids(),
    }
    if item is not None:
        told["id"] = item
    ids = None if body is None else body.get("ids")
    if isinstance(ids, list):
        listed = cast("list[object]", ids)
        told["ids"] = listed[:_SHOWN_IDS]
        told["ids_given"] = len(listed)
    elif body is not None:
        told["filter"] = orjson.dumps(body.get("filter")).decode("utf-8", "replace")[:_SHOWN_TEXT]

    def note(done: Future[T]) -> None:
        if done.cancelled() or done.exception() is not None:
            return
        result = done.result()
        deleted = result.deleted if isinstance(result, DeleteResult) else result
        _log.info("deleted", deleted=deleted, **told)

    def run(*args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future = delete(*args, **kwargs)
        future.add_done_callback(note)
        return future

    return run
