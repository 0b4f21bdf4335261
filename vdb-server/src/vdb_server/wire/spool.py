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


class Spool:
    """Bytes that come piece by piece. Use as a context manager, or close it."""

    def __init__(self, what: str) -> None:
        """Begin empty; ``what`` names the content where it cannot be kept."""
        self._what = what
        self._memory = bytearray()
        self._file: IO[bytes] | None = None

    def write(self, data: bytes | memoryview) -> None:
        """Add a piece.

        Raises:
            StorageFull: there is no room for temporary files.
            StorageFailed: the operating system refused.
        """
        if self._file is None:
            if len(self._memory) + len(data) <= _IN_MEMORY:
                self._memory += data
                return
            with told(f"keep {self._what} in a temporary file"):
                self._file = tempfile.TemporaryFile(prefix="vdb-upload-", buffering=0)  # noqa: SIM115 - closed by close()
            self._write(memoryview(self._memory))
            self._memory = bytearray()
        self._write(memoryview(data))

    def _write(self, data: memoryview) -> None:
        with told(f"keep {self._what} in a temporary file"):
            while self._file is not None and data.nbytes:
                data = data[self._file.write(data) :]

    def view(self) -> memoryview:
        """All of it, read-only where it is in a file."""
        if self._file is None:
            return memoryview(self._memory)
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
