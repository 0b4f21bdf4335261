"""``…/export`` and ``/v1/libraries/import``."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Request, Response
from starlette.responses import StreamingResponse

from vdb_core.services import release_memory
from vdb_server.errors import HttpProblem
from vdb_server.libraries.schemas import LibraryView
from vdb_server.state import services_of, settings_of
from vdb_server.transfer.archive import read_archive, write_archive
from vdb_server.wire.calls import in_thread
from vdb_server.wire.describe import BINARY, body, problems
from vdb_server.wire.once import write
from vdb_server.wire.parameters import LibraryId, strict_query
from vdb_server.wire.replies import created
from vdb_server.wire.spool import Spool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from concurrent.futures import Future

    from vdb_core.domain import Library
    from vdb_core.services import Services

__all__ = ["router", "start_import"]

router = APIRouter(prefix="/v1/libraries", tags=["transfer"], dependencies=[strict_query])

_TAR = "application/x-tar"


@router.post(
    "/import",
    status_code=201,
    response_model=LibraryView,
    responses=problems(400, 409, 413, 415, 422, 503, 507),
    openapi_extra=body({_TAR: {"schema": {**BINARY, "description": "What `export` answers."}}}),
)
async def import_library(
    request: Request,
    id: Annotated[  # noqa: A002 - the word of the REST contract
        str | None, Query(description="Another id than the one in the archive.")
    ] = None,
) -> Response:
    """Create a library from an archive, all of it or nothing."""
    content_type = request.headers.get("content-type")
    if content_type != _TAR:
        raise HttpProblem.of(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            f"The body is {content_type!r}; this route takes {_TAR}, as export answers it.",
        )
    services, max_depth = services_of(request), settings_of(request).max_json_depth
    with Spool("the archive") as archive:
        async for piece in request.stream():
            # Beyond a few megabytes this is a temporary file: the page cache takes a piece in microseconds.
            archive.write(piece)
        content = archive.view()
        return await write(
            request,
            [content],
            lambda library: created(library, "libraries", library.id),
            start_import,
            services,
            content,
            id,
            max_depth,
        )


def start_import(
    services: Services, archive: memoryview, renamed: str | None, max_depth: int
) -> Future[Library]:
    """Read an archive and hand it to the core, under another id where one is given."""
    imported = read_archive(archive, max_depth=max_depth)
    if renamed is not None:
        imported = replace(imported, library={**imported.library, "id": renamed})
    return services.libraries.import_library(imported)


@router.get(
    "/{library_id}/export",
    response_class=StreamingResponse,
    responses={
        **problems(404, 422),
        200: {"description": "The archive.", "content": {_TAR: {"schema": BINARY}}},
    },
)
async def export_library(request: Request, library_id: LibraryId) -> Response:
    """Stream the library as it is now: a tar of JSON and `.npy` files, with their checksums."""
    export = await in_thread(services_of(request).libraries.export, library_id)
    pieces = write_archive(export)
    # The first piece is made before the answer begins, so that what fails early is still a proper problem.
    first = await asyncio.to_thread(next, pieces)

    # Not a plain generator, for which the framework takes threads of its own that come and go.
    async def all_pieces() -> AsyncGenerator[bytes]:
        piece: bytes | None = first
        try:
            while piece is not None:
                yield piece
                piece = await asyncio.to_thread(next, pieces, None)
            await asyncio.to_thread(release_memory)
        finally:
            if piece is not None:  # nobody waits for the rest
                with suppress(RuntimeError):  # the server is ending, and its memory with it
                    _ = asyncio.get_running_loop().run_in_executor(None, release_memory)

    return StreamingResponse(
        all_pieces(),
        media_type=_TAR,
        headers={"content-disposition": f'attachment; filename="{library_id}.tar"'},
    )
