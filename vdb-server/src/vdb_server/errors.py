"""How errors look on the wire: the one mapping from errors of the core, and of HTTP itself, to problem documents.

VdbError of the core      ── problem_of ──┐
HttpProblem of the server ────────────────┼──▶ Problem ──▶ application/problem+json (RFC 9457)
anything else             ── a bug: 500 ──┘
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

from vdb_core import errors as core

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vdb_core.errors import Fault, VdbError

__all__ = [
    "PROBLEM_MEDIA_TYPE",
    "STATUS_OF",
    "FaultView",
    "HttpProblem",
    "Part",
    "Problem",
    "ProblemView",
    "bad_parameter",
    "internal_error",
    "problem_of",
    "status_of",
]

PROBLEM_MEDIA_TYPE: Final = "application/problem+json"

Part = Literal["body", "path", "query", "header"]
"""The part of a request that a fault points into."""

STATUS_OF: Final[Mapping[type[VdbError], HTTPStatus]] = {
    core.VdbError: HTTPStatus.INTERNAL_SERVER_ERROR,
    core.CallerError: HTTPStatus.BAD_REQUEST,
    core.ValidationFailed: HTTPStatus.UNPROCESSABLE_ENTITY,
    core.NotFound: HTTPStatus.NOT_FOUND,
    core.AlreadyExists: HTTPStatus.CONFLICT,
    core.BuildInProgress: HTTPStatus.CONFLICT,
    core.IdempotencyKeyInUse: HTTPStatus.CONFLICT,
    core.IdempotencyKeyReused: HTTPStatus.UNPROCESSABLE_ENTITY,
    core.RevisionMismatch: HTTPStatus.PRECONDITION_FAILED,
    core.OperatorError: HTTPStatus.INTERNAL_SERVER_ERROR,
    core.WriteQueueFull: HTTPStatus.SERVICE_UNAVAILABLE,
    core.EmbedderUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    core.EngineClosed: HTTPStatus.SERVICE_UNAVAILABLE,
    core.StorageFailed: HTTPStatus.SERVICE_UNAVAILABLE,
    core.WriteUncertain: HTTPStatus.INTERNAL_SERVER_ERROR,
    core.StorageFull: HTTPStatus.INSUFFICIENT_STORAGE,
    core.PluginError: HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""Status by class; a class that is missing has the status of its nearest base."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One answer that says what went wrong."""

    status: HTTPStatus
    """The HTTP status."""

    code: str
    """Stable, for programs."""

    detail: str
    """For people: what, expected, received, what to do."""

    faults: Sequence[Fault] = ()
    """Each thing that is wrong with the request."""

    part: Part = "body"
    """The part of the request that the faults point into."""

    headers: Mapping[str, str] = field(default_factory=dict)
    """Further response headers, lower-case names."""

    extra: Mapping[str, object] = field(default_factory=dict)
    """Further members of the document."""

    def to_bytes(self) -> bytes:
        """Make the document. It survives what it reports: text that is no UTF-8 is escaped."""
        where = {} if self.part == "body" else {"in": self.part}
        document = {
            "type": "about:blank",
            "title": self.status.phrase,
            "status": int(self.status),
            "detail": self.detail,
            "code": self.code,
            "errors": [{"pointer": fault.pointer, "detail": fault.detail, **where} for fault in self.faults],
            **self.extra,
        }
        try:
            return orjson.dumps(document)
        except TypeError:
            # A pointer or a detail quotes the caller's own text, which may hold lone surrogates.
            return orjson.dumps(_escaped(document))


class HttpProblem(Exception):
    """A problem that the server itself finds, before or beside the core."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem

    @classmethod
    def of(
        cls,
        status: HTTPStatus,
        code: str,
        detail: str,
        *,
        faults: Sequence[Fault] = (),
        part: Part = "body",
        headers: Mapping[str, str] | None = None,
    ) -> HttpProblem:
        """Make one from its parts."""
        return cls(
            Problem(status=status, code=code, detail=detail, faults=faults, part=part, headers=headers or {})
        )

    @classmethod
    def in_query(cls, error: core.ValidationFailed) -> HttpProblem:
        """Say of an error's faults that they point into the query of the URL, not into a body."""
        return cls(problem_of(error, part="query"))

    def within(self, pointer: str) -> HttpProblem:
        """The same problem, found in a part of the request that is at ``pointer``."""
        faults = [core.Fault(pointer + fault.pointer, fault.detail) for fault in self.problem.faults]
        return HttpProblem(replace(self.problem, faults=faults, detail=f"{pointer}: {self.problem.detail}"))


