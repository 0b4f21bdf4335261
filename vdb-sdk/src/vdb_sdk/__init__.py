"""The typed Python client of vdb: one set of classes, sync and async, for a server and for an engine in this process.

Start with `connect` or `connect_async`. Importing this package loads neither httpx nor NumPy nor an engine.
"""

from __future__ import annotations

from vdb_sdk._async.client import AsyncClient
from vdb_sdk._async.jobs import AsyncJob
from vdb_sdk._async.library import AsyncLibraryHandle
from vdb_sdk._async.pager import AsyncPager
from vdb_sdk._connect import connect, connect_async
from vdb_sdk._progress import Progress, ProgressCallback, TextProgress
from vdb_sdk._request_parts import UNSET
from vdb_sdk._retry import RetryPolicy
from vdb_sdk._sync.client import Client
from vdb_sdk._sync.jobs import Job
from vdb_sdk._sync.library import LibraryHandle
from vdb_sdk._sync.pager import Pager
from vdb_sdk._transport import AsyncTransport, Repeat, Request, Response, Transport
from vdb_sdk._version import __version__
from vdb_sdk.errors import (
    ApiError,
    AuthenticationError,
    BadRequestError,
    ClientClosed,
    ConflictError,
    ConnectionFailed,
    EmbeddedFailed,
    EmbeddedUnavailable,
    Fault,
    InvalidArgument,
    JobCancelled,
    JobFailed,
    NotFoundError,
    PayloadTooLargeError,
    PermissionDeniedError,
    PreconditionFailed,
    Problem,
    ServerError,
    StorageFullError,
    TimeoutExceeded,
    TooManyRequestsError,
    UnavailableError,
    UnexpectedResponse,
    ValidationError,
    VdbSdkError,
)
from vdb_sdk.models import (
    ActiveIndex,
    Chunk,
    DeleteResult,
    Document,
    Hit,
    IndexSpec,
    IndexStatus,
    IndexTypeInfo,
    JobStatus,
    Library,
    Page,
    PluginInfo,
    SearchResult,
    UpsertResult,
)

__all__ = [
    "UNSET",
    "ActiveIndex",
    "ApiError",
    "AsyncClient",
    "AsyncJob",
    "AsyncLibraryHandle",
    "AsyncPager",
    "AsyncTransport",
    "AuthenticationError",
    "BadRequestError",
    "Chunk",
    "Client",
    "ClientClosed",
    "ConflictError",
    "ConnectionFailed",
    "DeleteResult",
    "Document",
    "EmbeddedFailed",
    "EmbeddedUnavailable",
    "Fault",
    "Hit",
    "IndexSpec",
    "IndexStatus",
    "IndexTypeInfo",
    "InvalidArgument",
    "Job",
    "JobCancelled",
    "JobFailed",
    "JobStatus",
    "Library",
    "LibraryHandle",
    "NotFoundError",
    "Page",
    "Pager",
    "PayloadTooLargeError",
    "PermissionDeniedError",
    "PluginInfo",
    "PreconditionFailed",
    "Problem",
    "Progress",
    "ProgressCallback",
    "Repeat",
    "Request",
    "Response",
    "RetryPolicy",
    "SearchResult",
    "ServerError",
    "StorageFullError",
    "TextProgress",
    "TimeoutExceeded",
    "TooManyRequestsError",
    "Transport",
    "UnavailableError",
    "UnexpectedResponse",
    "UpsertResult",
    "ValidationError",
    "VdbSdkError",
    "__version__",
    "connect",
    "connect_async",
]
