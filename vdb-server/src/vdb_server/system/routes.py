"""``/healthz``, ``/readyz`` and ``/metrics``, for those who operate the server."""

from __future__ import annotations

from typing import cast

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import Field

from vdb_server.state import AppState, services_of
from vdb_server.wire.calls import in_thread
from vdb_server.wire.models import View
from vdb_server.wire.replies import json_response

__all__ = ["HealthView", "ReadyView", "router"]

router = APIRouter(tags=["system"])


class HealthView(View):
    """The process answers."""

    status: str = Field(examples=["ok"], description="`ok`, or `read_only` since the storage failed.")


class ReadyView(View):
    """Whether requests are served; further members tell what an operator should look at."""

    ready: bool


@router.get("/healthz", response_model=HealthView)
async def healthz(request: Request) -> Response:
    """Tell that the process answers, and whether it still writes. Waits for nothing, and needs no key."""
    return json_response({"status": "read_only" if services_of(request).read_only else "ok"})


@router.get(
    "/readyz", response_model=ReadyView, responses={503: {"model": ReadyView, "description": "Not yet."}}
)
async def readyz(request: Request) -> Response:
    """Tell whether requests are served. Needs no key."""
    health = await in_thread(services_of(request).health)
    return json_response(health, status=200 if health.get("ready") else 503)


@router.get("/metrics", responses={200: {"content": {"text/plain": {}}}}, response_class=Response)
async def metrics(request: Request) -> Response:
    """Counters, histograms and gauges in the text format of Prometheus."""
    state = cast("AppState", request.scope["state"])
    return Response(await in_thread(state["metrics"].render), media_type=CONTENT_TYPE_LATEST)
