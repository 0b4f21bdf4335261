"""Some of a library's rows with their embeddings: what the map shows and what queries are made from."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from vdb_dashboard.logic.inputs import shorten
from vdb_dashboard.ui import session

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vdb_sdk import Library, LibraryHandle

__all__ = ["Sample", "sample"]

_A_PAGE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The first rows of a library, in the server's order."""

    ids: list[str]
    """A chunk each."""

    texts: list[str]
    """Its text, shortened."""

    rows: NDArray[np.float32]
    """Its embedding, ``[n, dimension]``."""


def sample(library: LibraryHandle, info: Library, most: int) -> Sample:
    """At most ``most`` rows; read again only where the library has changed."""

    def read() -> Sample:
        pager = library.chunks(include=["embedding"], page_size=min(_A_PAGE, most))
        chunks = [chunk for chunk in islice(pager, most) if chunk.embedding is not None]
        vectors = [chunk.embedding for chunk in chunks if chunk.embedding is not None]
        return Sample(
            ids=[chunk.id for chunk in chunks],
            texts=[shorten(chunk.text or "", 120) for chunk in chunks],
            rows=np.stack(vectors) if vectors else np.zeros((0, info.dimension or 1), dtype=np.float32),
        )

    return session.remembered("sample", (library.id, info.revision, most), read)
