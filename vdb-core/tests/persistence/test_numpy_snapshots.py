"""The snapshot store: what is written is read, damage is found and survived, nothing leads out of the directory."""

from __future__ import annotations

import errno
import json
import os
import shutil
import zlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vdb_core.errors import FormatUnsupported, PluginError, SnapshotDamaged, StorageFailed, VdbError
from vdb_core.persistence import SnapshotParts, SnapshotStore
from vdb_core.persistence.durable import Disk
from vdb_core.persistence.json_rows import json_chunks, json_rows
from vdb_core.persistence.manifest import Generation, Manifest, decode, encode
from vdb_core.persistence.numpy_snapshots import NumpySnapshotStore

if TYPE_CHECKING:
    from collections.abc import Callable

VECTORS = np.arange(30, dtype=np.float32).reshape(10, 3)

several_examples = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150
)


def fill(directory: Path) -> None:
    np.save(directory / "codes.npy", VECTORS)
    (directory / "empty").mkdir()


def parts(position: int = 1) -> SnapshotParts:
    return SnapshotParts(
        header={"position": position, "name": "é", "nested": {"a": [1, 2.5, None]}},
        arrays={"vectors": VECTORS + position, "ids": np.empty(0, dtype=np.int64)},
        rows={"metadata": lambda: iter([b'{"a":1}', b"[2]"]), "documents": list},
        directories={"index": fill},
    )


@pytest.fixture
def store(tmp_path: Path) -> NumpySnapshotStore:
    return NumpySnapshotStore(tmp_path / "data")


@pytest.fixture
def library(tmp_path: Path, store: NumpySnapshotStore) -> Path:
    """A library of the generations 1 and 2."""
    store.write("lib", 1, parts(1))
    store.write("lib", 2, parts(2))
    return tmp_path / "data" / "lib"


def test_it_is_a_snapshot_store(store: NumpySnapshotStore) -> None:
    assert isinstance(store, SnapshotStore)
    assert store.libraries() == ()
    assert store.generations("nobody") == ()
    store.delete("nobody")
    store.quarantine("nobody", 1, "no reason")
    store.close()


def test_what_is_written_is_read(store: NumpySnapshotStore, library: Path) -> None:
    assert store.libraries() == ("lib",)
    assert store.generations("lib") == (1, 2)
    stored = store.read("lib", 2)
    assert stored.header == store.header("lib", 2) == parts(2).header
    assert stored.files == {"vectors.npy", "ids.npy", "metadata.json", "documents.json", "index/codes.npy"}
    np.testing.assert_array_equal(stored.array("vectors"), VECTORS + 2)
    assert stored.array("ids").shape == (0,)
    assert list(stored.rows("metadata")) == [b'{"a":1}', b"[2]"]
    assert list(stored.rows("documents")) == []
    assert (stored.directory / "index" / "empty").is_dir()
    np.testing.assert_array_equal(store.read("lib", 1).array("vectors"), VECTORS + 1)


def test_the_files_are_open_formats(library: Path) -> None:
    np.testing.assert_array_equal(np.load(library / "2" / "vectors.npy", allow_pickle=False), VECTORS + 2)
    assert json.loads((library / "2" / "metadata.json").read_text()) == [{"a": 1}, [2]]
    assert (library / "2" / "metadata.json").read_bytes() == b'[\n{"a":1},\n[2]\n]\n'
    assert json.loads((library / "2" / "documents.json").read_text()) == []
    manifest = json.loads((library / "manifest.json").read_text())
    assert manifest["format_version"] == 1
    assert manifest["generation"] == 2
    assert [entry["generation"] for entry in manifest["generations"]] == [1, 2]
    vectors = (library / "2" / "vectors.npy").read_bytes()
    assert manifest["generations"][1]["files"]["vectors.npy"] == {
        "bytes": len(vectors),
        "checksum": f"crc32:{zlib.crc32(vectors):08x}",
        "dtype": "<f4",
        "shape": [10, 3],
    }
    assert manifest["generations"][1]["header"] == parts(2).header


