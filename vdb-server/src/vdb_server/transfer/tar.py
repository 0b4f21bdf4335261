"""Just enough of tar: plain files of allowed names in one flat archive, written in pieces and read from memory.

::

    header  512 bytes: name, size, type, checksum      extended header ('x', 'g')   times and owners: passed over
    content, padded to 512                             anything else               refused
    ...                                                at the end                  zeros

Reading unpacks nothing and allocates nothing: what a header claims is compared with what is there, and content is a view
of the archive. Python's ``tarfile`` would take links, devices, sparse files whose size is only a claim, and names and
sizes from extended headers; here none of these exist.
"""

from __future__ import annotations

import re
import tarfile
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["END", "MalformedTar", "RefusedMember", "padding", "read_members", "tar_header"]

_BLOCK: Final = 512
END: Final = bytes(2 * _BLOCK)
"""What stands at the end of an archive."""

_MAX_REST: Final = 1 << 20
_MAX_EXTENDED: Final = 64 << 10
_RECORD: Final = re.compile(rb"([1-9][0-9]{0,8}) ([^=]{1,256})=")
_HARMLESS: Final = re.compile(
    r"(mtime|atime|ctime|uid|gid|uname|gname|comment|(SCHILY|LIBARCHIVE)\..*)", re.DOTALL
)


class MalformedTar(Exception):
    """It is no tar, or not all of one; the text says why."""


class RefusedMember(Exception):
    """A tar, with something in it that does not belong there."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(why)
        self.name = name


def tar_header(name: str, size: int) -> bytes:
    """Make the header of a plain file."""
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o644
    return info.tobuf(tarfile.GNU_FORMAT)


def padding(size: int) -> bytes:
    """What follows content of a size, up to the next header."""
    return bytes(-size % _BLOCK)


def read_members(archive: memoryview, allowed: Collection[str]) -> dict[str, memoryview]:
    """Find the content of every member.

    Args:
        archive: all of it, as bytes.
        allowed: names that a member may have.

    Raises:
        MalformedTar: it is no tar, was cut, or something follows its end.
        RefusedMember: a member has another name, is there twice, or is no plain file.
    """
    found: dict[str, memoryview] = {}
    at = 0
    while True:
        header = archive[at : at + _BLOCK].tobytes()
        if len(header) < _BLOCK:
            raise MalformedTar(f"it ends after {archive.nbytes} bytes, before the zeros that mark its end")
        if not any(header):
            break
        name, kind, size = _parse(header, at)
        at += _BLOCK
        if size > archive.nbytes - at:
            raise MalformedTar(f"{name!a} is said to have {size} bytes, and {archive.nbytes - at} are left")
        content = archive[at : at + size]
        at += size + -size % _BLOCK
        if kind in {b"x", b"g"}:
            _check_extended(content)
            continue
        if kind not in {b"0", b"\0"}:
            raise RefusedMember(name, "it is no plain file")
        if name not in allowed:
            raise RefusedMember(name, "no file of this name belongs there")
        if name in found:
            raise RefusedMember(name, "this file is in the archive twice")
        found[name] = content
    rest = archive[at:]
    if rest.nbytes > _MAX_REST or any(rest.tobytes()):
        raise MalformedTar("something follows the zeros that mark its end")
    return found


def _parse(header: bytes, at: int) -> tuple[str, bytes, int]:
    """Name, type and size of a member, whose header is at a place of the archive."""
    expected = _number(header[148:156], at)
    if sum(header[:148]) + sum(header[156:]) + 8 * 0x20 != expected:
        raise MalformedTar(f"the checksum of the header at byte {at} does not match")
    name = header[:100].split(b"\0", 1)[0].decode("utf-8", "backslashreplace")
    if header[257:263] == b"ustar\0":
        prefix = header[345:500].split(b"\0", 1)[0].decode("utf-8", "backslashreplace")
        name = f"{prefix}/{name}" if prefix else name
    return name, header[156:157], _number(header[124:136], at)


def _number(field: bytes, at: int) -> int:
    """Octal digits; or, beyond what these can say, a set bit and the bytes of the number."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.split(b"\0", 1)[0].strip(b" ")
    if not re.fullmatch(rb"[0-7]+", digits):
        raise MalformedTar(f"a number in the header at byte {at} is {field!r}")
    return int(digits, 8)


def _check_extended(content: memoryview) -> None:
    """Let an extended header pass that says nothing of what is read here."""
    if content.nbytes > _MAX_EXTENDED:
        raise RefusedMember(
            "extended header", f"it has {content.nbytes} bytes; at most {_MAX_EXTENDED} are read"
        )
    rest = content.tobytes()
    while rest.strip(b"\0"):
        record = _RECORD.match(rest)
        if record is None or not record.end() < int(record[1]) <= len(rest):
            raise MalformedTar("an extended header is not made of records")
        key = record[2].decode("utf-8", "backslashreplace")
        if not _HARMLESS.fullmatch(key):
            raise RefusedMember("extended header", f"it sets {key!a}; write the archive with --format=ustar")
        rest = rest[int(record[1]) :]
