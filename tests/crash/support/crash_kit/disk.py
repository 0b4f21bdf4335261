"""A simulated disk: replays a record, and says what may be left of it when the power goes.

What is certain: bytes that a file's fsync has returned for, and names that their directory's fsync has returned for.
Everything else may be there or not::

    names    each create, link, rename, unlink, mkdir, rmdir since the last fsync of its directory: kept or lost, each on
             its own; a rename is one step. A file's own fsync does not make its name safe.
    bytes    each write and truncation since the last fsync of its file: kept, lost, or torn into sectors of 512 or
             4,096 bytes, each of which is kept or lost on its own
    a failed fsync    makes nothing safe, and the kernel may forget that the bytes were ever written: they are never
             written again, also where a later fsync succeeds

That is more than file systems do to us (they keep names in order, and most keep a rename behind the bytes). What holds
here holds on all of them. The model is that of ALICE (Pillai et al., OSDI 2014), with the failed fsync of Rebello et al.
(ATC 2020).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from crash_kit.record import Call, Operation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["Disk", "Image", "Inode", "NameChange", "Write"]

Image = dict[str, "bytes | None"]
"""Relative path to the bytes of a file, or none for a directory."""


@dataclass(slots=True)
class Write:
    """A change of a file's bytes that is not safe yet."""

    offset: int
    data: bytes | None
    """None: the file is cut, or filled up with zeros, to ``offset`` bytes."""
    forgotten: bool = False
    """An fsync failed after it: it reaches the disk no more, whatever is synced later."""

    def apply(self, content: bytearray) -> None:
        """Make the change."""
        if self.data is None:
            del content[self.offset :]
            content.extend(bytes(self.offset - len(content)))
            return
        if len(content) < self.offset:
            content.extend(bytes(self.offset - len(content)))
        content[self.offset : self.offset + len(self.data)] = self.data


@dataclass(slots=True, eq=False)
class Inode:
    """A file or a directory."""

    safe: bytes = b""
    """What is certainly on the disk."""
    now: bytearray = field(default_factory=bytearray)
    """What programs read."""
    pending: list[Write] = field(default_factory=list)
    entries: dict[str, Inode] | None = None
    """Names of a directory, none for a file."""
    safe_entries: dict[str, Inode] = field(default_factory=dict)
    cache: bytes | None = None

    def content(self) -> bytes:
        """What programs read, as an object that is the same until it changes."""
        if self.cache is None:
            self.cache = bytes(self.now)
        return self.cache


@dataclass(slots=True, eq=False)
class NameChange:
    """A change of names that is not safe yet; both parts of a rename happen or none."""

    removes: tuple[Inode, str, Inode] | None = None
    adds: tuple[Inode, str, Inode] | None = None
    unsynced: set[int] = field(default_factory=set)
    """``id`` of each directory that has to be synced."""

    def apply(self, entries: Callable[[Inode], dict[str, Inode]]) -> None:
        """Change names, where those it starts from are there."""
        if self.removes is not None:
            directory, name, inode = self.removes
            if entries(directory).get(name) is not inode:
                return
            del entries(directory)[name]
        if self.adds is not None:
            directory, name, inode = self.adds
            entries(directory)[name] = inode


