"""What vdb finds at its start: the record of the embedder. The model is looked for when a first text comes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from pydantic import BaseModel, ConfigDict, Field

from vdb_core.plugins import EmbedderType, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vdb_embedder_minilm.embedder import MiniLM

__all__ = ["NAME", "MiniLMParams", "vdb_register_embedders"]

NAME: Final = "all_minilm_l6_v2"
"""The model's name, spelled as names are in vdb."""


class MiniLMParams(BaseModel):
    """Where the model is, and how many cores it may use."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)

    directory: str | None = Field(
        default=None, description="A directory with model.safetensors and tokenizer.json, as published."
    )
    threads: int | None = Field(default=None, ge=1, description="Threads; all cores when not set.")
    download: bool = Field(
        default=True,
        description="Fetch the model from the Hugging Face hub where it is nowhere on this machine.",
    )


def _open(params: BaseModel) -> MiniLM:
    from vdb_embedder_minilm.embedder import MiniLM
    from vdb_embedder_minilm.weights import find_model

    given = params if isinstance(params, MiniLMParams) else MiniLMParams()
    return MiniLM(find_model(given.directory, download=given.download), threads=given.threads)


@hookimpl
def vdb_register_embedders() -> Iterable[EmbedderType]:
    """Register ``all_minilm_l6_v2``."""
    return [
        EmbedderType(
            name=NAME,
            summary="all-MiniLM-L6-v2: English sentences and short paragraphs, 384 dimensions, reads 256 word pieces.",
            open=_open,
            params=MiniLMParams,
        )
    ]
