"""Builds the library that counts, fails, stops at and records system calls, and drives it from Python.

In a process that was started with it (:func:`preloaded` gives the environment)::

    shim = Shim()
    shim.arm(directory, at=17, fault=Fault.EIO)  # the 17th mutating call below the directory fails
    ...
    shim.lift()
    shim.state().struck  # 1, and which call that was
"""

from __future__ import annotations

import ctypes
import enum
import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Fault", "Shim", "State", "library", "preloaded"]

_SOURCES = (Path(__file__).with_name("shim.c"), Path(__file__).with_name("shim_core.h"))
_CACHE = Path(__file__).parents[4] / ".nox" / "crash"


class Fault(enum.IntEnum):
    """What happens at the chosen call; the numbers are those of ``enum kind`` in shim_core.h."""

    NOTHING = 0
    EIO = 1
    ENOSPC = 2
    SHORT_WRITE = 3
    """Half of the bytes are written; the next write to the same file finds no room."""
    KILL_BEFORE = 4
    KILL_AFTER = 5
    FAIL_FLUSH = 6
    """EIO at the chosen fsync or fdatasync, counting these alone."""
    FAIL_ROOT_FLUSH = 7
    """The same, counting those of the directory itself that is followed: few, and in an order that threads do not change."""


@dataclass(frozen=True, slots=True)
class State:
    """What the shim has counted since it was armed."""

    count: int
    writes: int
    flushes: int
    root_flushes: int
    struck: int
    unseen: int
    name: str
    path: str


class _Control(ctypes.Structure):
    _fields_ = (
        ("count", ctypes.c_int64),
        ("writes", ctypes.c_int64),
        ("flushes", ctypes.c_int64),
        ("root_flushes", ctypes.c_int64),
        ("struck", ctypes.c_int64),
        ("unseen", ctypes.c_int64),
        ("name", ctypes.c_char * 64),
        ("path", ctypes.c_char * 1024),
    )


def library() -> Path:
    """The shared library, compiled where it is not there yet or its source has changed."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in _SOURCES)).hexdigest()[:16]
    target = _CACHE / f"shim-{digest}.so"
    if target.exists():
        return target
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        raise RuntimeError(
            "No C compiler (cc) is on the PATH. Install it with: sudo apt install build-essential"
        )
    _CACHE.mkdir(parents=True, exist_ok=True)
    fresh = target.with_suffix(f".{os.getpid()}")
    command = [compiler, "-O2", "-Wall", "-Wextra", "-shared", "-fPIC", "-o", str(fresh), str(_SOURCES[0])]
    subprocess.run([*command, "-ldl", "-lpthread"], check=True)
    fresh.replace(target)
    return target


def preloaded(**more: str) -> dict[str, str]:
    """The environment of a process that is to be watched."""
    return {**os.environ, "LD_PRELOAD": str(library()), **more}


class Shim:
    """The shim within this process, which was started with it."""

    def __init__(self) -> None:
        path = library()
        if os.environ.get("LD_PRELOAD") != str(path):
            raise RuntimeError("This process was started without the shim. Start it with preloaded().")
        self._library = ctypes.CDLL(str(path))
        self._library.faults_control.restype = ctypes.POINTER(_Control)
        self._control: _Control = self._library.faults_control().contents

    def arm(
        self,
        root: Path,
        *,
        at: int = 0,
        fault: Fault = Fault.NOTHING,
        sticky: bool = False,
        record: int | None = None,
    ) -> None:
        """Follow what happens below a directory from now on; strike at call ``at``, and with ``sticky`` at all later ones.

        Args:
            root: an absolute path without symbolic links.
            at: the number of the call, from 1; 0 strikes nowhere.
            fault: what happens there.
            sticky: whether it goes on until :meth:`lift`.
            record: a descriptor that takes the record, none records nothing.
        """
        self._library.faults_arm(
            os.fsencode(root),
            ctypes.c_long(at),
            int(fault),
            int(sticky),
            -1 if record is None else record,
        )

    def lift(self) -> None:
        """Strike no more; go on counting and recording."""
        self._library.faults_lift()

    def disarm(self) -> None:
        """Follow nothing any more."""
        self._library.faults_disarm()

    def mark(self, text: str) -> None:
        """Put a line into the record, in order with the calls."""
        self._library.faults_mark(text.encode())

    def state(self) -> State:
        """What was counted so far; also by a process that was forked from this one and is gone."""
        control = self._control
        return State(
            control.count,
            control.writes,
            control.flushes,
            control.root_flushes,
            control.struck,
            control.unseen,
            control.name.decode(),
            os.fsdecode(control.path),
        )
