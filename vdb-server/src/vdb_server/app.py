"""Makes the application: routes, middleware, and a lifespan that owns the engine."""

from __future__ import annotations

import asyncio
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from vdb_core.errors import Fault, ValidationFailed
from vdb_server import __version__, middleware
from vdb_server.chunks import ingest
from vdb_server.chunks.routes import router as chunks_router
from vdb_server.documents.routes import router as documents_router
from vdb_server.errors import HttpProblem, Part, Problem
from vdb_server.indexing.routes import router as indexing_router
from vdb_server.libraries.routes import router as libraries_router
from vdb_server.openapi import make_openapi
from vdb_server.opening import open_engine
from vdb_server.plugins_info.routes import router as plugins_router
from vdb_server.search import routes as search
from vdb_server.settings import Settings
from vdb_server.system.docs_page import router as docs_router
from vdb_server.system.metrics import Metrics
from vdb_server.system.routes import router as system_router
from vdb_server.system.tracing import is_traced, telemetry_config
from vdb_server.transfer.routes import router as transfer_router
from vdb_server.wire.redact import PathHider
from vdb_server.wire.replies import problem_response
from vdb_server.wire.turns import Turns

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send

    from vdb_core.services import Services
    from vdb_server.state import AppState

__all__ = ["Application", "create_app"]

_THREADS: Final = 32
"""Calls that may wait for a lock or a disk at the same time; they hold no core while they wait."""

_EMBEDDING_THREADS: Final = 8
"""Requests whose texts are embedded at the same time: a query of one text does not wait behind a load of thousands."""

_PARTS: Final[dict[str, Part]] = {"path": "path", "query": "query", "header": "header"}


def create_app(
    settings: Settings | None = None, services: Services | None = None, *, trusted: bool = False
) -> Application:
    """Make the application.

    Args:
        settings: how it runs; ``None`` reads the environment.
        services: a running engine, which stays open; ``None`` opens one when the application starts and closes it
            when the application stops.
        trusted: every caller is this very process: no key is asked for, ``Host`` and ``Origin`` are not looked at.
    """
    chosen = Settings() if settings is None else settings
    metrics = Metrics()
    # Callers in this very process may know where things lie.
    hide = str if trusted else PathHider(chosen)
    app = Application(
        title="vdb",
        version=__version__,
        lifespan=_lifespan(chosen, services, metrics, hide, trusted=trusted),
        telemetry=telemetry_config(trusted=trusted),
        middleware=_middleware(chosen, metrics, hide, trusted=trusted),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    for router in (
        transfer_router,
        libraries_router,
        documents_router,
        ingest.router,
        chunks_router,
        search.router,
        indexing_router,
        plugins_router,
        system_router,
        docs_router,
    ):
        app.include_router(router)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_invalid_parameters)
    app.openapi = lambda: make_openapi(app)
    app.short_way = middleware.ShortWay(
        {
            "search": search.search,
            "search/batch": search.search_batch,
            "chunks/upsert": ingest.upsert,
            "chunks/bulk": ingest.bulk,
        },
        chosen,
        metrics,
        hide=hide,
        trusted=trusted,
    )
    return app


