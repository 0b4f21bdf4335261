"""``/v1/index-types`` and ``/v1/plugins``."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from vdb_server.plugins_info.schemas import IndexTypePage, PluginPage
from vdb_server.state import hide_of, services_of
from vdb_server.wire.parameters import strict_query
from vdb_server.wire.replies import page

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["plugins"], dependencies=[strict_query])


@router.get("/index-types", response_model=IndexTypePage)
async def list_index_types(request: Request) -> Response:
    """List the index types: parameters as JSON Schema, metrics, capabilities, complexity."""
    return page(services_of(request).plugins.describe_index_types(), None)


@router.get("/plugins", response_model=PluginPage)
async def list_plugins(request: Request) -> Response:
    """List every plugin with its state and, where it is not loaded, the reason."""
    hide = hide_of(request)
    reports = [report.to_json() for report in services_of(request).plugins.reports()]
    for report in reports:
        reason = report["reason"]
        report["reason"] = hide(reason) if isinstance(reason, str) else None
    return page(reports, None)