@given(
    rows=st.lists(st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=5), max_size=80)
)
def test_rows_are_a_json_array_with_a_row_a_line(rows: list[object]) -> None:
    encoded = [json.dumps(row).encode() for row in rows]
    assert json.loads(b"".join(json_chunks(encoded))) == rows


def test_many_rows_are_streamed(tmp_path: Path) -> None:
    row = b'"%s"' % (b"x" * 1000)
    chunks = list(json_chunks(row for _ in range(5000)))
    assert len(chunks) > 3
    (tmp_path / "rows.json").write_bytes(b"".join(chunks))
    assert sum(item == row for item in json_rows(tmp_path / "rows.json")) == 5000
    for before in (0, 1, 40):
        with pytest.raises(ValueError, match=r"line breaks, received b'\{\\n\}'"):
            list(json_chunks([*[row] * before, b"{\n}", row]))


@pytest.mark.parametrize("content", [b"", b"[", b"[\n", b"[\n1,\n", b"[\n1\n", b"{}\n"])
def test_rows_that_were_cut_are_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "rows.json").write_bytes(content)
    with pytest.raises(SnapshotDamaged, match=r"rows\.json is damaged"):
        list(json_rows(tmp_path / "rows.json"))
    with pytest.raises(SnapshotDamaged, match=r"gone\.json is missing"):
        list(json_rows(tmp_path / "gone.json"))


# What did not change


class NoLinks(Disk):
    def link(self, source: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))


@pytest.mark.parametrize("links", [True, False])
def test_unchanged_parts_are_linked_or_else_copied(tmp_path: Path, library: Path, *, links: bool) -> None:
    store = NumpySnapshotStore(tmp_path / "data", disk=Disk() if links else NoLinks())
    unchanged = frozenset({"vectors", "index", "metadata"})
    store.write("lib", 3, SnapshotParts(header={}, unchanged=unchanged, base_generation=2))
    store.delete("lib", 1)
    for name in ("vectors.npy", "metadata.json", "index/codes.npy"):
        assert (library / "3" / name).samefile(library / "2" / name) is links
    store.delete("lib", 2)
    stored = store.read("lib", 3)
    np.testing.assert_array_equal(stored.array("vectors"), VECTORS + 2)
    assert (stored.directory / "index" / "empty").is_dir()
    assert stored.files == {"vectors.npy", "metadata.json", "index/codes.npy"}


