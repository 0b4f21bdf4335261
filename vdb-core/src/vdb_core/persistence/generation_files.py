"""Writes the files of one generation into its directory, and verifies them again when they are read.

Sizes and checksums are taken while the bytes pass by; only what a plugin wrote by itself is read back, once.
"""

from __future__ import annotations

import errno
import os
import stat
import zlib
from typing import TYPE_CHECKING, Final

from vdb_core.errors import PluginError, SnapshotDamaged
from vdb_core.persistence.json_rows import json_chunks
from vdb_core.persistence.manifest import FileEntry, Generation, checksum_text
from vdb_core.persistence.npy import npy_chunks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from vdb_core.persistence.contracts import SnapshotParts
    from vdb_core.persistence.durable import Disk

__all__ = ["GenerationWriter", "read_plain_file", "verify"]

_BUFFER: Final = 1 << 20

_NO_LINKS: Final = frozenset(
    {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
)


class GenerationWriter:
    """Writes one generation; what it made is described by :meth:`finish`."""

    def __init__(self, disk: Disk, directory: Path) -> None:
        self._disk: Disk = disk
        self._directory: Path = directory
        self._files: dict[str, FileEntry] = {}
        self._directories: list[str] = []

    def write(self, parts: SnapshotParts, *, base: Generation | None, base_directory: Path | None) -> None:
        """Write or link everything, and wait until all of it is on the device."""
        self._disk.make_directory(self._directory)
        for name in sorted(parts.unchanged):
            if base is not None and base_directory is not None:
                self._take_over(name, base, base_directory)
        for name, array in parts.arrays.items():
            dtype = array.dtype.newbyteorder("<").str
            self._stream(f"{name}.npy", npy_chunks(array), dtype=dtype, shape=array.shape)
        for name, rows in parts.rows.items():
            self._stream(f"{name}.json", json_chunks(rows()))
        for name, fill in parts.directories.items():
            self._disk.make_directory(self._directory / name)
            fill(self._directory / name)
            self._record(name)
        for path in reversed(self._directories):
            self._disk.sync_directory(self._directory / path)

    def finish(self, generation: int, header: dict[str, object]) -> Generation:
        """Describe what was written."""
        return Generation(
            generation=generation, header=header, files=self._files, directories=tuple(self._directories)
        )

    def _stream(
        self,
        path: str,
        chunks: Iterable[bytes | memoryview],
        *,
        dtype: str | None = None,
        shape: tuple[int, ...] | None = None,
    ) -> None:
        size = crc = 0
        with self._disk.create(self._directory / path) as file:
            for chunk in chunks:
                crc = zlib.crc32(chunk, crc)
                size += len(chunk)
                self._disk.write(file, chunk)
            self._disk.sync_file(file)
        self._files[path] = FileEntry(size=size, checksum=checksum_text(crc), dtype=dtype, shape=shape)

    def _take_over(self, name: str, base: Generation, base_directory: Path) -> None:
        """Give the files of a name of the base generation a second name here."""
        for path in base.directories:
            if path == name or path.startswith(f"{name}/"):
                self._disk.make_directory(self._directory / path)
                self._directories.append(path)
        for path, entry in base.files.items():
            if path in {f"{name}.npy", f"{name}.json"} or path.startswith(f"{name}/"):
                self._link(base_directory / path, path, entry)
                self._files[path] = entry

    def _link(self, source: Path, path: str, entry: FileEntry) -> None:
        _check_size(source, _lstat(source), entry)
        try:
            self._disk.link(source, self._directory / path)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            # The file system has no links, or no more of them: a copy says the same and takes longer.
            self._stream(path, _chunks(source), dtype=entry.dtype, shape=entry.shape)
            if self._files[path] != entry:
                raise SnapshotDamaged(
                    f"{source} is not what its manifest says. Use an older generation."
                ) from error

    def _record(self, path: str) -> None:
        """Take down what a plugin left in a directory; only plain files and directories may be there."""
        self._directories.append(path)
        with os.scandir(self._directory / path) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        for item in found:
            inner = f"{path}/{item.name}"
            if any(character in item.name for character in "\\:") or not item.name.isprintable():
                raise PluginError(
                    f"A plugin saved a file named {inner!r}. Use printable names without '\\' and ':'."
                )
            if item.is_dir(follow_symlinks=False):
                self._record(inner)
            elif item.is_file(follow_symlinks=False):
                crc = size = 0
                for chunk in _chunks(self._directory / inner):
                    crc = zlib.crc32(chunk, crc)
                    size += len(chunk)
                self._disk.sync_path(self._directory / inner)
                self._files[inner] = FileEntry(size=size, checksum=checksum_text(crc))
            else:
                raise PluginError(f"A plugin saved {inner!r}, which is no plain file. Save plain files only.")


def _lstat(path: Path) -> os.stat_result:
    try:
        return path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        raise SnapshotDamaged(f"{path} is missing. Restore it or use an older generation.") from None


def _check_size(path: Path, found: os.stat_result, entry: FileEntry) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise SnapshotDamaged(
            f"{path} is no plain file, so it is not what was written. Use an older generation."
        )
    if found.st_size != entry.size:
        raise SnapshotDamaged(
            f"{path} has {found.st_size} bytes; its manifest says {entry.size}. "
            f"Restore it or use an older generation."
        )


def _open_plain(path: Path) -> int:
    """Open a file for reading; neither a symbolic link nor anything that blocks is followed."""
    flags = (
        os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    )
    return os.open(path, flags | getattr(os, "O_CLOEXEC", 0))


def _chunks(path: Path) -> Iterator[memoryview]:
    """Give the bytes of a plain file, a megabyte at a time, in a buffer that is used again."""
    with open(_open_plain(path), "rb", buffering=0) as file:
        # Most files of a small library are tiny: a megabyte for each would cost more than reading it.
        buffer = bytearray(min(_BUFFER, max(1, os.fstat(file.fileno()).st_size)))
        view = memoryview(buffer)
        while count := file.readinto(buffer):
            yield view[:count]


def read_plain_file(path: Path, *, limit: int) -> bytes:
    """Read a whole plain file of at most ``limit`` bytes.

    Raises:
        FileNotFoundError: it is not there.
        SnapshotDamaged: it is something else than a plain file, larger, or cannot be read.
    """
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode) or found.st_size > limit:
        raise SnapshotDamaged(f"{path} is no plain file of at most {limit} bytes. Restore it.")
    try:
        return b"".join(bytes(chunk) for chunk in _chunks(path))
    except OSError as error:
        if error.errno == errno.EIO:
            raise SnapshotDamaged(f"{path} cannot be read: {error.strerror}. Restore it.") from error
        raise


def verify(directory: Path, generation: Generation) -> None:
    """Compare every file of a generation with its size and checksum.

    Raises:
        SnapshotDamaged: something is missing, truncated, altered, unreadable, or no plain file.
    """
    for path in ("", *generation.directories):
        if not stat.S_ISDIR(_lstat(directory / path).st_mode):
            raise SnapshotDamaged(f"{directory / path} is no directory. Use an older generation.")
    for path, entry in generation.files.items():
        file = directory / path
        _check_size(file, _lstat(file), entry)
        crc = 0
        try:
            for chunk in _chunks(file):
                crc = zlib.crc32(chunk, crc)
        except OSError as error:
            if error.errno == errno.EIO:
                raise SnapshotDamaged(
                    f"{file} cannot be read: {error.strerror}. Use an older generation."
                ) from error
            raise
        if checksum_text(crc) != entry.checksum:
            raise SnapshotDamaged(
                f"{file} was altered: its checksum is {checksum_text(crc)}; its manifest says {entry.checksum}. "
                f"Restore it or use an older generation."
            )
