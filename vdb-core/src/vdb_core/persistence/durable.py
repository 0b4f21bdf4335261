"""The few primitive operations on files that the snapshot store is made of, and how their failures are told.

Everything that changes the disk goes through a :class:`Disk`, so that a test can fail or stop the world at the
n-th operation and look at what is left.
"""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import contextmanager
from io import FileIO
from typing import TYPE_CHECKING, Final

from vdb_core.errors import OperatorError, StorageBroken, StorageFailed, StorageFull

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

__all__ = ["Disk", "is_full", "storage_error", "told"]

_FULL: Final = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)})


def is_full(error: OSError) -> bool:
    """Tell whether an error means that the disk, or the quota, has no room left."""
    return error.errno in _FULL


def storage_error(error: OSError, action: str) -> OperatorError:
    """Translate an operating-system error; ``action`` completes the sentence "Could not ..."."""
    why = error.strerror or str(error)
    if is_full(error):
        return StorageFull(
            f"Could not {action}: {why}. Free some space and try again; nothing was kept of it."
        )
    code = errno.errorcode.get(error.errno or 0, "no errno")
    # EIO is how a device, and with it an fsync, fails; anything else is about names, rights or limits.
    kind = StorageBroken if error.errno == errno.EIO else StorageFailed
    return kind(f"Could not {action}: {why} ({code}).")


@contextmanager
def told(action: str) -> Generator[None]:
    """Turn every ``OSError`` of a block into the operator's error that says what could not be done."""
    try:
        yield
    except OSError as error:
        raise storage_error(error, action) from error


class Disk:
    """Operations on files, each of which is done as a whole or raises ``OSError``.

    None of them is durable by itself but for :meth:`put` and the ``sync`` operations: a file's bytes are safe after
    :meth:`sync_file`, its name (and a rename, a link, a removal) after :meth:`sync_directory` of its directory.
    """

    def create(self, path: Path, *, direct: bool = False) -> FileIO:
        """Create a file that does not exist yet, and open it for writing, unbuffered.

        With ``direct`` its bytes go past the page cache, in whole blocks from memory that is aligned like them; a file
        system that cannot do that answers ``EINVAL``, here or at a write. A system that cannot takes no notice.
        """
        if not direct:
            return path.open("xb", buffering=0)

        def opener(name: str, flags: int) -> int:
            return os.open(name, flags | getattr(os, "O_DIRECT", 0), 0o666)

        return FileIO(path, "xb", opener=opener)

    def write(self, file: FileIO, data: bytes | bytearray | memoryview) -> None:
        """Write all of ``data``."""
        view = memoryview(data).cast("B")
        while view.nbytes:
            # A raw write may be short, and Linux writes at most 2 GiB at a time.
            written = file.write(view)
            view = view[written or 0 :]

    def sync_file(self, file: FileIO) -> None:
        """Wait until the bytes of an open file are on the device."""
        os.fsync(file.fileno())

    def sync_path(self, path: Path) -> None:
        """Wait until the bytes of a file that somebody else wrote are on the device."""
        # Windows flushes only what was opened for writing.
        descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def sync_directory(self, path: Path) -> None:
        """Wait until the names within a directory are on the device."""
        if os.name == "nt":  # NTFS journals names by itself, and a directory cannot be opened there.
            return
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def put(self, path: Path, data: bytes) -> None:
        """Write a small file so that its name means that it is whole; it is durable when this returns."""
        temporary = path.with_name(f"{path.name}.tmp")
        self.remove_file(temporary)
        with self.create(temporary) as file:
            self.write(file, data)
            self.sync_file(file)
        self.rename(temporary, path)
        self.sync_directory(path.parent)

    def make_directory(self, path: Path) -> None:
        """Create a directory that does not exist yet."""
        path.mkdir()

    def rename(self, source: Path, target: Path) -> None:
        """Give a file or a directory another name, atomically; a file that has that name is replaced."""
        source.replace(target)

    def link(self, source: Path, target: Path) -> None:
        """Give a file a second name."""
        os.link(source, target, follow_symlinks=False)

    def remove_file(self, path: Path) -> None:
        """Remove a file; no error when it is not there."""
        path.unlink(missing_ok=True)

    def remove_directory(self, path: Path) -> None:
        """Remove an empty directory."""
        path.rmdir()

    def remove_tree(self, path: Path) -> None:
        """Remove a directory with everything in it, as far as that is possible; symbolic links are not followed."""
        shutil.rmtree(path, ignore_errors=True)
