"""The suite for snapshot stores: what is written is read, damage is told, and a kill leaves a generation or nothing."""

from __future__ import annotations

import itertools
import json
import random
import time
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pytest

from vdb_core.errors import SnapshotDamaged
from vdb_core.persistence import SnapshotParts, SnapshotStore, StoredSnapshot
from vdb_core.plugins import SnapshotStoreType, validate_params
from vdb_core.plugins.validation import check_records
from vdb_core.testing.children import child, say

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["SnapshotStoreConformance", "write_forever"]

_KIB = 1024


def _vectors(number: int) -> np.ndarray:
    return np.arange(60, dtype=np.float32).reshape(20, 3) + np.float32(number)


def _parts(number: int) -> SnapshotParts:
    """A generation that says in every part which one it is."""

    def fill(directory: Path) -> None:
        np.save(directory / "codes.npy", np.full(8 * _KIB, number, dtype=np.int64))
        (directory / "lists").mkdir()
        _ = (directory / "lists" / "0.json").write_text(json.dumps(number), encoding="utf-8")

    return SnapshotParts(
        header={"number": number, "name": "Zürich 東京", "nested": {"a": [1, 2.5, None, True]}},
        arrays={"vectors": _vectors(number), "ids": np.arange(number, dtype=np.int64)},
        rows={
            "metadata": lambda: (json.dumps({"n": n, "of": number}).encode() for n in range(300)),
            "documents": list,
        },
        directories={"index": fill},
    )


def _check(stored: StoredSnapshot, number: int, where: str) -> None:
    expected = _parts(number)
    assert isinstance(stored, StoredSnapshot), (
        f"{where}: read() returns a StoredSnapshot; received {type(stored)}"
    )
    assert stored.generation == number, f"{where}: expected generation {number}; received {stored.generation}"
    assert dict(stored.header) == dict(expected.header), (
        f"{where}: the header came back as {dict(stored.header)}; expected {dict(expected.header)}, as it was given"
    )
    files = {
        "vectors.npy",
        "ids.npy",
        "metadata.json",
        "documents.json",
        "index/codes.npy",
        "index/lists/0.json",
    }
    assert set(stored.files) == files, (
        f"{where}: expected the files {sorted(files)}; received {sorted(stored.files)}"
    )
    vectors, ids = stored.array("vectors"), stored.array("ids")
    assert vectors.dtype == np.float32, f"{where}: vectors were float32; received {vectors.dtype}"
    assert vectors.tolist() == _vectors(number).tolist(), f"{where}: other vectors than were written"
    assert ids.dtype == np.int64, f"{where}: ids were int64; received {ids.dtype}"
    assert ids.tolist() == list(range(number)), f"{where}: other ids than were written"
    rows = [json.loads(row) for row in stored.rows("metadata")]
    assert rows == [{"n": n, "of": number} for n in range(300)], (
        f"{where}: other rows than were written, or another order"
    )
    assert list(stored.rows("documents")) == [], f"{where}: a part of no rows came back with rows"
    codes = np.load(stored.directory / "index" / "codes.npy", allow_pickle=False)
    assert (codes == number).all(), f"{where}: the index's own file is another than was written"


