"""An embedder without a model: counts words by their hash. Texts that share words are close."""

from __future__ import annotations

import threading
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from vdb_core.plugins import EmbedderType, PluginManager, hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class WordsParams(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    dimension: int = 16


@dataclass
class Words:
    """The embedder and its plugin in one, with knobs."""

    name: str = "words"
    dimension: int = 16
    reads: int = 1_000
    """Characters that it reads of a text."""
    gate: threading.Event | None = None
    """Embedding waits for it."""
    entered: threading.Event = field(default_factory=threading.Event)
    opened: int = 0
    asked: list[list[str]] = field(default_factory=list)
    fail_open: Exception | None = None
    spoil: Callable[[Any], Any] = lambda made: made

    def embed(self, texts: Sequence[str]) -> Any:
        self.asked.append(list(texts))
        self.entered.set()
        if self.gate is not None:
            assert self.gate.wait(20)
        return self.spoil(np.stack([self.of(text) for text in texts]))

    def of(self, text: str) -> np.ndarray:
        row = np.zeros(self.dimension, dtype=np.float32)
        for word in text[: self.reads].lower().split():
            row[zlib.crc32(word.encode()) % self.dimension] += 1
        return row

    def unread(self, texts: Sequence[str]) -> list[int]:
        return [max(0, len(text) - self.reads) for text in texts]

    def open(self, params: WordsParams) -> Words:
        self.opened += 1
        if self.fail_open is not None:
            if self.gate is not None:
                self.entered.set()
                assert self.gate.wait(20)
            raise self.fail_open
        self.dimension = params.dimension
        return self

    @hookimpl
    def vdb_register_embedders(self) -> list[EmbedderType]:
        return [
            EmbedderType(
                name=self.name, summary="Counts words by their hash.", open=self.open, params=WordsParams
            )
        ]


def with_embedders(*embedders: Words) -> PluginManager:
    """Plugins: the built-ins and these."""
    plugins = PluginManager(entry_points=lambda: ())
    plugins.load()
    for one in embedders:
        plugins.register(one, name=one.name)
    return plugins