@pytest.mark.parametrize("links", [True, False])
def test_a_damaged_file_is_not_taken_over(tmp_path: Path, library: Path, *, links: bool) -> None:
    store = NumpySnapshotStore(tmp_path / "data", disk=Disk() if links else NoLinks())
    with (library / "2" / "vectors.npy").open("r+b") as file:
        if links:
            file.truncate(100)
        else:
            file.write(b"?")
    with pytest.raises(SnapshotDamaged, match=r"vectors\.npy"):
        store.write("lib", 3, SnapshotParts(header={}, unchanged=frozenset({"vectors"}), base_generation=2))
    assert store.generations("lib") == (1, 2)
    assert not (library / "3").exists()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (SnapshotParts(header={}, unchanged=frozenset({"vectors"}), base_generation=9), "Available: 1, 2"),
        (SnapshotParts(header={}, unchanged=frozenset({"vectors"})), "no generation None"),
        (
            SnapshotParts(header={}, unchanged=frozenset({"norms"}), base_generation=2),
            r"no parts \['norms'\]",
        ),
        (SnapshotParts(header={}, rows={"manifest": list}), "manifest"),
        (SnapshotParts(header={}, rows={"../x": list}), r"\.\./x"),
        (SnapshotParts(header={}, rows={"x": list}, arrays={"x": VECTORS}), "each name once"),
        (SnapshotParts(header={}, arrays={"x": np.array([None])}), "object"),
    ],
)
def test_parts_that_make_no_sense_change_nothing(
    store: NumpySnapshotStore, library: Path, wrong: SnapshotParts, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        store.write("lib", 3, wrong)
    assert sorted(path.name for path in library.iterdir()) == ["1", "2", "manifest.json"]


def test_generations_rise(store: NumpySnapshotStore, library: Path) -> None:
    for number in (-1, 0, 1, 2):
        with pytest.raises(ValueError, match=r"must be above the newest one \(2\)"):
            store.write("lib", number, parts())
    store.write("lib", 10, parts())
    assert store.generations("lib") == (1, 2, 10)


# What plugins write


def leave_link(directory: Path) -> None:
    (directory / "codes.npy").symlink_to("/etc/hostname")


def leave_directory_link(directory: Path) -> None:
    (directory / "lists").symlink_to(directory.parent)


def leave_pipe(directory: Path) -> None:
    os.mkfifo(directory / "pipe")


def leave_odd_name(directory: Path) -> None:
    (directory / "a\nb").write_text("")


@pytest.mark.parametrize("leave", [leave_link, leave_directory_link, leave_pipe, leave_odd_name])
def test_a_plugin_may_leave_plain_files_only(
    store: NumpySnapshotStore, library: Path, leave: Callable[[Path], None]
) -> None:
    with pytest.raises(PluginError, match="A plugin saved"):
        store.write("lib", 3, SnapshotParts(header={}, directories={"index": leave}))
    assert sorted(path.name for path in library.iterdir()) == ["1", "2", "manifest.json"]


def test_what_a_plugin_raises_comes_through(store: NumpySnapshotStore, library: Path) -> None:
    def fail(directory: Path) -> None:
        (directory / "half").write_text("half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.write("lib", 3, SnapshotParts(header={}, directories={"index": fail}))
    assert sorted(path.name for path in library.iterdir()) == ["1", "2", "manifest.json"]


# Damage


def flip(path: Path, at: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["vectors.npy", "metadata.json", "index/codes.npy", "ids.npy"])
@pytest.mark.parametrize("how", ["flip first", "flip last", "cut", "grow", "remove", "link", "directory"])
def test_each_damage_of_each_file_is_found(
    store: NumpySnapshotStore, library: Path, name: str, how: str
) -> None:
    path = library / "2" / name
    match how:
        case "flip first":
            flip(path)
        case "flip last":
            flip(path, -1)
        case "cut":
            os.truncate(path, path.stat().st_size - 1)
        case "grow":
            path.write_bytes(path.read_bytes() + b"\0")
        case "remove":
            path.unlink()
        case "link":
            path.rename(library / "elsewhere")
            path.symlink_to(library / "elsewhere")
        case _:
            path.unlink()
            path.mkdir()
    with pytest.raises(SnapshotDamaged, match=Path(name).name):
        store.read("lib", 2)
    assert store.read("lib", 1).generation == 1
    store.quarantine("lib", 2, "test: damaged")
    assert store.generations("lib") == (1,)
    (aside,) = (library.parent / "_quarantine").iterdir()
    assert aside.name.startswith("lib-2-")
    assert (aside / "reason.txt").read_text() == "test: damaged\n"
    assert store.libraries() == ("lib",)


def test_a_directory_that_became_a_link_is_not_followed(store: NumpySnapshotStore, library: Path) -> None:
    (library / "2" / "index").rename(library / "elsewhere")
    (library / "2" / "index").symlink_to(library / "elsewhere")
    with pytest.raises(SnapshotDamaged, match="index is no directory"):
        store.read("lib", 2)
    (library / "2").rename(library.parent / "two")
    (library / "2").symlink_to(library.parent / "two")
    with pytest.raises(SnapshotDamaged, match="is no directory"):
        store.read("lib", 2)


@pytest.mark.parametrize("how", ["garbage", "empty", "flip", "remove", "directory", "other library"])
def test_a_damaged_manifest_is_replaced_by_the_copies(
    store: NumpySnapshotStore, library: Path, how: str
) -> None:
    manifest = library / "manifest.json"
    match how:
        case "garbage":
            manifest.write_bytes(b"\x00\xff" * 100)
        case "empty":
            manifest.write_bytes(b"")
        case "flip":
            flip(manifest, manifest.read_bytes().index(b"position") + 2)
        case "other library":
            store.write("other", 1, parts())
            shutil.copy(library.parent / "other" / "manifest.json", manifest)
        case _:
            manifest.unlink()
            if how == "directory":
                manifest.mkdir()
    assert store.generations("lib") == (1, 2)
    assert store.read("lib", 2).header == parts(2).header
    flip(library / "2" / "manifest.json", 40)
    assert store.generations("lib") == (1,)
    if how != "directory":
        store.write("lib", 5, parts(5))
        assert store.generations("lib") == (1, 5)
        # The generation that nothing vouches for any more is somebody's data all the same.
        assert [path.name[:7] for path in (library.parent / "_quarantine").iterdir()] == ["lib-2-2"]


def test_what_two_crashes_in_a_row_leave_is_swept(store: NumpySnapshotStore, library: Path) -> None:
    """The first before the library's first manifest, the second within the generation that was to follow."""
    store.delete("lib", 2)
    (library / "manifest.json").unlink()
    (library / "2").mkdir()
    np.save(library / "2" / "vectors.npy", VECTORS)
    (library / "2" / "meta_index.json").touch()
    assert store.generations("lib") == (1,)
    store.write("lib", 3, parts(3))
    assert store.generations("lib") == (1, 3)
    assert sorted(path.name for path in library.iterdir()) == ["1", "3", "manifest.json"]
    assert not (library.parent / "_quarantine").exists()


def test_a_library_of_which_nothing_is_left_is_damaged_not_new(
    store: NumpySnapshotStore, library: Path
) -> None:
    for generation in (2, 1):
        store.quarantine("lib", generation, "test")
    for _ in range(2):
        assert store.libraries() == ("lib",)
        with pytest.raises(SnapshotDamaged, match=r"No generation of library|is damaged"):
            store.generations("lib")
        with pytest.raises(SnapshotDamaged):
            store.header("lib", 2)
        (library / "manifest.json").write_bytes(b"{}")
    store.write("lib", 3, parts(3))
    assert store.generations("lib") == (3,)


def test_a_failed_write_to_a_library_of_which_nothing_is_left_keeps_it_damaged(
    store: NumpySnapshotStore, library: Path
) -> None:
    for generation in (2, 1):
        store.quarantine("lib", generation, "test")
    with pytest.raises(ValueError, match="object"):
        store.write("lib", 3, SnapshotParts(header={}, arrays={"x": np.array([None])}))
    with pytest.raises(SnapshotDamaged):
        store.generations("lib")


@several_examples
@given(data=st.data())
def test_no_damage_to_manifests_gives_another_answer(tmp_path: Path, data: st.DataObject) -> None:
    root, whole = tmp_path / "data", tmp_path / "whole"
    if not whole.exists():
        for number in (1, 2):
            NumpySnapshotStore(whole).write("lib", number, parts(number))
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(whole, root)
    store = NumpySnapshotStore(root)
    for name in data.draw(st.sets(st.sampled_from(["manifest.json", "1/manifest.json", "2/manifest.json"]))):
        content = bytearray((root / "lib" / name).read_bytes())
        for _ in range(data.draw(st.integers(0, 2))):
            content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        (root / "lib" / name).write_bytes(
            content[: data.draw(st.just(len(content)) | st.integers(0, len(content)))]
        )
    try:
        for generation in store.generations("lib"):
            assert store.header("lib", generation) == parts(generation).header
            np.testing.assert_array_equal(
                store.read("lib", generation).array("vectors"), VECTORS + generation
            )
    except (SnapshotDamaged, FormatUnsupported):
        pass
    assert store.libraries() == ("lib",)


def test_every_flipped_bit_of_a_manifest_is_damage_or_changes_nothing() -> None:
    manifest = Manifest(
        library_id="lib", generations=(Generation(generation=3, header={"p": 12.5, "n": None}),)
    )
    content = encode(manifest)
    for at in range(len(content) * 8):
        flipped = bytearray(content)
        flipped[at // 8] ^= 1 << at % 8
        with suppress(SnapshotDamaged):
            assert decode(bytes(flipped), library_id="lib", where="x") == manifest


def test_a_newer_format_is_refused_by_number_and_left_alone(store: NumpySnapshotStore, library: Path) -> None:
    content = json.loads((library / "manifest.json").read_text())
    content["format_version"] = 7
    content["checksum"] = "blake3:of the future"
    (library / "manifest.json").write_text(json.dumps(content))
    before = sorted(library.rglob("*"))
    for act in (
        lambda: store.generations("lib"),
        lambda: store.header("lib", 2),
        lambda: store.read("lib", 2),
        lambda: store.write("lib", 3, parts()),
        lambda: store.delete("lib", 1),
        lambda: store.quarantine("lib", 1, "test"),
    ):
        with pytest.raises(FormatUnsupported, match="version 7; this vdb reads versions 1 to 1"):
            act()
    assert sorted(library.rglob("*")) == before
    assert store.libraries() == ("lib",)


# Names


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../lib", "a/b", "/etc", "_journal", "-x", "a\0", "a\n", "x" * 129, "é"]
)
def test_no_other_string_becomes_a_path(store: NumpySnapshotStore, library: Path, name: str) -> None:
    before = sorted(library.parent.rglob("*"))
    for act in (
        lambda: store.write(name, 1, parts()),
        lambda: store.read(name, 1),
        lambda: store.header(name, 1),
        lambda: store.generations(name),
        lambda: store.delete(name),
        lambda: store.quarantine(name, 1, "test"),
    ):
        with pytest.raises(StorageFailed, match="cannot name a directory"):
            act()
    assert sorted(library.parent.rglob("*")) == before


@pytest.mark.parametrize(
    "path",
    ["../x", "/etc/passwd", "a/../../x", "a//b", "./a", "a/./b", "a/", ".", "", "a\\..\\x", "a\0b", "C:x", 7],
)
def test_a_manifest_leads_nowhere_else(path: object) -> None:
    generation = Generation(generation=1, header={}, directories=(path,))  # pyright: ignore[reportArgumentType]
    with pytest.raises(SnapshotDamaged, match="is not a relative path"):
        decode(encode(Manifest(library_id="lib", generations=(generation,))), library_id="lib", where="x")


def test_a_library_that_is_a_link_is_not_followed(store: NumpySnapshotStore, library: Path) -> None:
    (library.parent / "link").symlink_to(library)
    with pytest.raises(StorageFailed, match="symbolic link"):
        store.read("link", 1)
    with pytest.raises(StorageFailed, match="symbolic link"):
        store.delete("link")
    assert store.read("lib", 1).generation == 1


def test_other_files_beside_libraries_are_no_libraries(
    tmp_path: Path, store: NumpySnapshotStore, library: Path
) -> None:
    (tmp_path / "data" / "_journal.sqlite3").write_text("")
    (tmp_path / "data" / "lost+found").mkdir()
    (tmp_path / "data" / "empty").mkdir()
    assert store.libraries() == ("lib",)
    assert store.generations("empty") == ()


def test_an_unreadable_file_is_no_damage(
    monkeypatch: pytest.MonkeyPatch, store: NumpySnapshotStore, library: Path
) -> None:
    """Nobody sets a generation aside because of a wrong permission, but does because of a bad sector."""

    def refuse(number: int) -> Callable[..., int]:
        def refused(path: Path, *arguments: object) -> int:
            raise OSError(number, os.strerror(number), str(path))

        return refused

    monkeypatch.setattr("vdb_core.persistence.generation_files._open_plain", refuse(errno.EACCES))
    with pytest.raises(StorageFailed, match=r"Permission denied \(EACCES\)"):
        store.read("lib", 2)
    monkeypatch.setattr("vdb_core.persistence.generation_files._open_plain", refuse(errno.EIO))
    with pytest.raises(VdbError) as caught:
        store.read("lib", 2)
    assert isinstance(caught.value, SnapshotDamaged)
