"""The embedders that are installed: which one is meant, opened at first use, and asked in slices.

What an embedder answers is a stranger's: shape, type and finiteness are checked before anything is stored or searched.
Nothing here is called under a lock of a library, or on the committer's thread.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, cast, final

import numpy as np

from vdb_core.errors import EngineClosed, PluginError, ValidationFailed, VdbError
from vdb_core.plugins import validate_params

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from vdb_core.persistence import Embedder
    from vdb_core.plugins import EmbedderType, PluginManager

__all__ = ["Embedded", "Embedders"]

_SLICE: Final = 512
"""Texts an embedder is given at once: many enough to be sorted by length, few enough to stop soon when asked to."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """Texts as an embedder sees them."""

    name: str
    """The embedder."""

    matrix: NDArray[np.float32]
    """float32 ``[texts, dimension]``, finite."""

    unread: dict[int, int] = field(default_factory=dict)
    """Characters at the end of a text that the embedder did not read, by text; those that were read whole are not here."""

    def warnings(self, pointer: Callable[[int], str], texts: Sequence[str]) -> list[str]:
        """One sentence a text that was not read to its end; beyond the first few they are counted."""
        told = [
            f"{pointer(at)}: {self.name} reads the first {len(texts[at]) - rest} of {len(texts[at])} characters; "
            "what comes after does not count in searches. Split the text into several chunks."
            for at, rest in list(self.unread.items())[:_TOLD]
        ]
        more = len(self.unread) - len(told)
        return [*told, f"{more} more texts are longer than {self.name} reads."] if more > 0 else told


_TOLD: Final = 20


@final
class Embedders:
    """Opens embedders and embeds with them. Safe to call from any thread."""

    def __init__(
        self, plugins: PluginManager, default: str | None, params: Mapping[str, Mapping[str, object]]
    ) -> None:
        """Know what is installed; nothing is opened.

        Args:
            plugins: what is installed.
            default: the embedder that the settings name; none means the one that is installed, if it is one.
            params: settings of embedders, by name.
        """
        self._plugins = plugins
        self._default = default
        self._params = params
        self._lock = threading.Lock()
        self._opening: dict[str, threading.Lock] = {}
        self._open: dict[str, Embedder] = {}
        self._failed: dict[str, tuple[float, VdbError]] = {}
        self._closed = False

    def default(self) -> str:
        """The embedder of libraries that chose none; raises ``ValidationFailed`` where none is meant."""
        if self._default is not None:
            return self._default
        installed = sorted(self._plugins.embedders)
        if len(installed) == 1:
            return installed[0]
        if installed:
            raise ValidationFailed.at(
                "",
                f"an embedding is needed: several embedders are installed ({', '.join(installed)}) and none is chosen. "
                "Create the library with one of them as its embedder, or set VDB_EMBEDDER",
            )
        raise ValidationFailed.at(
            "",
            "an embedding is needed: no embedder is installed here that could make one of the text. "
            "Install one, for example with: pip install vdb-embedder-minilm",
        )

    def dimension(self, name: str) -> int:
        """Length of an embedder's embeddings; opens it."""
        return self._opened(name).dimension

    def embed(self, name: str, texts: Sequence[str]) -> Embedded:
        """Embed texts.

        Raises:
            ValidationFailed: the embedder is not installed, or refuses a text.
            OperatorError: the embedder cannot be opened as it is set up.
            PluginError: it fails, or returns what no embedder may return.
            EngineClosed: the engine was closed meanwhile.
        """
        embedder = self._opened(name)
        dimension = embedder.dimension
        parts: list[NDArray[np.float32]] = []
        unread: dict[int, int] = {}
        for begin in range(0, len(texts), _SLICE):
            if self._closed:
                raise EngineClosed("The engine was closed while texts were embedded.")
            part = texts[begin : begin + _SLICE]
            made = _shielded(name, "embedding texts", lambda some=part: embedder.embed(some))
            parts.append(_checked(name, made, len(part), dimension))
            for at, rest in enumerate(_unread(name, embedder, part)):
                if rest > 0:
                    unread[begin + at] = rest
        matrix = np.concatenate(parts) if parts else np.empty((0, dimension), dtype=np.float32)
        return Embedded(name=name, matrix=matrix, unread=unread)

    def close(self) -> None:
        """Stop what is being embedded after the slice that is under way, and let the models go."""
        self._closed = True
        with self._lock:
            self._open.clear()

    def _opened(self, name: str) -> Embedder:
        found = self._open.get(name)
        if found is not None:
            return found
        kind = self._plugins.embedders.get(name)
        if kind is None:
            known = ", ".join(sorted(self._plugins.embedders)) or "none"
            raise ValidationFailed.at(
                "",
                f"an embedding is needed: the embedder {name!r} is not installed here (installed: {known}). "
                f"Install the plugin that brings {name!r}, or send embeddings",
            )
        with self._lock:
            opening = self._opening.setdefault(name, threading.Lock())
        came = time.monotonic()
        # A lock an embedder: one that downloads its model keeps nobody from another one.
        with opening:
            found = self._open.get(name)
            if found is not None:
                return found
            failed = self._failed.get(name)
            if failed is not None and failed[0] >= came:
                # Whoever waited for an attempt has its outcome: one after the other they would wait for minutes.
                raise failed[1]
            try:
                found = self._open[name] = self._made(name, kind)
            except VdbError as error:
                self._failed[name] = time.monotonic(), error
                raise
        return found

    def _made(self, name: str, kind: EmbedderType) -> Embedder:
        params = validate_params(kind.params, self._params.get(name, {}), f"/embedder_params/{name}")
        made = cast("Embedder", _shielded(name, "opening it", lambda: kind.open(params)))
        dimension = cast("object", getattr(made, "dimension", None))
        if not isinstance(dimension, int) or isinstance(dimension, bool) or dimension < 1:
            raise PluginError(
                f"embedder {name!r}: dimension: expected a whole number above 0; received {dimension!r}"
            )
        return made


