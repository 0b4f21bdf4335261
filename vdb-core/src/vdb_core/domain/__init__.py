"""The words of the domain: value objects that cannot be invalid, and the entities.

::

    Library ──< Document ──< Chunk         a chunk may also stand alone in its library
       │                       │
    LibraryID, IndexChoice    ID, Embedding, Metadata

For each value there is a ``check_...`` function that returns every fault with its pointer, which is what a batch
needs, and a class that raises on the first sight of one, which is what a single value needs.
"""

from __future__ import annotations

from vdb_core.domain.embedding import (
    Embedding,
    check_matrix,
    embedding_from_b64,
    normalize,
    plain_query,
    to_matrix,
)
from vdb_core.domain.entities import Chunk, Document, IndexChoice, Library
from vdb_core.domain.ids import ID, MAX_ID_LENGTH, LibraryID, check_id, check_library_id, new_id
from vdb_core.domain.metadata import (
    MAX_METADATA_BYTES,
    MAX_METADATA_DEPTH,
    Metadata,
    check_metadata,
    merge_patch,
)
from vdb_core.domain.times import format_datetime, format_time, now_us, parse_time, to_datetime

__all__ = [
    "ID",
    "MAX_ID_LENGTH",
    "MAX_METADATA_BYTES",
    "MAX_METADATA_DEPTH",
    "Chunk",
    "Document",
    "Embedding",
    "IndexChoice",
    "Library",
    "LibraryID",
    "Metadata",
    "check_id",
    "check_library_id",
    "check_matrix",
    "check_metadata",
    "embedding_from_b64",
    "format_datetime",
    "format_time",
    "merge_patch",
    "new_id",
    "normalize",
    "now_us",
    "parse_time",
    "plain_query",
    "to_datetime",
    "to_matrix",
]