def status_of(error: VdbError) -> HTTPStatus:
    """The status of an error of the core."""
    for base in type(error).__mro__:
        status = STATUS_OF.get(base)
        if status is not None:
            return status
    return HTTPStatus.INTERNAL_SERVER_ERROR


def problem_of(error: VdbError, *, part: Part = "body") -> Problem:
    """Make the problem of an error of the core."""
    headers: dict[str, str] = {}
    extra: dict[str, object] = {}
    if isinstance(error, core.WriteQueueFull):
        headers["retry-after"] = str(max(1, round(error.retry_after)))
    elif isinstance(error, core.IdempotencyKeyInUse):
        headers["retry-after"] = "1"
    elif isinstance(error, core.EmbedderUnavailable):
        # Somebody has to fetch a model: clients that wait by themselves are to give up rather than to wait.
        headers["retry-after"] = "120"
    elif isinstance(error, core.BuildInProgress):
        extra["job_id"] = error.job_id
    status = status_of(error)
    # A database that is read-only stays so until somebody has acted: no client should come back in a second.
    if status == HTTPStatus.SERVICE_UNAVAILABLE and not isinstance(
        error, (core.StorageReadOnly, core.StorageBroken)
    ):
        headers.setdefault("retry-after", "1")
    return Problem(
        status=status,
        code=error.code,
        detail=str(error),
        faults=getattr(error, "faults", ()),
        part=part,
        headers=headers,
        extra=extra,
    )


def bad_parameter(part: Part, name: str, detail: str) -> HttpProblem:
    """Make the 422 of a parameter in the path, the query or the headers."""
    fault = core.Fault(f"/{name}", detail)
    return HttpProblem.of(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        core.ValidationFailed.code,
        f"{part} parameter {name}: {detail}",
        faults=(fault,),
        part=part,
    )


def internal_error(request_id: str) -> Problem:
    """Make the 500 of a bug: it names the request, for the log has the rest, and nothing else."""
    return Problem(
        status=HTTPStatus.INTERNAL_SERVER_ERROR,
        code="internal_error",
        detail=f"The server failed on this request; its log says why under request id {request_id}.",
        extra={"request_id": request_id},
    )


def _escaped(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    if isinstance(value, dict):
        return {key: _escaped(item) for key, item in value.items()}
    return value


class FaultView(BaseModel):
    """One thing that is wrong with a request."""

    model_config = ConfigDict(title="Fault")

    pointer: str = Field(
        description="RFC 6901 JSON Pointer to the value within the part of the request; empty is the whole part.",
        examples=["/chunks/17/embedding"],
    )
    detail: str = Field(description="What was expected, what was received, what to do.")
    in_: Part = Field(
        default="body", alias="in", description="The part of the request; left out for the body."
    )


class ProblemView(BaseModel):
    """An error, as `application/problem+json` (RFC 9457)."""

    model_config = ConfigDict(title="Problem")

    type: str = Field(description="`about:blank`: `code` identifies the problem.", examples=["about:blank"])
    title: str = Field(description="The phrase of the HTTP status.", examples=["Unprocessable Content"])
    status: int = Field(description="The HTTP status.", examples=[422])
    detail: str = Field(description="For people: what, expected, received, what to do.")
    code: str = Field(description="For programs: stable.", examples=["validation_failed"])
    errors: list[FaultView] = Field(description="Every fault that was found.")
    job_id: str | None = Field(default=None, description="`build_in_progress`: the job that is running.")
    request_id: str | None = Field(default=None, description="`internal_error`: what to look for in the log.")
