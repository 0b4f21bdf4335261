"""When the engine folds a library by itself: its delta, or its dead rows, have outgrown their share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vdb_core.engine.state import LibraryState

__all__ = ["fold_is_due"]

_FOLD_ROWS: Final = 10_000
_FOLD_SHARE: Final = 0.10
_DEAD_SHARE: Final = 0.20
_DEAD_ROWS: Final = 1_000
"""Below so many dead rows a fold is not worth its files, whatever their share."""


def fold_is_due(state: LibraryState) -> bool:
    """Whether the delta or the dead rows of a library have outgrown their share."""
    base = 0 if state.base is None else state.base.rows
    delta, dead = state.delta_rows, state.dead_rows
    return delta > max(_FOLD_ROWS, _FOLD_SHARE * base) or dead > max(_DEAD_ROWS, _DEAD_SHARE * (base + delta))
