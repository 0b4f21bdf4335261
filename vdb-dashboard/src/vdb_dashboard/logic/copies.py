"""Comparison copies: how several index types can answer for one library, which has one active index at a time.

A copy is a library of its own, made on request by export and import, so that its rows, documents and filters are the
original's as of one revision. Its metadata says what it is a copy of, and of which revision: a copy that is behind is
told as such. Copies stay until they are deleted, and are seen by every client as the libraries they are.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from vdb_sdk import NotFoundError

if TYPE_CHECKING:
    from vdb_sdk import Client, IndexTypeInfo, Library

__all__ = ["Copy", "Report", "copies_among", "copy_of", "exact_type", "make", "name_of", "remove"]

_MARK: Final = "vdb_dashboard"

Report: TypeAlias = Callable[[str, float | None], None]
"""Takes what is being done, and how much of it, 0 to 1, where known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A comparison copy."""

    library: Library
    """The library that it is."""

    original: str
    """Id of the library that it is a copy of."""

    revision: int
    """Revision of the original when the copy was made."""

    params: Mapping[str, object]
    """Build parameters of its index."""

    ready: bool
    """Whether it was finished; what was interrupted is no use but to be deleted."""

    @property
    def type(self) -> str:
        """Its index type."""
        return self.library.index.type


def copy_of(library: Library) -> Copy | None:
    """What a library is a copy of, or ``None`` where it is an original."""
    mark = library.metadata.get(_MARK)
    if not isinstance(mark, Mapping):
        return None
    told = cast("Mapping[str, object]", mark)
    original, revision = told.get("copy_of"), told.get("revision")
    if not isinstance(original, str) or not isinstance(revision, int):
        return None
    return Copy(
        library=library,
        original=original,
        revision=revision,
        params=library.index.params,
        ready=told.get("ready") is True,
    )


def copies_among(libraries: Iterable[Library], original: str) -> list[Copy]:
    """The copies of a library, by index type."""
    found = [copy for library in libraries if (copy := copy_of(library)) and copy.original == original]
    return sorted(found, key=lambda copy: copy.type)


def name_of(original: str, index_type: str) -> str:
    """Id of the copy of a library with an index type."""
    word = re.sub(r"[^A-Za-z0-9_-]", "-", index_type)
    return f"{original[: 118 - len(word[:40])]}.compare-{word[:40]}"


def exact_type(types: Iterable[IndexTypeInfo], metric: str) -> str | None:
    """The index type that answers are measured against: the first that claims to be exact."""
    return next(
        (each.name for each in types if each.capabilities.get("exact") and metric in each.metrics), None
    )


def make(
    client: Client,
    original: str,
    builds: Mapping[str, Mapping[str, object]],
    report: Report,
) -> None:
    """Make a copy for each index type with its build parameters, in place of one that is there.

    A copy that cannot be finished is deleted again. Raises what the SDK raises.
    """
    source = client.library(original)
    info = source.info()
    with tempfile.TemporaryDirectory(prefix="vdb-dashboard-") as folder:
        archive = Path(folder) / "library.tar"
        report(f"reading {original}", None)
        _ = source.export(archive)
        for place, (index_type, params) in enumerate(builds.items()):
            copy_id = name_of(original, index_type)

            def tell(what: str, share: float, at: int = place) -> None:
                report(what, (at + share) / len(builds))

            tell(f"{index_type}: copying {info.chunks:,} chunks", 0.0)
            remove(client, [copy_id])
            copy = client.import_library(archive, id=copy_id)
            mark: dict[str, object] = {"copy_of": original, "revision": info.revision, "ready": False}
            try:
                _ = copy.update(name=f"{info.name} ({index_type})", metadata={_MARK: mark})
                tell(f"{index_type}: building", 0.3)
                _ = copy.build_index(
                    index_type,
                    params,
                    progress=lambda now, name=index_type, tell=tell: tell(
                        f"{name}: {now.phase}", 0.3 + 0.7 * (now.fraction or 0.0)
                    ),
                )
                _ = copy.update(metadata={_MARK: {**mark, "ready": True}})
            except BaseException:
                remove(client, [copy_id])
                raise
    report("ready", 1.0)


def remove(client: Client, ids: Iterable[str]) -> None:
    """Delete libraries; one that is gone already is no error."""
    for each in ids:
        try:
            client.delete_library(each)
        except NotFoundError:
            continue
