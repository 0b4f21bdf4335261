"""Keeps a data directory to one engine at a time, by a lock of the operating system on its ``_lock`` file.

The lock goes with the process that holds it, however that ends; the text in the file only tells who it is, and
is never what decides.
"""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from vdb_core.errors import DataDirectoryLocked, StorageFailed
from vdb_core.persistence.durable import told

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

__all__ = ["DirectoryLock", "lock_directory", "lock_for_reading"]

_NAME: Final = "_lock"
_TEXT_BYTES: Final = 512

if sys.platform == "win32":
    import msvcrt

    # Windows keeps others from reading a locked range: lock a byte far behind the text.
    _LOCKED_BYTE: Final = 1 << 30

    def _take(descriptor: int) -> bool:
        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _give_back(descriptor: int) -> None:
        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    # flock, not lockf: a record lock would let the same process in twice, and be lost with any other descriptor of
    # the file.
    def _take(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _give_back(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


class DirectoryLock:
    """A held lock; a context manager that releases it."""

    def __init__(self, path: Path, descriptor: int) -> None:
        """Take over a descriptor on which the lock is held; use :func:`lock_directory`."""
        self._path: Path = path
        self._descriptor: int | None = descriptor

    @property
    def path(self) -> Path:
        """The locked directory."""
        return self._path

    def release(self) -> None:
        """Let the next one in; a second call does nothing.

        The file stays: were it removed, one process could lock the old file and another a new one.
        """
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        try:
            with suppress(OSError):
                os.ftruncate(descriptor, 0)
            _give_back(descriptor)
        finally:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def lock_directory(path: Path) -> DirectoryLock:
    """Create a directory where there is none, and lock it.

    Raises:
        DataDirectoryLocked: another engine, here or in another process, holds it; the message says who.
        StorageFailed: it cannot be created or locked.
    """
    with told(f"lock the data directory {path}"):
        if path.exists() and not path.is_dir():
            raise StorageFailed(f"{path} is no directory. Name a directory that vdb may keep its data in.")
        path.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
        descriptor = os.open(path / _NAME, flags, 0o644)
        try:
            if not _take(descriptor):
                raise DataDirectoryLocked(
                    f"The data directory {path} is in use by {_holder(descriptor)}. "
                    f"Stop that one first, or choose another data directory."
                )
            # A full disk must not keep anybody from reading: the text is a courtesy.
            with suppress(OSError):
                _write_holder(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
    return DirectoryLock(path, descriptor)


def lock_for_reading(path: Path) -> DirectoryLock | None:
    """Lock a directory without writing to it; none where it has no lock file, so that nobody ever locked it.

    Raises:
        DataDirectoryLocked: an engine holds it; the message says who.
        StorageFailed: the lock file cannot be opened.
    """
    with told(f"lock the data directory {path}"):
        flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
        try:
            descriptor = os.open(path / _NAME, flags)
        except FileNotFoundError:
            return None
        try:
            if not _take(descriptor):
                raise DataDirectoryLocked(
                    f"The data directory {path} is in use by {_holder(descriptor)}. Stop that one first."
                )
        except BaseException:
            os.close(descriptor)
            raise
    return DirectoryLock(path, descriptor)


def _write_holder(descriptor: int) -> None:
    since = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    text = f"pid {os.getpid()} on {socket.gethostname()} since {since}\n".encode(errors="replace")
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, text[:_TEXT_BYTES])


def _holder(descriptor: int) -> str:
    with suppress(OSError):
        os.lseek(descriptor, 0, os.SEEK_SET)
        text = os.read(descriptor, _TEXT_BYTES).decode(errors="replace").strip()
        if text.startswith(f"pid {os.getpid()} on {socket.gethostname()} "):
            return f"this very process ({text})"
        if text:
            return f"another process ({text})"
    return "another process"
