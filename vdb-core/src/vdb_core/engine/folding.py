"""When the engine folds a library by itself.

::

    delta   0 ─────────── limit ───────────────────────── 4 x limit
            no fold       once rows stop coming in bulk   at once
            (limit: 10,000 rows, or a tenth of the base where that is more)

    dead    above a fifth of all rows, and 1,000: at once

A fold writes the whole base anew. In the middle of a bulk upload it would be overtaken before it ends, again and again, so
that every row is written ten times; waiting until the upload pauses, or until there is much to fold, writes it two or
three times (ADR 16).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vdb_core.engine.state import LibraryState

__all__ = ["fold_is_due"]

_FOLD_ROWS: Final = 10_000
_FOLD_SHARE: Final = 0.10
_PATIENCE: Final = 4
_SURGE_ROWS: Final = 2_000
"""Rows between two looks, about a second apart, that are the bulk upload to wait for."""
_DEAD_SHARE: Final = 0.20
_DEAD_ROWS: Final = 1_000
"""Below so many dead rows a fold is not worth its files, whatever their share."""


def fold_is_due(state: LibraryState, *, look: bool) -> bool:
    """Whether the delta or the dead rows of a library have outgrown their share, and now is the time.

    Args:
        state: of the library.
        look: this is one of the looks from time to time, which tell by what came between them whether rows keep coming;
            otherwise something was just written.
    """
    base = 0 if state.base is None else state.base.rows
    delta, dead = state.delta_rows, state.dead_rows
    if dead > max(_DEAD_ROWS, _DEAD_SHARE * (base + delta)):
        return True
    limit = max(_FOLD_ROWS, _FOLD_SHARE * base)
    if delta <= limit:
        state.seen_next_id = None
        return False
    if delta > _PATIENCE * limit:
        return True
    if not look:
        return False
    before, state.seen_next_id = state.seen_next_id, state.next_id
    return before is not None and state.next_id - before <= _SURGE_ROWS
