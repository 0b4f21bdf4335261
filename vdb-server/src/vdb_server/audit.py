"""The audit log of deletes: who took what away, one line each, once it is durable.

Lines of the logger ``vdb_server.audit`` are written whatever the log level is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import orjson

from vdb_server.logging import AUDIT_LOGGER, get_logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

__all__ = ["KEY_NAME", "audit_delete"]

KEY_NAME: Final = "vdb.key"
"""Where authentication leaves in the scope which key a request came with."""

_SHOWN_IDS: Final = 20
_SHOWN_TEXT: Final = 1_000

_log: Final = get_logger(AUDIT_LOGGER)


def audit_delete(
    request: Request,
    what: Literal["library", "document", "chunk", "chunks"],
    library_id: str,
    *,
    deleted: int | None,
    item: str | None = None,
    body: Mapping[str, object] | None = None,
) -> None:
    """Write the line of a delete that is durable.

    Args:
        request: who asked.
        what: what was taken away.
        library_id: the library, or in which.
        deleted: chunks that are gone; none where that cannot be told.
        item: the id of the document or chunk.
        body: ``{"ids": [...]}`` or ``{"filter": {...}}`` of a delete of many.
    """
    client = request.client
    more: dict[str, object] = {}
    if item is not None:
        more["id"] = item
    ids = None if body is None else body.get("ids")
    if isinstance(ids, list):
        more["ids"] = ids[:_SHOWN_IDS]
        more["ids_given"] = len(ids)
    elif body is not None:
        more["filter"] = orjson.dumps(body.get("filter")).decode("utf-8", "replace")[:_SHOWN_TEXT]
    _log.info(
        "deleted",
        what=what,
        library_id=library_id,
        deleted=deleted,
        key=request.scope.get(KEY_NAME, "none"),
        client=None if client is None else client.host,
        **more,
    )
