"""Bodies of the index, snapshot and job routes, for the documentation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from vdb_server.wire.models import Absent, Body, Time, View

__all__ = ["IndexBuild", "IndexStatusView", "JobAccepted", "JobView", "SnapshotWrite"]


class IndexBuild(Body):
    """Which index to build. What is left out stays as it is; another type begins with its defaults."""

    type: str | Absent = Field(default=None, description="Name of an installed index type.")
    params: dict[str, object] | Absent = Field(default=None, description="Build parameters.")
    wait: bool = Field(default=False, description="Answer when the build has ended.")


class SnapshotWrite(Body):
    """How to write a snapshot."""

    wait: bool = Field(default=False, description="Answer when it is on disk.")


class JobAccepted(View):
    """A job was begun."""

    job_id: str


class JobView(View):
    """A job."""

    id: str
    library_id: str
    kind: Literal["index", "fold", "snapshot"]
    state: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    phase: str = Field(description="What it is at.")
    progress: float = Field(ge=0, le=1)
    eta_s: float | None = Field(description="Seconds that are probably left.")
    error: str | None = Field(description="`failed`: why.")
    error_code: str | None
    created_at: Time
    finished_at: Time | None


class IndexStatusView(View):
    """How the index of a library is."""

    type: str
    params: dict[str, object]
    state: str = Field(
        description="`ready`, `building`, or `degraded`: searched exactly for lack of the index."
    )
    rows: int = Field(description="Rows under the index, dead ones included.")
    delta_rows: int = Field(description="Rows written since, searched exactly.")
    dead_rows: int = Field(description="Rows that were deleted or replaced and still take room.")
    bytes: int
    job_id: str | None = Field(description="The job that is running.")
    warnings: list[str]