class SnapshotStoreConformance:
    """Subclass it, name it ``Test...``, and set ``store_type``."""

    store_type: ClassVar[SnapshotStoreType]
    """The type that is tested. ``open`` gets a new empty directory as ``data_dir`` in each test."""

    params: ClassVar[Mapping[str, object]] = {}
    """Settings to test with."""

    kills: ClassVar[int] = 3
    """How many processes are killed within ``write``."""

    def open(self, data_dir: Path | str) -> SnapshotStore:
        """Open the store; a store on another machine may be given another place for each directory here."""
        params = validate_params(self.store_type.params, self.params, "/params")
        return self.store_type.open(str(data_dir), params)

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[SnapshotStore]:
        """An empty store."""
        made = self.open(tmp_path)
        yield made
        made.close()

    def test_the_record_is_well_formed(self) -> None:
        """The record has a usable name, summary, opener and a parameter model with defaults."""
        _ = check_records("vdb_register_snapshot_stores", [self.store_type])

    def test_an_empty_store_is_empty(self, store: SnapshotStore) -> None:
        """A new store has every method and no library; asking for, deleting or setting aside what is not there is no error."""
        assert isinstance(store, SnapshotStore), "open() returns a SnapshotStore; a method is missing"
        assert list(store.libraries()) == [], (
            f"a new store has no libraries; received {list(store.libraries())}"
        )
        assert list(store.generations("nobody")) == [], "a library that never was has no generations"
        store.delete("nobody")
        store.delete("nobody", 3)
        store.quarantine("nobody", 3, "no reason")

    def test_what_is_written_is_read(self, store: SnapshotStore) -> None:
        """Header, arrays, rows and directories come back as they were written, also from an older generation."""
        for number in (1, 2):
            store.write("lib", number, _parts(number))
        for number in (2, 1):
            _check(store.read("lib", number), number, f"generation {number}")
            told = dict(store.header("lib", number))
            assert told == dict(_parts(number).header), f"header() of generation {number} tells {told}"

    def test_libraries_and_generations_are_listed(self, store: SnapshotStore) -> None:
        """libraries() and generations() list what is there, generations oldest first, each library for itself."""
        for number in (1, 2, 10):
            store.write("one", number, _parts(number))
        store.write("two", 3, _parts(3))
        assert sorted(store.libraries()) == ["one", "two"], (
            f"expected ['one', 'two']; received {list(store.libraries())}"
        )
        assert list(store.generations("one")) == [1, 2, 10], (
            f"expected generations [1, 2, 10], as numbers and oldest first; received {list(store.generations('one'))}"
        )
        assert list(store.generations("two")) == [3], "one library's generations are another's"

    def test_it_outlives_being_closed(self, store: SnapshotStore, tmp_path: Path) -> None:
        """What was written is there when the store is opened again."""
        store.write("lib", 4, _parts(4))
        store.close()
        again = self.open(tmp_path)
        try:
            assert list(again.libraries()) == ["lib"], "after close() and open() the library is gone"
            _check(again.read("lib", 4), 4, "opened again")
        finally:
            again.close()

    def test_unchanged_parts_are_taken_over(self, store: SnapshotStore) -> None:
        """Parts named unchanged equal those of the base generation, and stay when that is deleted."""
        store.write("lib", 1, _parts(1))
        unchanged = frozenset({"vectors", "ids", "metadata", "documents", "index"})
        parts = SnapshotParts(header=_parts(2).header, unchanged=unchanged, base_generation=1)
        store.write("lib", 2, parts)
        store.delete("lib", 1)
        stored = store.read("lib", 2)
        assert dict(stored.header)["number"] == 2, "the header is the new one, whatever parts are unchanged"
        assert stored.array("vectors").tolist() == _vectors(1).tolist(), (
            "vectors, unchanged, are not those of the base"
        )
        assert (np.load(stored.directory / "index" / "codes.npy") == 1).all(), (
            "index/, unchanged, is not that of the base"
        )
        assert len(list(stored.rows("metadata"))) == 300, "rows, unchanged, are not those of the base"

    def test_what_is_deleted_is_gone(self, store: SnapshotStore) -> None:
        """delete() takes a generation, or a library, and nothing else."""
        for library_id, number in (("one", 1), ("one", 2), ("two", 1)):
            store.write(library_id, number, _parts(number))
        store.delete("one", 1)
        assert list(store.generations("one")) == [2], (
            f"after delete('one', 1): {list(store.generations('one'))}"
        )
        _check(store.read("one", 2), 2, "the generation that was kept")
        store.delete("one")
        assert list(store.generations("one")) == [], "after delete('one') it still has generations"
        assert list(store.libraries()) == ["two"], f"expected ['two']; received {list(store.libraries())}"
        _check(store.read("two", 1), 1, "the library that was kept")

    def test_what_is_set_aside_is_no_generation(self, store: SnapshotStore) -> None:
        """quarantine() takes a generation out of generations(), and the one before is as it was."""
        for number in (1, 2):
            store.write("lib", number, _parts(number))
        store.quarantine("lib", 2, "it was a test")
        assert list(store.generations("lib")) == [1], (
            f"expected [1]; received {list(store.generations('lib'))}"
        )
        _check(store.read("lib", 1), 1, "the generation before")
        store.write("lib", 3, _parts(3))
        assert list(store.generations("lib")) == [1, 3], (
            "after a quarantine a new generation cannot be written"
        )

    def test_a_library_of_which_nothing_is_left_is_damaged_not_new(self, store: SnapshotStore) -> None:
        """Where the only generation was set aside, generations() raises SnapshotDamaged: an empty list would mean new."""
        store.write("lib", 1, _parts(1))
        store.quarantine("lib", 1, "it was a test")
        with pytest.raises(SnapshotDamaged):
            _ = store.generations("lib")

    def test_damage_is_told(self, store: SnapshotStore) -> None:
        """Where a byte of a file is altered, or a file cut or missing, read() raises SnapshotDamaged."""
        for number in (1, 2):
            store.write("lib", number, _parts(number))
        directory = store.read("lib", 1).directory
        for name in sorted(store.read("lib", 1).files):
            file = directory / name
            whole = file.read_bytes()
            for damage in ("altered", "cut", "missing"):
                file.unlink()  # a file may be linked to that of another generation
                if damage == "altered":
                    at = len(whole) // 2
                    _ = file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
                elif damage == "cut":
                    _ = file.write_bytes(whole[: len(whole) // 2])
                with pytest.raises(SnapshotDamaged):
                    _ = store.read("lib", 1)
                _ = file.write_bytes(whole)
        _check(store.read("lib", 1), 1, "the files are whole again")

    def test_what_a_part_raises_leaves_no_trace(self, store: SnapshotStore) -> None:
        """Where rows or an index's own writing fail, the error comes through, and there is no such generation."""
        store.write("lib", 1, _parts(1))

        def broken(directory: Path) -> None:
            _ = (directory / "half.npy").write_bytes(b"half")
            raise RuntimeError("the index could not be saved")

        parts = SnapshotParts(header={}, arrays={"vectors": _vectors(2)}, directories={"index": broken})
        with pytest.raises(RuntimeError, match="could not be saved"):
            store.write("lib", 2, parts)
        assert list(store.generations("lib")) == [1], (
            f"expected [1]; received {list(store.generations('lib'))}"
        )
        store.write("lib", 2, _parts(2))
        _check(store.read("lib", 2), 2, "written after a failure")

    def test_a_kill_leaves_a_whole_generation_or_none(self, tmp_path: Path) -> None:
        """A process is killed within write(): every generation that is listed reads whole, acknowledged ones are listed."""
        chance = random.Random(5)  # noqa: S311 - the moment of a kill
        for number in range(self.kills):
            data = tmp_path / str(number)
            data.mkdir()
            with child(type(self), f"{__name__}:write_forever", str(data), beside=tmp_path) as process:
                told = [(int(process.wait_for("written")), time.monotonic()) for _ in range(4)]
                time.sleep(chance.uniform(0, max(told[-1][1] - told[-2][1], 0.001)))
                process.kill()
            store = self.open(data)
            try:
                there = list(store.generations("lib"))
                lost = sorted(set(range(1, told[-1][0] + 1)) - set(there))
                assert not lost, (
                    f"write() had returned for generation {lost[0]}, and after the kill it is not there"
                )
                for generation in there:
                    _check(store.read("lib", generation), generation, f"generation {generation} after a kill")
                store.write("lib", there[-1] + 2, _parts(there[-1] + 2))
                _check(store.read("lib", there[-1] + 2), there[-1] + 2, "written after a kill")
            finally:
                store.close()


def write_forever(suite: type[SnapshotStoreConformance], data_dir: str) -> None:
    """What the killed process does."""
    store = suite().open(data_dir)
    for generation in itertools.count(1):
        store.write("lib", generation, _parts(generation))
        say(f"written {generation}")