def _shielded(name: str, doing: str, call: Callable[[], object]) -> object:
    """Run a stranger's code; what it raises, errors of ours apart, becomes a ``PluginError``."""
    try:
        return call()
    except VdbError:
        raise
    except Exception as error:
        raise PluginError(f"embedder {name!r}: {doing} raised {type(error).__name__}: {error}") from error


def _checked(name: str, made: object, texts: int, dimension: int) -> NDArray[np.float32]:
    expected = f"embedder {name!r}: expected float32 [{texts}, {dimension}]"
    if not isinstance(made, np.ndarray):
        raise PluginError(f"{expected}; received {type(made).__name__}")
    matrix = cast("NDArray[np.generic]", made)
    if matrix.dtype != np.float32 or matrix.shape != (texts, dimension):
        raise PluginError(f"{expected}; received {matrix.dtype} {list(matrix.shape)}")
    numbers = cast("NDArray[np.float32]", matrix)
    if not np.isfinite(numbers).all():
        raise PluginError(f"{expected} of finite numbers; received NaN or infinity")
    return numbers


def _unread(name: str, embedder: Embedder, texts: Sequence[str]) -> Sequence[int]:
    """What an embedder says of texts that are longer than it reads; one that does not say reads all."""
    ask = cast("Callable[[Sequence[str]], Sequence[int]] | None", getattr(embedder, "unread", None))
    if ask is None:
        return ()
    told = _shielded(name, "asking what is not read", lambda: ask(texts))
    if not isinstance(told, (list, tuple)) or len(cast("Sequence[object]", told)) != len(texts):
        raise PluginError(f"embedder {name!r}: unread(): expected {len(texts)} whole numbers, one a text")
    return cast("Sequence[int]", told)
