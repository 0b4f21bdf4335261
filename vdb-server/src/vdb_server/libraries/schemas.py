"""Bodies of the library routes, for the documentation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from vdb_server.wire.models import Absent, Body, MetadataObject, NewLibraryId, Time, View

__all__ = ["IndexChoice", "LibraryCreate", "LibraryPage", "LibraryPatch", "LibraryView"]


class IndexChoice(Body):
    """Which index a library uses."""

    type: str = Field(
        default="brute", description="Name of an installed index type, see `GET /v1/index-types`."
    )
    params: dict[str, object] = Field(
        default={}, description="Build parameters; what is left out has its default."
    )


class LibraryCreate(Body):
    """A new library."""

    id: NewLibraryId | Absent = None
    name: str = Field(description="What people call it.")
    metric: Literal["cosine", "dot", "l2"] = Field(default="cosine", description="How near is measured.")
    dimension: int | None = Field(
        default=None,
        ge=1,
        description="Length of every embedding; the first one fixes it where this is left out.",
    )
    index: IndexChoice = IndexChoice()
    metadata: MetadataObject = Field(default={})
    embedder: str | None = Field(
        default=None,
        description="Name of an installed embedder, which makes embeddings of texts and gives the library its dimension. "
        "Left out: the first write decides, by texts for the server's embedder.",
    )


class LibraryPatch(Body):
    """Changes to a library, as a JSON merge patch."""

    name: str | Absent = Field(default=None, description="Another name.")
    metadata: MetadataObject | None = Field(
        default=None, description="Merged into what is there; null removes a key."
    )
    embedder: str | None = Field(
        default=None,
        description="What made the library's embeddings, where it does not say yet; "
        "another one only as long as no row was written.",
    )


class LibraryView(View):
    """A library."""

    id: str
    name: str
    metric: Literal["cosine", "dot", "l2"]
    dimension: int | None
    index: IndexChoice
    metadata: MetadataObject
    embedder: str | None = Field(description="What makes embeddings of its texts.")
    revision: int = Field(description="One more for each write; the `ETag`.")
    created_at: Time
    updated_at: Time
    documents: int = Field(description="How many documents it holds.")
    chunks: int = Field(description="How many chunks it holds.")


class LibraryPage(View):
    """One page of libraries."""

    items: list[LibraryView]
    next_cursor: str | None
