"""The manifest of a library: which generations are complete, and what their files must look like.

::

    manifest.json                                  <generation>/manifest.json: the same, with that generation alone
    ├── format_version     1
    ├── library_id
    ├── generation         the current one
    ├── generations[]      oldest first
    │   ├── generation     its number
    │   ├── header         the engine's own fields: metric, index, journal position, versions, ...
    │   ├── directories    that a plugin filled, the empty ones included
    │   └── files          {"vectors.npy": {"bytes", "checksum", "dtype", "shape"}, ...}
    └── checksum           of all of the above, as JSON with sorted keys and no spaces

Checksums are CRC-32 (``crc32:`` and eight hexadecimal digits, as ``zlib.crc32`` gives): they are there to notice
accidents, cost less than reading the file, and find every burst of up to 32 flipped bits. They are no protection
against somebody who edits files on purpose.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, cast

import orjson

from vdb_core.errors import FormatUnsupported, SnapshotDamaged

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FORMAT_VERSION", "FileEntry", "Generation", "Manifest", "checksum_text", "decode", "encode"]

FORMAT_VERSION: Final = 1
"""The version of the files on disk that this code writes; it reads this one and every older one."""


def checksum_text(crc: int) -> str:
    """Write a CRC-32 down as manifests have it."""
    return f"crc32:{crc:08x}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """What a file must look like."""

    size: int
    """Bytes."""

    checksum: str
    """As :func:`checksum_text` writes it."""

    dtype: str | None = None
    """NumPy's name of the type, for a ``.npy`` file that the store wrote."""

    shape: tuple[int, ...] | None = None
    """Its shape, likewise."""

    def to_json(self) -> dict[str, object]:
        """Give the entry as the manifest holds it."""
        entry: dict[str, object] = {"bytes": self.size, "checksum": self.checksum}
        if self.dtype is not None and self.shape is not None:
            entry |= {"dtype": self.dtype, "shape": list(self.shape)}
        return entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One complete generation."""

    generation: int
    """Its number; larger is newer."""

    header: Mapping[str, object]
    """The engine's own fields."""

    files: Mapping[str, FileEntry] = field(default_factory=dict)
    """By relative POSIX path."""

    directories: tuple[str, ...] = ()
    """Relative POSIX paths of directories, parents first."""

    def to_json(self) -> dict[str, object]:
        """Give the generation as the manifest holds it."""
        return {
            "generation": self.generation,
            "header": dict(self.header),
            "directories": list(self.directories),
            "files": {path: entry.to_json() for path, entry in self.files.items()},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The generations of a library that are complete."""

    library_id: str
    """The library."""

    generations: tuple[Generation, ...] = ()
    """Oldest first."""


def encode(manifest: Manifest) -> bytes:
    """Write a manifest down as indented JSON that carries its own checksum.

    Raises:
        TypeError: a header holds something that JSON has no word for.
    """
    content: dict[str, object] = {
        "format_version": FORMAT_VERSION,
        "library_id": manifest.library_id,
        "generation": manifest.generations[-1].generation if manifest.generations else None,
        "generations": [generation.to_json() for generation in manifest.generations],
    }
    content["checksum"] = _checksum(content)
    return orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _checksum(content: Mapping[str, object]) -> str:
    return checksum_text(zlib.crc32(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)))


def decode(data: bytes, *, library_id: str, where: str) -> Manifest:
    """Read what :func:`encode` wrote; ``where`` names the file in errors.

    Raises:
        SnapshotDamaged: it is not what was written, or belongs to another library.
        FormatUnsupported: a newer version wrote it.
    """
    try:
        content = _object(orjson.loads(data))
        checksum = content.pop("checksum", None)
        version = content.get("format_version")
        if isinstance(version, int) and version > FORMAT_VERSION:
            # One flipped bit in a manifest of ours must not read as "come back with a newer vdb".
            if checksum != _checksum(content | {"format_version": FORMAT_VERSION}):
                raise FormatUnsupported(
                    f"{where} has format version {version}; this vdb reads versions 1 to {FORMAT_VERSION}. "
                    f"Open it with the newer vdb that wrote it."
                )
            raise _Nonsense("its format version was altered")
        if checksum != _checksum(content):
            raise _Nonsense("its checksum does not match")
        if content["library_id"] != library_id:
            raise _Nonsense(f"it belongs to library {content['library_id']!r}")
        generations = tuple(_generation(_object(item)) for item in _list(content["generations"]))
        numbers = [generation.generation for generation in generations]
        if numbers != sorted(set(numbers)):
            raise _Nonsense(f"its generations {numbers} do not rise")
    except (orjson.JSONDecodeError, _Nonsense, KeyError) as error:
        raise SnapshotDamaged(
            f"{where} is damaged: {error}. Restore the file, or use an older generation."
        ) from error
    return Manifest(library_id=library_id, generations=generations)


class _Nonsense(Exception):
    """A manifest contradicts itself; the text says how."""


def _generation(item: dict[str, object]) -> Generation:
    number = item["generation"]
    if type(number) is not int or number < 0:
        raise _Nonsense(f"{number!r} is not the number of a generation")
    return Generation(
        generation=number,
        header=_object(item["header"]),
        files={_path(path): _file(_object(entry)) for path, entry in _object(item["files"]).items()},
        directories=tuple(_path(path) for path in _list(item["directories"])),
    )


def _file(entry: dict[str, object]) -> FileEntry:
    size, checksum, dtype, shape = entry["bytes"], entry["checksum"], entry.get("dtype"), entry.get("shape")
    if type(size) is not int or size < 0 or not isinstance(checksum, str):
        raise _Nonsense(f"{entry!r} does not describe a file")
    if dtype is None or shape is None:
        return FileEntry(size=size, checksum=checksum)
    return FileEntry(
        size=size, checksum=checksum, dtype=str(dtype), shape=tuple(cast("list[int]", _list(shape)))
    )


_FORBIDDEN: Final = frozenset("\\\0:")
_NOWHERE: Final = frozenset({"", ".", ".."})


def _path(path: object) -> str:
    """Accept nothing that could lead out of a generation's directory, whoever wrote the manifest."""
    # Not through pathlib, which keeps each name in a table of the interpreter's: every manifest that is read would fill it.
    if isinstance(path, str) and _FORBIDDEN.isdisjoint(path) and _NOWHERE.isdisjoint(path.split("/")):
        return path
    raise _Nonsense(f"{path!r} is not a relative path")


def _object(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise _Nonsense(f"it holds {type(value).__name__} where an object belongs")
    return cast("dict[str, object]", value)


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise _Nonsense(f"it holds {type(value).__name__} where a list belongs")
    return cast("list[object]", value)
