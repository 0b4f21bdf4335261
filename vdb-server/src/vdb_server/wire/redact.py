"""Takes the places of files out of what callers are told: where this machine keeps things is its operator's business."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vdb_server.settings import Settings

__all__ = ["PathHider"]


class PathHider:
    """Replaces directories of this machine by ``…``; what follows below them, a file's own name, may be told.

    It knows the directories that texts of the engine, of plugins and of the system can name: the data directory, the
    interpreter's, the temporary one, the present one and the user's. JSON Pointers and routes look like paths as well,
    so only what is known is touched.
    """

    def __init__(self, settings: Settings) -> None:
        found = {str(path) for path in _directories(settings.data_dir)} - {os.sep, "."}
        # The longest first: a directory below another one is to vanish whole.
        words = "|".join(re.escape(path) for path in sorted(found, key=len, reverse=True))
        self._known = re.compile(rf"(?:{words})(?=[/\\]|\b)")

    def __call__(self, text: str) -> str:
        """The text without those directories."""
        return self._known.sub("…", text)


def _directories(data_dir: Path) -> Iterator[Path]:
    named = [data_dir, *map(Path, (sys.prefix, sys.base_prefix, tempfile.gettempdir(), Path.cwd()))]
    with suppress(RuntimeError):  # a container's user may have none
        named.append(Path.home())
    for path in named:
        if path.is_absolute():
            yield path
        yield path.resolve()