class Disk:
    """Replays calls; :meth:`image` tells what may be left at any moment."""

    def __init__(self, start: Mapping[str, bytes | None] | None = None) -> None:
        """Begin with files that are safe: what an earlier, unharmed run has left."""
        self.root = Inode(entries={})
        self.changes: list[NameChange] = []
        self._open: dict[int, Inode] = {}
        for path, data in sorted((start or {}).items()):
            directory, name = self._parent(path)
            fresh = Inode(entries={}) if data is None else Inode(safe=data, now=bytearray(data))
            _names(directory)[name] = directory.safe_entries[name] = fresh

    # Replaying

    def replay(self, call: Call) -> None:
        """Carry out a call."""
        match call.operation:
            case Operation.OPEN:
                self._opened(call)
            case Operation.CLOSE:
                self._open.pop(call.descriptor, None)
            case Operation.DUPLICATE:
                self._open[call.descriptor] = self._open[call.offset]
            case Operation.WRITE:
                self._change(self._open[call.descriptor], Write(call.offset, call.data))
            case Operation.TRUNCATE:
                self._change(self._open[call.descriptor], Write(call.offset, None))
            case Operation.SYNC:
                self._sync(self._open[call.descriptor], failed=call.failed)
            case Operation.RENAME:
                self._rename(call.path, call.target)
            case Operation.UNLINK | Operation.RMDIR:
                directory, name = self._parent(call.path)
                self._rename_entry((directory, name, _names(directory)[name]), None)
            case Operation.MKDIR:
                directory, name = self._parent(call.path)
                self._rename_entry(None, (directory, name, Inode(entries={})))
            case Operation.LINK:
                directory, name = self._parent(call.target)
                self._rename_entry(None, (directory, name, self._find(call.path)))
            case Operation.MARK:
                pass

    def _opened(self, call: Call) -> None:
        if not call.path:
            self._open[call.descriptor] = self.root
            return
        directory, name = self._parent(call.path)
        inode = _names(directory).get(name)
        if inode is None:
            if not call.creates:
                raise ValueError(f"{call.path} was opened and is not there: the record has a hole")
            inode = Inode()
            self._rename_entry(None, (directory, name, inode))
        elif call.empties and inode.now:
            self._change(inode, Write(0, None))
        self._open[call.descriptor] = inode

    def _change(self, inode: Inode, write: Write) -> None:
        write.apply(inode.now)
        inode.cache = None
        inode.pending.append(write)

    def _sync(self, inode: Inode, *, failed: bool) -> None:
        if inode.entries is None:
            if failed:
                for write in inode.pending:
                    write.forgotten = True
                return
            content = bytearray(inode.safe)
            for write in inode.pending:
                if not write.forgotten:
                    write.apply(content)
            # What was forgotten stays pending: programs still read it, and it may be on the disk or not.
            inode.pending = [write for write in inode.pending if write.forgotten]
            inode.safe = inode.content() if bytes(content) == inode.now else bytes(content)
            return
        if failed:
            return
        left: list[NameChange] = []
        for change in self.changes:
            change.unsynced.discard(id(inode))
            if change.unsynced:
                left.append(change)
            else:
                change.apply(lambda one: one.safe_entries)
        self.changes = left

    def _rename(self, old: str, new: str) -> None:
        directory, name = self._parent(old)
        target, to = self._parent(new)
        inode = _names(directory)[name]
        if _names(target).get(to) is not inode:  # two names of one file: nothing happens
            self._rename_entry((directory, name, inode), (target, to, inode))

    def _rename_entry(
        self, removes: tuple[Inode, str, Inode] | None, adds: tuple[Inode, str, Inode] | None
    ) -> None:
        change = NameChange(removes, adds, {id(part[0]) for part in (removes, adds) if part is not None})
        change.apply(_names)
        self.changes.append(change)

    def _find(self, path: str) -> Inode:
        inode = self.root
        for part in Path(path).parts:
            inode = _names(inode)[part]
        return inode

    def _parent(self, path: str) -> tuple[Inode, str]:
        whole = Path(path)
        return self._find(str(whole.parent)), whole.name

    # What is left

    def image(
        self,
        *,
        keeps: Callable[[NameChange], bool],
        content: Callable[[Inode], bytes],
    ) -> Image:
        """Build what is on the disk when the power goes now.

        Args:
            keeps: whether a change of names that is not safe has reached the disk.
            content: the bytes of a file that are there; see ``Inode``.
        """
        entries: dict[int, dict[str, Inode]] = {}

        def names(inode: Inode) -> dict[str, Inode]:
            return entries.setdefault(id(inode), dict(inode.safe_entries))

        for change in self.changes:
            if keeps(change):
                change.apply(names)
        image: Image = {}

        def walk(inode: Inode, prefix: str) -> None:
            for name, one in names(inode).items():
                path = f"{prefix}{name}"
                if one.entries is None:
                    image[path] = content(one)
                else:
                    image[path] = None
                    walk(one, f"{path}/")

        walk(self.root, "")
        return image

    def unsafe_files(self) -> Iterator[Inode]:
        """Files that are named, or were lately, and have bytes that are not safe."""
        seen: set[int] = set()
        heap = [
            self.root,
            *(part[2] for change in self.changes for part in (change.removes, change.adds) if part),
        ]
        while heap:
            inode = heap.pop()
            if id(inode) in seen:
                continue
            seen.add(id(inode))
            if inode.entries is None:
                if inode.pending:
                    yield inode
            else:
                heap += [*inode.entries.values(), *inode.safe_entries.values()]


def _names(inode: Inode) -> dict[str, Inode]:
    if inode.entries is None:
        raise ValueError("a file was used as a directory: the record has a hole")
    return inode.entries