class Application(FastAPI):
    """FastAPI with a way past it for the hot routes."""

    short_way: middleware.ShortWay | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer by the short way what it takes, by FastAPI's all else."""
        if self.short_way is not None and self.short_way.takes(scope):
            await self.short_way(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def _start_all(executor: ThreadPoolExecutor) -> None:
    """Have all threads there from the beginning: no request waits for one, and what a server holds stays as it is.

    Each may bring a heap of its own, so a pool that grows by chance looks like a leak for hours.
    """
    together = threading.Barrier(_THREADS + 1)
    try:
        for _ in range(_THREADS):
            _ = executor.submit(together.wait)
        _ = together.wait()
    except BaseException:
        # The system gives no more threads: those that are there must not wait for the others for ever.
        together.abort()
        raise


def _lifespan(
    settings: Settings,
    services: Services | None,
    metrics: Metrics,
    hide: Callable[[str], str],
    *,
    trusted: bool,
) -> Callable[[FastAPI], Any]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[AppState]:
        executor = ThreadPoolExecutor(_THREADS, "vdb-request")
        asyncio.get_running_loop().set_default_executor(executor)
        if not trusted:
            _start_all(executor)
        running = services
        if running is None:
            running = await asyncio.to_thread(open_engine, settings)
        metrics.watch(running)
        # FastAPI has set its exporters up by now. Only its own way makes spans: where they are wanted, all go there.
        traced = is_traced() and not trusted
        if traced and isinstance(app, Application):
            app.short_way = None
        threads = ThreadPoolExecutor(_EMBEDDING_THREADS, "vdb-embedding")
        try:
            yield {
                "services": running,
                "settings": settings,
                "metrics": metrics,
                "hide": hide,
                "traced": traced,
                "embedding": threads,
                "turns": Turns(ours=not trusted),
            }
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
            if services is None:
                await asyncio.to_thread(running.close)

    return lifespan


def _middleware(
    settings: Settings, metrics: Metrics, hide: Callable[[str], str], *, trusted: bool
) -> list[Middleware]:
    layers = [
        Middleware(middleware.ObserveMiddleware, metrics=metrics, hide=hide),
        Middleware(middleware.TargetMiddleware),
    ]
    if not trusted:
        layers.append(Middleware(middleware.GuardMiddleware, settings=settings))
        if settings.allowed_origins:
            layers.append(
                Middleware(
                    CORSMiddleware,
                    allow_origins=sorted(settings.allowed_origins),
                    allow_methods=["GET", "POST", "PATCH", "DELETE"],
                    allow_headers=[
                        "authorization",
                        "content-type",
                        "idempotency-key",
                        "if-match",
                        "x-request-id",
                    ],
                    expose_headers=["etag", "idempotent-replayed", "location", "retry-after", "x-request-id"],
                )
            )
        layers.append(Middleware(middleware.AuthenticationMiddleware, settings=settings))
    layers.append(Middleware(middleware.BodyLimitMiddleware, settings=settings))
    return layers


async def _on_http_exception(request: Request, error: Exception) -> Response:
    """Say in our words what the router says: no such route, or not with this method."""
    status = HTTPStatus(getattr(error, "status_code", 500))
    path: str = request.scope["path"]
    if status == HTTPStatus.NOT_FOUND:
        problem = Problem(
            status=status,
            code="route_not_found",
            detail=f"There is nothing at {path!a}; /docs lists what there is.",
        )
    elif status == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = _methods_at(request.app, path)
        problem = Problem(
            status=status,
            code="method_not_allowed",
            detail=f"{request.method} is not possible at {path!a}; possible: {', '.join(allowed)}.",
            headers={"allow": ", ".join(allowed)},
        )
    else:
        code = status.phrase.lower().replace(" ", "_")
        problem = Problem(status=status, code=code, detail=str(getattr(error, "detail", status.phrase)))
    return problem_response(problem)


def _methods_at(app: FastAPI, path: str) -> list[str]:
    """Every method that some route takes at a path, from the document that describes them all."""
    methods: set[str] = set()
    for template, operations in app.openapi()["paths"].items():
        if re.fullmatch(re.sub(r"\{[a-z_]+\}", "[^/]+", template), path):
            methods |= {method.upper() for method in operations}
    if "GET" in methods or path in {"/docs", "/openapi.json"}:
        methods |= {"GET", "HEAD"}
    return sorted(methods)


async def _on_invalid_parameters(_: Request, error: Exception) -> Response:
    """Turn what FastAPI says about parameters into our problem document."""
    faults: list[Fault] = []
    part: Part = "query"
    for item in error.errors() if isinstance(error, RequestValidationError) else ():
        where, *name = item["loc"]
        part = _PARTS.get(str(where), "body")
        faults.append(
            Fault("/" + "/".join(map(str, name)), f"{item['msg']}; received {str(item.get('input'))!a}")
        )
    failed = ValidationFailed.of(faults)
    problem = HttpProblem.of(
        HTTPStatus.UNPROCESSABLE_ENTITY, failed.code, f"{part} parameter {failed}", faults=faults, part=part
    ).problem
    return problem_response(problem)
