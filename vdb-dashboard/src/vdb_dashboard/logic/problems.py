"""What went wrong, ready to be shown: the code and the text of the server, and every fault with its place."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from vdb_sdk import ApiError, AuthenticationError, ConnectionFailed, PermissionDeniedError, TimeoutExceeded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vdb_sdk import Fault as ApiFault
    from vdb_sdk import VdbSdkError

__all__ = ["Problem", "problem_of", "row_faults"]

_ROW: Final = re.compile(r"/(?:chunks|vectors)/(\d+)(?:/(.*))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One error."""

    title: str
    """Status and code, such as ``422 validation_failed``."""

    text: str
    """What the server, or the client, says."""

    hint: str = ""
    """What to do about it, where the dashboard knows."""

    faults: tuple[tuple[str, str], ...] = ()
    """Where and what, where there is more than one fault."""

    request_id: str | None = None
    """Names the request in the server's logs."""


def problem_of(error: VdbSdkError) -> Problem:
    """What to show of an error of the SDK."""
    if isinstance(error, ApiError):
        several = error.errors if len(error.errors) > 1 else ()
        return Problem(
            title=f"{error.status} {error.code}",
            text=error.problem.detail,
            hint=_hint(error),
            faults=tuple((fault.pointer or "the request", fault.detail) for fault in several),
            request_id=error.request_id,
        )
    if isinstance(error, (ConnectionFailed, TimeoutExceeded)):
        title = "No connection" if isinstance(error, ConnectionFailed) else "No answer in time"
        return Problem(title=title, text=str(error), hint="Is the server running? Start it with: vdb serve")
    return Problem(title=type(error).__name__, text=str(error))


def row_faults(faults: Sequence[ApiFault], numbers: Sequence[int]) -> list[tuple[int | None, str, str]]:
    """The faults of an upsert as row of the file, column, text; a fault of the whole request has no row."""
    found: list[tuple[int | None, str, str]] = []
    for fault in faults:
        match = _ROW.match(fault.pointer or "")
        if match and int(match[1]) < len(numbers):
            column = (match[2] or "").replace("embedding_b64", "embedding")
            found.append((numbers[int(match[1])], column, fault.detail))
        else:
            found.append((None, fault.pointer or "", fault.detail))
    return found


def _hint(error: ApiError) -> str:
    if isinstance(error, AuthenticationError):
        return "Enter the server's API key under Connection."
    if isinstance(error, PermissionDeniedError):
        return "This key may only read. Enter one that may write under Connection."
    if error.job_id is not None:
        return f"Job {error.job_id} is in the way: wait for its end, or cancel it under Index."
    return ""
