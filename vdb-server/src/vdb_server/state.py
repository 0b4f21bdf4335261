"""What the running application carries from its lifespan to its requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict, cast

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import ThreadPoolExecutor

    from starlette.requests import Request

    from vdb_core.services import Services
    from vdb_server.settings import Settings
    from vdb_server.system.metrics import Metrics
    from vdb_server.wire.turns import Turns

__all__ = [
    "AppState",
    "embedding_threads_of",
    "hide_of",
    "is_traced",
    "metrics_of",
    "services_of",
    "settings_of",
    "turns_of",
]


class AppState(TypedDict):
    """The lifespan's state; servers hand each request a shallow copy."""

    services: Services
    settings: Settings
    metrics: Metrics
    hide: Callable[[str], str]
    traced: bool
    embedding: ThreadPoolExecutor
    """Threads of requests with texts to embed: they may be busy for long, and all others go on beside them."""
    turns: Turns


def services_of(request: Request) -> Services:
    """The services of the application that got the request."""
    return cast("AppState", request.scope["state"])["services"]


def settings_of(request: Request) -> Settings:
    """The settings of the application that got the request."""
    return cast("AppState", request.scope["state"])["settings"]


def metrics_of(request: Request) -> Metrics:
    """The metrics of the application that got the request."""
    return cast("AppState", request.scope["state"])["metrics"]


def hide_of(request: Request) -> Callable[[str], str]:
    """What takes out of texts for operators what callers need not know."""
    return cast("AppState", request.scope["state"])["hide"]


def is_traced(request: Request) -> bool:
    """Whether the request has a span that things can be said on."""
    return cast("AppState", request.scope["state"])["traced"]


def embedding_threads_of(request: Request) -> ThreadPoolExecutor:
    """The threads that embed texts for the application that got the request."""
    return cast("AppState", request.scope["state"])["embedding"]


def turns_of(request: Request) -> Turns:
    """What shortens the turns of threads in the application that got the request."""
    return cast("AppState", request.scope["state"])["turns"]
