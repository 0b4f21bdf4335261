"""Takes a multipart body apart while it arrives; what is small stays in memory, what is big goes to a temporary file."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Self

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from vdb_core.errors import Fault, ValidationFailed
from vdb_server.errors import HttpProblem
from vdb_server.wire.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet
    from types import TracebackType

__all__ = ["FormReader", "boundary_of"]

_MAX_HEADER_BYTES: Final = 8 << 10


def boundary_of(content_type: str | None) -> bytes:
    """Find the boundary of a multipart body; 415 where it is none."""
    media_type, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if media_type != b"multipart/form-data" or not boundary:
        raise HttpProblem.of(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            f"The body is {content_type!r}; this route takes multipart/form-data with a boundary.",
        )
    return boundary


class FormReader:
    """Reads a form of files, each of a known name and there exactly once. Use as a context manager."""

    def __init__(self, boundary: bytes, names: AbstractSet[str]) -> None:
        self._names = names
        self._parts: dict[str, Spool] = {}
        self._part: Spool | None = None
        self._field = bytearray()
        self._value = bytearray()
        self._disposition = b""
        self._complete = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._header_field,
                    "on_header_value": self._header_value,
                    "on_header_end": self._header_end,
                    "on_headers_finished": self._headers_finished,
                    "on_part_data": self._data,
                    "on_end": self._end,
                },
            )
        except MultipartParseError as error:
            raise _malformed(str(error)) from error

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the temporary files back, and let go of what was read."""
        for part in self._parts.values():
            part.close()
        # The parser refers to this reader and this reader to the parser: bodies would stay until such a circle is
        # looked for, which may be hundreds of requests later.
        self._parts.clear()
        self._part = None

    def feed(self, data: bytes) -> None:
        """Take in some of the body."""
        try:
            self._parser.write(data)
        except MultipartParseError as error:
            raise _malformed(str(error)) from error

    def finish(self) -> dict[str, memoryview]:
        """The content of every part, valid within the ``with`` block."""
        if not self._complete:
            raise _malformed("it ends before its last boundary")
        missing = sorted(self._names - self._parts.keys())
        if missing:
            raise ValidationFailed.of(
                [Fault(f"/{name}", "expected a file; this part is missing") for name in missing]
            )
        return {name: part.view() for name, part in self._parts.items()}

    def _begin(self) -> None:
        self._disposition = b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]
        self._check_header()

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._check_header()

    def _check_header(self) -> None:
        if len(self._field) + len(self._value) > _MAX_HEADER_BYTES:
            raise _malformed("a header of a part is too long")

    def _header_end(self) -> None:
        if bytes(self._field).lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._field.clear()
        self._value.clear()

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"").decode("utf-8", "backslashreplace")
        if name not in self._names:
            expected = ", ".join(sorted(self._names))
            raise ValidationFailed.at(f"/{name}", f"there is no such part; expected {expected}")
        if name in self._parts:
            raise ValidationFailed.at(f"/{name}", "expected once; this part is there twice")
        self._part = self._parts[name] = Spool("a bulk upload")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._part is not None:
            self._part.write(memoryview(data)[start:end])

    def _end(self) -> None:
        self._complete = True


def _malformed(reason: str) -> HttpProblem:
    return HttpProblem.of(
        HTTPStatus.BAD_REQUEST,
        "malformed_multipart",
        f"The body is not multipart/form-data as its boundary promises: {reason}.",
    )
