"""A server does not look for garbage while it starts, and does from then on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from command_kit import python

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import gc, sys
import uvicorn
from vdb_server.cli import main, serving

opened = serving.open_engine


def opening(*given):
    print("opening", gc.isenabled())
    return opened(*given)


serving.open_engine = opening
uvicorn.Server.run = lambda *_: print("serving", gc.isenabled(), gc.get_freeze_count() > 10_000)
sys.argv = ["vdb", "serve", "--port", "0", "--data-dir", sys.argv[1]]
main()
"""


def test_garbage_is_looked_for_once_the_server_serves(tmp_path: Path) -> None:
    done = python("-c", PROGRAM, tmp_path / "data")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:2] == ["opening False", "serving True True"]
