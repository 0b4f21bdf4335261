"""What the running application carries from its lifespan to its requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict, cast

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from starlette.requests import Request

    from vdb_core.services import Services
    from vdb_server.settings import Settings
    from vdb_server.system.metrics import Metrics

__all__ = ["AppState", "embedding_threads_of", "services_of", "settings_of"]


class AppState(TypedDict):
    """The lifespan's state; servers hand each request a shallow copy."""

    services: Services
    settings: Settings
    metrics: Metrics
    embedding: ThreadPoolExecutor
    """Threads of requests with texts to embed: they may be busy for long, and all others go on beside them."""


def services_of(request: Request) -> Services:
    """The services of the application that got the request."""
    return cast("AppState", request.scope["state"])["services"]


def settings_of(request: Request) -> Settings:
    """The settings of the application that got the request."""
    return cast("AppState", request.scope["state"])["settings"]


def embedding_threads_of(request: Request) -> ThreadPoolExecutor:
    """The threads that embed texts for the application that got the request."""
    return cast("AppState", request.scope["state"])["embedding"]
