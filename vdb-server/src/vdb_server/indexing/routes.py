"""``…/index``, ``…/snapshot`` and ``/v1/jobs``: start, watch, cancel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response

from vdb_core.errors import ValidationFailed
from vdb_server.indexing.schemas import IndexBuild, IndexStatusView, JobAccepted, JobView, SnapshotWrite
from vdb_server.state import hide_of, services_of
from vdb_server.wire.calls import finished, in_thread
from vdb_server.wire.describe import body, json_content, problems, schema_ref
from vdb_server.wire.json_body import read_optional_object
from vdb_server.wire.once import started
from vdb_server.wire.parameters import JobId, LibraryId, strict_query
from vdb_server.wire.replies import json_response, path_of

if TYPE_CHECKING:
    from vdb_core.services import Job

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["index"], dependencies=[strict_query])

_ENDED = {
    200: {
        "description": "With `wait`: the job, which has ended.",
        "content": {"application/json": {"schema": schema_ref(JobView)}},
    }
}


@router.post(
    "/libraries/{library_id}/index",
    status_code=202,
    response_model=JobAccepted,
    responses={**problems(400, 404, 409, 413, 415, 422), **_ENDED},
    openapi_extra=body(
        {
            "application/json": json_content(
                IndexBuild, rebuild={"wait": True}, choose={"type": "numpy", "params": {}, "wait": True}
            )
        },
        required=False,
    ),
)
async def build_index(request: Request, library_id: LibraryId) -> Response:
    """Build the library's index, or another one; the present one serves meanwhile."""
    given = await read_optional_object(request)
    wait = _take_wait(given)

    async def start() -> Response:
        job = await in_thread(services_of(request).indexing.start, library_id, given)
        return await _answer(request, job, wait=wait)

    return await started(request, [await request.body()], start)


@router.get("/libraries/{library_id}/index", response_model=IndexStatusView, responses=problems(404, 422))
async def get_index(request: Request, library_id: LibraryId) -> Response:
    """Tell how the index is."""
    return json_response(await in_thread(services_of(request).indexing.status, library_id))


@router.post(
    "/libraries/{library_id}/snapshot",
    status_code=202,
    response_model=JobAccepted,
    responses={**problems(400, 404, 409, 413, 415, 422), **_ENDED},
    openapi_extra=body(
        {"application/json": json_content(SnapshotWrite, write={"wait": True})}, required=False
    ),
)
async def write_snapshot(request: Request, library_id: LibraryId) -> Response:
    """Write the library to its snapshot store and shorten the journal. Writes are durable without it."""
    given = await read_optional_object(request)
    wait = _take_wait(given)
    if given:
        raise ValidationFailed.at(f"/{next(iter(given))}", "unknown field; known: wait")

    async def start() -> Response:
        job = await in_thread(services_of(request).indexing.snapshot, library_id)
        return await _answer(request, job, wait=wait)

    return await started(request, [await request.body()], start)


@router.get("/jobs/{job_id}", tags=["jobs"], response_model=JobView, responses=problems(400, 404, 422))
async def get_job(request: Request, job_id: JobId) -> Response:
    """Tell how far a job is."""
    return _told(request, services_of(request).indexing.job(job_id))


@router.delete("/jobs/{job_id}", tags=["jobs"], response_model=JobView, responses=problems(400, 404, 422))
async def cancel_job(request: Request, job_id: JobId) -> Response:
    """Ask a job to stop; one that has ended stays as it is."""

    async def cancel() -> Response:
        return _told(request, services_of(request).indexing.cancel(job_id))

    return await started(request, [], cancel)


def _take_wait(given: dict[str, object]) -> bool:
    wait = given.pop("wait", False)
    if not isinstance(wait, bool):
        raise ValidationFailed.at("/wait", f"expected true or false; received {type(wait).__name__}")
    return wait


def _told(request: Request, job: Job) -> Response:
    view = job.to_json()
    if job.error is not None:
        view["error"] = hide_of(request)(job.error)
    return json_response(view)


async def _answer(request: Request, job: Job, *, wait: bool) -> Response:
    if wait:
        await finished(job)
        return _told(request, job)
    return json_response({"job_id": job.id}, status=202, headers={"location": path_of("jobs", job.id)})
