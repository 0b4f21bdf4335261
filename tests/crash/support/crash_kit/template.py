"""The directory that every run begins with: two libraries, a journal that was never closed, damage, and litter.

So that the first thing a workload does is a recovery: one generation goes to quarantine, the one before it and a longer
stretch of the journal take its place, unfinished files are swept, an index is built again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from crash_kit.trees import lay_down, read_tree

if TYPE_CHECKING:
    from pathlib import Path

    from crash_kit.forks import Forks
    from crash_kit.world import World

__all__ = ["Template", "make_template", "read_template"]

_NAME = "world.json"


@dataclass(frozen=True, slots=True)
class Template:
    """A directory as it is left by a crash."""

    tree: dict[str, bytes | None]
    world: World
    """What must be found in it."""


def make_template(forks: Forks, scratch: Path, *, damaged: bool = True) -> Template:
    """Let an engine write, and crash it; where that is wanted, damage and litter as well."""
    root = scratch / "template"
    root.mkdir()
    made = forks.one("crash_kit.play:prepare", root=str(root))
    assert made.error == "", made.error
    tree = read_tree(root)
    if damaged:
        vectors = bytearray(tree["Cos/2/vectors.npy"] or b"")
        vectors[-3] ^= 1
        tree |= {
            "Cos/2/vectors.npy": bytes(vectors),
            "notes/manifest.json.tmp": b'{"half of it',
            "notes/3": None,
            "notes/3/vectors.npy": b"unfinished",
            "_deleted-Gone-20260101T000000.000000Z": None,
            "_deleted-Gone-20260101T000000.000000Z/manifest.json": b"{}",
        }
    (scratch / _NAME).write_text(json.dumps(made.result))
    lay_down(tree, root)
    return Template(tree, made.result)


@cache
def read_template(scratch: Path) -> Template:
    """What :func:`make_template` left in a directory."""
    return Template(read_tree(scratch / "template"), json.loads((scratch / _NAME).read_text()))
