"""Which embedder a library's texts go to, and the rule that a library never mixes the embeddings of two.

::

    chosen                     that one, installed or not
    none, no row ever written  the default; the first texts that are written choose it for good
    none, rows are there       nobody knows what made their embeddings: texts are refused until somebody says
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from vdb_core.engine.operations import PutLibrary
from vdb_core.engine.state import copy_info
from vdb_core.errors import Fault, ValidationFailed
from vdb_core.services.results import WouldBlock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vdb_core.engine.core import Engine
    from vdb_core.engine.embedders import Embedded
    from vdb_core.engine.overlay import Overlay
    from vdb_core.engine.state import LibraryInfo, LibraryState

    Embed: TypeAlias = Callable[[Sequence[str]], Embedded]

__all__ = ["Embed", "choose_embedder", "embedder_faults", "embedder_of", "embedding_for"]


def embedding_for(engine: Engine, state: LibraryState, *, embed: bool = True) -> Embed:
    """What makes embeddings of texts for a library.

    Args:
        engine: has the embedders.
        state: of the library.
        embed: false raises ``WouldBlock`` instead: embedding takes long.

    The function raises ``ValidationFailed`` where there is no embedder for this library, and what
    :meth:`~vdb_core.engine.embedders.Embedders.embed` raises.
    """

    def made(texts: Sequence[str]) -> Embedded:
        name = embedder_of(engine, state.info, written=state.next_id > 1)
        if not embed:
            raise WouldBlock("Embedding a text takes long.")
        _check_dimension(engine, name, state.info["dimension"])
        return engine.embedders.embed(name, texts)

    return made


def embedder_of(engine: Engine, info: LibraryInfo, *, written: bool) -> str:
    """The embedder of a library that has, or never had, rows; raises ``ValidationFailed`` where there is none."""
    chosen = info["embedder"]
    if chosen is not None:
        return chosen
    name = engine.embedders.default()
    if written:
        raise ValidationFailed.at(
            "",
            "an embedding is needed: this library holds embeddings and nothing says what made them. "
            f'If it was {name}, say so once: PATCH the library with {{"embedder": "{name}"}}',
        )
    return name


def embedder_faults(engine: Engine, name: str, dimension: int | None, pointer: str) -> list[Fault]:
    """What is wrong with a choice of embedder: it is not installed, or of another dimension. Opens it."""
    try:
        _ = engine.plugins.embedder(name, pointer=pointer)
        _check_dimension(engine, name, dimension)
    except ValidationFailed as error:
        return [Fault(pointer, fault.detail) for fault in error.faults]
    return []


def choose_embedder(overlay: Overlay, made_by: str | None, revision: int, now: str) -> list[PutLibrary]:
    """What has to be written before rows that an embedder made part of: that the library is this embedder's.

    Raises:
        ValidationFailed: since they were embedded the library became another's.
    """
    if made_by is None or overlay.info["embedder"] == made_by:
        return []
    if overlay.info["embedder"] is not None or overlay.next_id > 1:
        raise ValidationFailed.at(
            "",
            f"while its texts were embedded by {made_by}, the library got other embeddings: send the request again",
        )
    info = copy_info(overlay.info)
    info.update(embedder=made_by, revision=revision, updated_at=now)
    return [PutLibrary(info=info)]


def _check_dimension(engine: Engine, name: str, dimension: int | None) -> None:
    if dimension is None:
        return
    made = engine.embedders.dimension(name)
    if made != dimension:
        raise ValidationFailed.at(
            "",
            f"the embedder {name!r} makes embeddings of {made} numbers, and the library's have {dimension}: "
            "send embeddings, or use another library",
        )
