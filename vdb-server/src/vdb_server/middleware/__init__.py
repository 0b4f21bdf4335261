"""What every request passes before a route sees it, as pure ASGI, outermost first.

Observe        request id, errors to problems, security headers, HEAD, metrics, log
├── Target     keeps the path percent-encoded, so that ids may hold slashes
├── Guard      Host and Origin (DNS rebinding, foreign pages)
├── CORS       only where origins are allowed
├── Authentication   before a byte of the body is read
└── BodyLimit  declared and actual size

Search and upsert go past these and past FastAPI's own: ``ShortWay`` makes the same checks without the layers.
"""

from __future__ import annotations

from vdb_server.middleware.authentication import AuthenticationMiddleware
from vdb_server.middleware.body_limit import BodyLimitMiddleware
from vdb_server.middleware.guard import GuardMiddleware
from vdb_server.middleware.hot_paths import ShortWay
from vdb_server.middleware.observe import ObserveMiddleware
from vdb_server.middleware.target import TargetMiddleware

__all__ = [
    "AuthenticationMiddleware",
    "BodyLimitMiddleware",
    "GuardMiddleware",
    "ObserveMiddleware",
    "ShortWay",
    "TargetMiddleware",
]
