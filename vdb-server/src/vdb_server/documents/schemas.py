"""Bodies of the document routes, for the documentation."""

from __future__ import annotations

from pydantic import Field

from vdb_server.wire.models import Absent, Body, EntityId, MetadataObject, Time, View

__all__ = ["DeletedView", "DocumentCreate", "DocumentPage", "DocumentPatch", "DocumentView"]


class DocumentCreate(Body):
    """A new document."""

    id: EntityId | Absent = None
    metadata: MetadataObject = Field(default={})


class DocumentPatch(Body):
    """Changes to a document, as a JSON merge patch."""

    metadata: MetadataObject | None = Field(
        default=None, description="Merged into what is there; null removes a key."
    )


class DocumentView(View):
    """A document."""

    id: str
    metadata: MetadataObject
    revision: int = Field(description="The library's revision at the write that last changed it; the `ETag`.")
    created_at: Time
    updated_at: Time


class DocumentPage(View):
    """One page of documents."""

    items: list[DocumentView]
    next_cursor: str | None


class DeletedView(View):
    """What a delete did."""

    deleted: int = Field(description="How many chunks are gone.")
    revision: int = Field(description="The library's revision after it.")
