"""The one exception tree of the SDK, by what went wrong: your argument, the way to the server, or the server's answer.

    VdbSdkError
    ├── InvalidArgument (ValueError)            found before anything was sent
    ├── ClientClosed                            the client was closed
    ├── EmbeddedUnavailable                     the in-process engine is not installed
    ├── EmbeddedFailed                          the in-process engine cannot open; carries its ``code``
    ├── ConnectionFailed (ConnectionError)      the server cannot be reached, or hung up
    ├── TimeoutExceeded (TimeoutError)          no answer, or no end of a job, within the time allowed
    ├── UnexpectedResponse                      an answer that is not vdb's
    ├── JobFailed                               a background job ended with an error
    ├── JobCancelled                            a background job was cancelled
    └── ApiError                                the server refused; ``status``, ``code``, ``errors``, ``request_id``
        ├── BadRequestError                     400  the body could not be read
        ├── AuthenticationError                 401
        ├── PermissionDeniedError               403
        ├── NotFoundError                       404
        ├── ConflictError                       409  the id is taken, or a build runs already (``job_id``)
        ├── PreconditionFailed                  412  the entity is at another revision than ``if_match``
        ├── PayloadTooLargeError                413
        ├── ValidationError                     422  every fault with its pointer
        ├── TooManyRequestsError                429
        └── ServerError                         5xx
            ├── UnavailableError                503  try again; ``retry_after`` says when
            └── StorageFullError                507  the server's disk is full; reads go on

``code`` is stable and is what programs should look at (``library_not_found``, ``already_exists``,
``build_in_progress``, ...); the text is for people.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vdb_sdk.models import UpsertResult

__all__ = [
    "ApiError",
    "AuthenticationError",
    "BadRequestError",
    "ClientClosed",
    "ConflictError",
    "ConnectionFailed",
    "EmbeddedFailed",
    "EmbeddedUnavailable",
    "Fault",
    "InvalidArgument",
    "JobCancelled",
    "JobFailed",
    "NotFoundError",
    "PayloadTooLargeError",
    "PermissionDeniedError",
    "PreconditionFailed",
    "Problem",
    "ServerError",
    "StorageFullError",
    "TimeoutExceeded",
    "TooManyRequestsError",
    "UnavailableError",
    "UnexpectedResponse",
    "ValidationError",
    "VdbSdkError",
]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a request."""

    pointer: str
    """JSON Pointer (RFC 6901) into what was sent; for an upsert, the row number counts over all batches."""

    detail: str
    """What was expected, what was received, what to do."""

    part: str = "body"
    """The part of the request that the pointer goes into: ``body``, ``path``, ``query`` or ``header``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What the server said when it refused (RFC 9457)."""

    status: int
    """HTTP status."""

    code: str
    """Stable word for programs, such as ``library_not_found``."""

    detail: str
    """Text for people."""

    method: str
    """HTTP method of the request."""

    target: str
    """Path and query of the request."""

    errors: tuple[Fault, ...] = ()
    """Every fault found, in the order of the request."""

    request_id: str | None = None
    """Names this request in the server's logs."""

    retry_after: float | None = None
    """Seconds after which the server asks to be tried again."""

    job_id: str | None = None
    """The job in the way, where one is."""


class VdbSdkError(Exception):
    """Base of every error that the SDK raises on purpose."""

    acknowledged: UpsertResult | None = None
    """Set where an upsert of several batches failed: what the server had made durable before the failure."""


class InvalidArgument(VdbSdkError, ValueError):
    """An argument cannot be sent as it is; nothing was sent."""


class ClientClosed(VdbSdkError):
    """The client was used after ``close()``."""


class EmbeddedUnavailable(VdbSdkError):
    """The in-process engine is not installed."""


class EmbeddedFailed(VdbSdkError):
    """The in-process engine could not be opened, for example because another process holds the directory."""

    def __init__(self, message: str, code: str = "embedded_failed") -> None:
        super().__init__(message, code)
        self.code: str = code

    def __str__(self) -> str:
        return str(self.args[0])


class ConnectionFailed(VdbSdkError, ConnectionError):
    """The server could not be reached, or closed the connection before it had answered."""

    def __init__(self, message: str, sent: bool = True) -> None:
        super().__init__(message, sent)
        self.sent: bool = sent
        """False where the request certainly never reached the server."""

    def __str__(self) -> str:
        return str(self.args[0])


class TimeoutExceeded(VdbSdkError, TimeoutError):
    """No answer within the time allowed; whether the server carried the request out is not known."""


class UnexpectedResponse(VdbSdkError):
    """The answer is not what a vdb server says; a proxy in between, or another version."""


class JobFailed(VdbSdkError):
    """A background job ended with an error; the text is the server's."""


class JobCancelled(VdbSdkError):
    """A background job was cancelled before it had ended."""


class ApiError(VdbSdkError):
    """The server refused a request, and said why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.problem: Problem = problem

    @property
    def status(self) -> int:
        """HTTP status."""
        return self.problem.status

    @property
    def code(self) -> str:
        """The server's stable word for what is wrong."""
        return self.problem.code

    @property
    def errors(self) -> tuple[Fault, ...]:
        """Every fault, with its pointer into the request."""
        return self.problem.errors

    @property
    def request_id(self) -> str | None:
        """Names this request in the server's logs."""
        return self.problem.request_id

    @property
    def retry_after(self) -> float | None:
        """Seconds after which the server asks to be tried again."""
        return self.problem.retry_after

    @property
    def job_id(self) -> str | None:
        """The job in the way, where one is."""
        return self.problem.job_id

    def __str__(self) -> str:
        problem = self.problem
        text = f"{problem.status} {problem.code}: {problem.detail}"
        if problem.request_id:
            text += f" (request {problem.request_id})"
        return text


class BadRequestError(ApiError):
    """400: the server could not read the body."""


class AuthenticationError(ApiError):
    """401: no API key, or a wrong one."""


class PermissionDeniedError(ApiError):
    """403: the key may not do this."""


class NotFoundError(ApiError):
    """404: no such library, document, chunk or job; ``code`` says which."""


class ConflictError(ApiError):
    """409: the id is taken, or a build runs already."""


class PreconditionFailed(ApiError):
    """412: the entity has changed since the revision given as ``if_match``."""


class PayloadTooLargeError(ApiError):
    """413: the body is larger than the server takes."""


class ValidationError(ApiError):
    """422: values that the server does not accept; ``errors`` lists every one."""


class TooManyRequestsError(ApiError):
    """429: slower, please."""


class ServerError(ApiError):
    """5xx: the server, its machine or one of its plugins failed."""


class UnavailableError(ServerError):
    """503: not now; ``retry_after`` says when."""


class StorageFullError(ServerError):
    """507: the server's disk is full; nothing was written, and reads go on."""
