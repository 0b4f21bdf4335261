"""Exact search: which kernel it uses, and what makes queries quicker."""

from __future__ import annotations

import logging
from functools import cached_property
from typing import TYPE_CHECKING, final

from vdb_core.engine.accelerator import accelerator_of
from vdb_core.indexes import NumpyExactIndex

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from vdb_core.indexes import Accelerator, Index, Metric
    from vdb_core.plugins import IndexType, PluginManager

__all__ = ["ExactKernel"]

_log = logging.getLogger(__name__)


def _no_progress(phase: str, done: int, total: int) -> None:
    """Exact indexes over a segment take no time worth telling."""
    del phase, done, total


@final
class ExactKernel:
    """Builds exact indexes over rows: ``brute`` where it is installed, NumPy otherwise."""

    def __init__(self, plugins: PluginManager, *, threads: int) -> None:
        kind = plugins.index_types.get("brute")
        self._type: IndexType | None = kind if kind is not None and kind.capabilities.exact else None
        self._threads = threads

    @property
    def name(self) -> str:
        """The index type that serves exact searches."""
        return "numpy" if self._type is None else self._type.name

    @cached_property
    def accelerator(self) -> Accelerator:
        """What makes queries quicker: of the same type, where it offers it."""
        return accelerator_of(self._type)

    def builder(self, metric: Metric) -> Callable[[NDArray[np.float32]], Index]:
        """A function from rows to an exact index over them."""

        def build(vectors: NDArray[np.float32]) -> Index:
            kind = self._type
            if kind is not None and metric in kind.metrics:
                # A base under another index is searched exactly now and then: that is worth no codes of all its rows.
                spare = {"codes": False} if "codes" in kind.params.model_fields else {}
                try:
                    return kind.build(
                        vectors,
                        metric=metric,
                        params=kind.params.model_validate(spare),
                        seed=0,
                        threads=self._threads,
                        progress=_no_progress,
                        cancelled=lambda: False,
                    )
                except Exception:  # noqa: BLE001 - whatever a plugin raises, NumPy serves
                    _log.exception("index type %r failed; NumPy serves exact searches instead", kind.name)
            return NumpyExactIndex(vectors, metric=metric)

        return build
