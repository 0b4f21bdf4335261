"""Bases and types of the models that document bodies. Requests are validated by the core, not by these."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic.json_schema import SkipJsonSchema

__all__ = [
    "ID_SCHEMA",
    "LIBRARY_ID_PATTERN",
    "Absent",
    "Body",
    "Embedding",
    "EmbeddingB64",
    "EntityId",
    "ExistingId",
    "FilterObject",
    "MetadataObject",
    "NewLibraryId",
    "Time",
    "View",
]


Absent = SkipJsonSchema[None]
"""In place of ``None`` for a field that may be left out and must not be null: the schema does not offer null then."""


class Body(BaseModel):
    """Base of request bodies: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class View(BaseModel):
    """Base of response bodies."""


LIBRARY_ID_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
ID_SCHEMA: Final[dict[str, JsonValue]] = {
    "minLength": 1,
    "maxLength": 256,
    "pattern": r"^[^\u0000]*$",
    "not": {"enum": [".", ".."]},
}

Time = Annotated[datetime, Field(description="UTC, RFC 3339.")]
EntityId = Annotated[
    str,
    Field(
        json_schema_extra=ID_SCHEMA,
        description="1 to 256 code points; not `.` or `..`, no NUL. Left out: the server makes one.",
    ),
]
ExistingId = Annotated[str, Field(json_schema_extra=ID_SCHEMA)]
NewLibraryId = Annotated[
    str,
    Field(
        pattern=LIBRARY_ID_PATTERN,
        description="Unique without regard to case. Left out: the server makes one.",
    ),
]
Embedding = Annotated[
    list[float], Field(min_length=1, description="As many finite numbers as the library has dimensions.")
]
EmbeddingB64 = Annotated[str, Field(description="In place of `embedding`: base64 of little-endian float32.")]
MetadataObject = Annotated[
    dict[str, object],
    Field(
        description="Values: string, number, boolean, null, lists of these, nested objects. Names do not begin with `$`."
    ),
]
FilterObject = Annotated[
    dict[str, object],
    Field(
        description=(
            "Conditions on metadata: `$and $or $not $eq $ne $in $nin $gt $gte $lt $lte $exists $contains`; "
            "`$document.KEY` reaches the document's metadata, `$id` and `$document_id` the ids, a dot nested objects."
        )
    ),
]
