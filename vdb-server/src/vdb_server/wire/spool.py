"""Keeps what arrives: in memory while it is small, in a temporary file beyond that; in the end it is one view of bytes."""

from __future__ import annotations

import mmap
import tempfile
from typing import IO, TYPE_CHECKING, Final, Self

from vdb_core.persistence.durable import told

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Spool"]

_IN_MEMORY: Final = 32 << 20
_SMALL: Final = 4096
"""Smaller pieces go into one that grows: a form can be written so that each of its bytes is a piece."""


class Spool:
    """Bytes that come piece by piece. Use as a context manager, or close it."""

    def __init__(self, what: str) -> None:
        """Begin empty; ``what`` names the content where it cannot be kept."""
        self._what = what
        self._pieces: list[bytes | bytearray | memoryview] = []
        self._size = 0
        self._file: IO[bytes] | None = None

    def write(self, data: bytes | memoryview) -> None:
        """Add a piece, which must not change any more.

        Raises:
            StorageFull: there is no room for temporary files.
            StorageFailed: the operating system refused.
        """
        if self._file is None:
            if self._size + len(data) <= _IN_MEMORY:
                self._keep(data)
                return
            with told(f"keep {self._what} in a temporary file"):
                self._file = tempfile.TemporaryFile(prefix="vdb-upload-", buffering=0)  # noqa: SIM115 - closed by close()
            for piece in self._pieces:
                self._write(memoryview(piece))
            self._pieces.clear()
        self._write(memoryview(data))

    def _keep(self, data: bytes | memoryview) -> None:
        """Large pieces are put together at the end: what grows by them is copied several times."""
        self._size += len(data)
        last = self._pieces[-1] if self._pieces else None
        if len(data) >= _SMALL:
            self._pieces.append(data)
        elif isinstance(last, bytearray):
            last += data
        else:
            self._pieces.append(bytearray(data))

    def _write(self, data: memoryview) -> None:
        with told(f"keep {self._what} in a temporary file"):
            while self._file is not None and data.nbytes:
                data = data[self._file.write(data) :]

    def view(self) -> memoryview:
        """All of it, read-only."""
        if self._file is None:
            self._pieces = [b"".join(self._pieces)]
            return memoryview(self._pieces[0])
        # The mapping lives as long as the arrays that look at it.
        return memoryview(mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ))

    def close(self) -> None:
        """Give the temporary file back."""
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
