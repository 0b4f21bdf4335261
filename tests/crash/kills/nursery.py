"""Starts servers in a hundredth of the time: the interpreter is forked with everything imported, then runs ``vdb serve``.

A server takes seconds to import what it is made of and 70 ms to start. Two starts and more for each kill, thousands of
times, are spent on starting: so a process imports once and forks for each server. What runs in the fork is the ``vdb``
command itself, and it is killed and restarted as a process of its own; no state passes from one to the next but the files.

Spoken to in lines: ``start DATA_DIR LOG`` is answered by ``pid N`` and, by the server itself on the same pipe, ``vdb is
ready at URL``; ``wait N`` by ``ended N CODE`` once that process is gone. It ends when its input does.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

_MODULES = (
    "httptools",
    "uvloop",
    "vdb_index_rust",
    "vdb_server.cli.commands",
    "vdb_server.cli.configuration",
    "vdb_server.cli.serving",
)


def main() -> None:
    """Import, then obey."""
    for name in _MODULES:
        importlib.import_module(name)
    # Uploads of 300 small rows get files of their own in the journal, as large ones do.
    journal = importlib.import_module("vdb_core.persistence.sqlite_journal").SqliteJournal
    journal.__init__.__kwdefaults__["file_bytes"] = 8_000
    if len(sys.argv) > 1:
        # A server that is broken on purpose: what kills a bench must find.
        sys.path.insert(0, str(Path(__file__).parent))
        getattr(importlib.import_module("sabotage"), sys.argv[1])()
    for line in sys.stdin:
        command, *arguments = line.rstrip("\n").split("\t")
        if command == "start":
            _start(*arguments)
        else:
            _, status = os.waitpid(int(arguments[0]), 0)
            print(f"ended {arguments[0]} {os.waitstatus_to_exitcode(status)}", flush=True)


def _start(data_dir: str, log: str) -> None:
    pid = os.fork()
    if pid:
        print(f"pid {pid}", flush=True)
        return
    from vdb_server.cli import main as vdb

    # Commands must not be read by the server, and what it says beside its URL is kept for a report.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), 2)
    sys.argv = ["vdb", "serve", "--port", "0", "--data-dir", data_dir]
    code = 1
    try:
        vdb()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
