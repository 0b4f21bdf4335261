"""Every primitive operation of the snapshot store is made to fail, or to be the last one before the end.

The disk below counts operations. At the chosen one it reports a full disk, or stops for good as a killed process
does, or loses the power: then also everything is lost that was not synced.
"""

from __future__ import annotations

import errno
import os
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest

from vdb_core.errors import SnapshotDamaged, StorageFull
from vdb_core.persistence import SnapshotParts
from vdb_core.persistence.durable import Disk
from vdb_core.persistence.numpy_snapshots import NumpySnapshotStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import FileIO
    from pathlib import Path

MODES = ("full once", "full from then on", "kill", "power loss")


class Stopped(BaseException):
    """The process does not exist any more."""


class FaultyDisk(Disk):
    """Counts operations and fails at the n-th."""

    def __init__(self, root: Path, mode: str, at: int) -> None:
        self.root = root
        self.mode = mode
        self.at = at
        self.count = 0
        self.shelter = root.parent / "shelter"
        self.shelter.mkdir(exist_ok=True)
        self.synced = {path.stat().st_ino for path in root.rglob("*") if path.is_file()}
        self.fresh: set[Path] = set()
        self.undo: list[tuple[Path, Callable[[], object]]] = []

    @property
    def struck(self) -> bool:
        return self.count >= self.at

    def step(self, *, room: bool = False, torn: Callable[[], object] = lambda: None) -> None:
        self.count += 1
        if self.count < self.at:
            return
        if self.mode == "full once" and self.count == self.at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self.mode == "full from then on" and room:
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
        if self.mode in {"kill", "power loss"}:
            if self.count == self.at:
                torn()
            raise Stopped

    def later(self, directory: Path, undo: Callable[[], object]) -> None:
        if self.mode == "power loss":
            self.undo.append((directory, undo))

    def hide(self, path: Path) -> None:
        """Remove, but so that it can come back."""
        if not path.exists():
            return
        kept = self.shelter / str(len(list(self.shelter.iterdir())))
        path.rename(kept)
        self.later(path.parent, lambda: kept.rename(path))

    def create(self, path: Path) -> FileIO:
        self.step(room=True)
        file = super().create(path)
        self.later(path.parent, path.unlink)
        return file

    def write(self, file: FileIO, data: bytes | bytearray | memoryview) -> None:
        self.step(room=True, torn=lambda: file.write(memoryview(data).cast("B")[: len(data) // 2]))
        super().write(file, data)

    def sync_file(self, file: FileIO) -> None:
        self.step()
        self.synced.add(os.fstat(file.fileno()).st_ino)

    def sync_path(self, path: Path) -> None:
        self.step()
        self.synced.add(path.stat().st_ino)

    def sync_directory(self, path: Path) -> None:
        self.step()
        self.undo = [(directory, undo) for directory, undo in self.undo if directory != path]
        self.fresh.discard(path)

    def make_directory(self, path: Path) -> None:
        self.step(room=True)
        super().make_directory(path)
        self.fresh.add(path)
        self.later(path.parent, lambda: shutil.rmtree(path))

    def rename(self, source: Path, target: Path) -> None:
        self.step()
        self.hide(target)
        super().rename(source, target)
        for directory in (source.parent, target.parent)[: 1 + (source.parent != target.parent)]:
            self.later(directory, lambda: target.rename(source) if target.exists() else None)

    def link(self, source: Path, target: Path) -> None:
        self.step(room=True)
        super().link(source, target)
        self.later(target.parent, target.unlink)

    def remove_file(self, path: Path) -> None:
        self.step()
        self.hide(path)

    def remove_directory(self, path: Path) -> None:
        self.step()
        super().remove_directory(path)
        self.later(path.parent, path.mkdir)

    def remove_tree(self, path: Path) -> None:
        files = sorted(item for item in path.rglob("*") if item.is_file())
        self.step(torn=lambda: [file.unlink() for file in files[::2]])
        shutil.rmtree(path, ignore_errors=True)

    def lose_power(self) -> None:
        """Undo what no sync has made safe."""
        for _, undo in reversed(self.undo):
            try:
                undo()
            except OSError:
                continue  # It went with a directory that was itself not safe.
        for directory in self.fresh:
            if directory.exists():
                for item in directory.iterdir():
                    shutil.rmtree(item) if item.is_dir() else item.unlink()
        for path in self.root.rglob("*"):
            if path.is_file() and path.stat().st_ino not in self.synced:
                os.truncate(path, path.stat().st_size // 2)


class HastyDisk(Disk):
    """Waits for nothing: what the tests prepare needs no protection from power loss."""

    def sync_file(self, file: FileIO) -> None:
        pass

    def sync_path(self, path: Path) -> None:
        pass

    def sync_directory(self, path: Path) -> None:
        pass


def parts(generation: int) -> SnapshotParts:
    def fill(directory: Path) -> None:
        (directory / "codes.bin").write_bytes(bytes([generation]) * 500)
        (directory / "lists").mkdir()
        (directory / "lists" / "0.bin").write_bytes(b"list")

    return SnapshotParts(
        header={"number": generation},
        arrays={"vectors": np.full((50, 3), generation, dtype=np.float32)} if generation % 2 else {},
        rows={"metadata": lambda: (b'{"n":%d}' % (generation * 100 + row) for row in range(20))},
        directories={"index": fill},
        unchanged=frozenset() if generation % 2 else frozenset({"vectors"}),
        base_generation=None if generation % 2 else generation - 1,
    )


def check(store: NumpySnapshotStore, library_id: str) -> None:
    """Every generation there is reads back as what was written."""
    for generation in store.generations(library_id):
        stored = store.read(library_id, generation)
        assert stored.header == {"number": generation}
        assert (stored.array("vectors") == (generation - 1) // 2 * 2 + 1).all()
        assert list(stored.rows("metadata")) == [b'{"n":%d}' % (generation * 100 + row) for row in range(20)]
        assert (stored.directory / "index/codes.bin").read_bytes() == bytes([generation]) * 500


def litter(root: Path, store: NumpySnapshotStore) -> list[str]:
    """Names that belong to no generation."""
    known = {"_quarantine", *store.libraries()}
    found = [path.name for path in root.iterdir() if path.name not in known]
    for library_id in store.libraries():
        numbers = {str(generation) for generation in store.generations(library_id)}
        found += [
            path.name
            for path in (root / library_id).iterdir()
            if path.name not in numbers | {"manifest.json"}
        ]
    return found


def run(
    tmp_path: Path,
    mode: str,
    before: int,
    act: Callable[[NumpySnapshotStore], object],
    old: tuple[int, ...],
    new: tuple[int, ...],
) -> int:
    """Strike at each operation of ``act`` in turn, and look at what is left; returns how many there were."""
    for at in range(1, 500):
        root = tmp_path / str(at) / "data"
        root.mkdir(parents=True)
        store = NumpySnapshotStore(root, disk=HastyDisk())
        for generation in range(1, before + 1):
            store.write("lib", generation, parts(generation))
        disk = FaultyDisk(root, mode, at)
        raised: BaseException | None = None
        try:
            act(NumpySnapshotStore(root, disk=disk))
        except (Stopped, StorageFull) as error:
            raised = error
        if mode == "power loss":  # Also after a success: it said that it is safe.
            disk.lose_power()
        left = tuple(store.generations("lib"))
        assert left in {old, new}, f"operation {at}"
        if raised is None:
            assert left == new, f"operation {at}"
        if isinstance(raised, StorageFull) and act is write:
            assert left == old, f"operation {at}"
        check(store, "lib")
        assert ("lib" in store.libraries()) == bool(left)
        store.write("lib", 7, parts(7))
        assert tuple(store.generations("lib")) == (*left, 7)
        check(store, "lib")
        assert litter(root, store) == [], f"operation {at}"
        shutil.rmtree(tmp_path / str(at))
        if not disk.struck:
            return at
    raise AssertionError("it never came to an end")


def write(store: NumpySnapshotStore) -> None:
    before = store.generations("lib")
    generation = before[-1] + 1 if before else 1
    store.write("lib", generation, parts(generation))


@pytest.mark.parametrize("mode", MODES)
def test_a_write_that_fails_anywhere_leaves_the_old_generations_or_the_new_one(
    tmp_path: Path, mode: str
) -> None:
    assert run(tmp_path, mode, 3, write, (1, 2, 3), (1, 2, 3, 4)) > 20


@pytest.mark.parametrize("mode", MODES)
def test_a_first_write_that_fails_anywhere_leaves_nothing_or_the_library(tmp_path: Path, mode: str) -> None:
    assert run(tmp_path, mode, 0, write, (), (1,)) > 20


@pytest.mark.parametrize("mode", MODES)
def test_deleting_a_generation_is_done_or_not(tmp_path: Path, mode: str) -> None:
    def delete(store: NumpySnapshotStore) -> None:
        store.delete("lib", 1)

    assert run(tmp_path, mode, 3, delete, (1, 2, 3), (2, 3)) > 5


@pytest.mark.parametrize("mode", MODES)
def test_deleting_a_library_never_leaves_half_of_it(tmp_path: Path, mode: str) -> None:
    def delete(store: NumpySnapshotStore) -> None:
        store.delete("lib")

    assert run(tmp_path, mode, 3, delete, (1, 2, 3), ()) >= 3


@pytest.mark.parametrize("mode", MODES)
def test_quarantine_is_done_or_not(tmp_path: Path, mode: str) -> None:
    def quarantine(store: NumpySnapshotStore) -> None:
        store.quarantine("lib", 3, "a test")

    assert run(tmp_path, mode, 3, quarantine, (1, 2, 3), (1, 2)) > 5


def test_the_last_generation_in_quarantine_is_damage_at_every_point(tmp_path: Path) -> None:
    for at in range(1, 50):
        root = tmp_path / str(at)
        store = NumpySnapshotStore(root / "data")
        store.write("lib", 1, parts(1))
        disk = FaultyDisk(root / "data", "power loss", at)
        try:
            NumpySnapshotStore(root / "data", disk=disk).quarantine("lib", 1, "a test")
        except Stopped:
            disk.lose_power()
        try:
            assert store.generations("lib") == (1,)
            check(store, "lib")
        except SnapshotDamaged:
            assert store.libraries() == ("lib",)
        if not disk.struck:
            return
    raise AssertionError("it never came to an end")


def test_what_does_not_fit_leaves_nothing_behind_at_once(tmp_path: Path) -> None:
    store = NumpySnapshotStore(tmp_path / "data")
    store.write("lib", 1, parts(1))
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))

    def fill(directory: Path) -> None:
        (directory / "half").write_bytes(b"x")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StorageFull, match=r"generation 2 of library 'lib'.*No space left on device"):
        store.write("lib", 2, SnapshotParts(header={}, directories={"index": fill}))
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before
