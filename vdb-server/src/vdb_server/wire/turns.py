"""How long a thread may keep the interpreter while batches are answered beside queries that cannot wait."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["Turns"]

_SHORT_S: Final = 0.0001
"""Making the answers of a batch is Python code for tens of milliseconds, and a query on the event loop asks for the
interpreter several times. Always so short, turns would cost rows that are written as JSON a tenth of their rate."""


@final
class Turns:
    """Shortens turns while somebody wants that. To be used on one thread, that of the event loop."""

    __slots__ = ("_ours", "_usual_s", "_wanted")

    def __init__(self, *, ours: bool) -> None:
        """Begin with usual turns; ``ours``: whether the process is this server's own, else they stay as they are."""
        self._ours = ours
        self._wanted = 0
        self._usual_s = _SHORT_S

    @contextmanager
    def short(self, *, wanted: bool) -> Generator[None]:
        """Have short turns meanwhile, if ``wanted``; the usual ones come back when nobody wants short ones any more."""
        if not (wanted and self._ours):
            yield
            return
        if self._wanted == 0:
            self._usual_s = sys.getswitchinterval()
            sys.setswitchinterval(min(_SHORT_S, self._usual_s))
        self._wanted += 1
        try:
            yield
        finally:
            self._wanted -= 1
            if self._wanted == 0:
                sys.setswitchinterval(self._usual_s)
