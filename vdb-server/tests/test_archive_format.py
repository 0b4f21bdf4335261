"""An archive brings a library back bit for bit, or is refused: whatever was done to it, and nothing in between."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from archive_kit import TAR, answers, fill, members, pack
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EXPORT = "/v1/libraries/words/export"
REJECTED = range(400, 500)


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_a_restored_library_answers_to_the_byte_as_before(
    client: Any, serve: Callable[..., Any], metric: str
) -> None:
    fill(client, metric)
    before = answers(client)
    assert {status for _, status, _, _ in before} == {200, 404}
    archive = client("GET", EXPORT).body
    with serve() as other:
        assert other("POST", "/v1/libraries/import", body=archive, headers=TAR).status == 201
        assert answers(other) == before
        # What is exported again is the same archive, and what is written next continues both alike.
        assert other("GET", EXPORT).body == archive
        for one in (client, other):
            row = {"id": "é/5", "embedding": [1, 2, 3, 4, 5, 6]}
            assert one("POST", "/v1/libraries/words/chunks/upsert", {"chunks": [row]}).status == 200
        assert [
            [chunk["id"] for chunk in one("GET", "/v1/libraries/words/chunks?limit=1000").json()["items"]]
            for one in (client, other)
        ] == [[*[f"é/{n}" for n in range(60) if n not in range(5, 50, 4) and n != 8], "é/8", "é/5"]] * 2


def test_a_restored_library_survives_a_restart(client: Any, serve: Callable[..., Any], tmp_path: Any) -> None:
    fill(client, "cosine")
    before, archive = answers(client), client("GET", EXPORT).body
    with serve(data_dir=tmp_path / "data") as other:
        assert other("POST", "/v1/libraries/import", body=archive, headers=TAR).status == 201
    with serve(data_dir=tmp_path / "data") as other:
        assert answers(other) == before
        assert other("POST", "/v1/libraries/words/snapshot", {"wait": True}).json()["state"] == "succeeded"
    with serve(data_dir=tmp_path / "data") as other:
        assert answers(other) == before


def test_a_library_whose_index_type_is_missing_is_restored_with_a_warning(
    client: Any, serve: Callable[..., Any]
) -> None:
    fill(client, "dot")
    files = members(client("GET", EXPORT).body)
    library = json.loads(files["library.json"])
    library["index"] = {"type": "elsewhere", "params": {"depth": 3}}
    files["library.json"] = json.dumps(library).encode()
    with serve() as other:
        made = other("POST", "/v1/libraries/import", body=pack(summed(files)), headers=TAR)
        assert (made.status, made.json()["index"]) == (201, library["index"])
        found = other("POST", "/v1/libraries/words/search", {"embedding": [1] * 6}).json()
        assert len(found["hits"]) == 10
        assert found["index"] == {"type": "numpy", "exact": True}
        assert "'elsewhere' is not installed" in found["warnings"][0]
        library["index"]["type"] = 7
        files["library.json"] = json.dumps(library).encode()
        wrong = other("POST", "/v1/libraries/import?id=b", body=pack(summed(files)), headers=TAR)
        assert (wrong.status, wrong.pointers) == (422, ["/index/type"])


def summed(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files with checksums that agree with them."""
    given = {name: content for name, content in files.items() if name != "SHA256SUMS"}
    lines = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in given.items()]
    return {**given, "SHA256SUMS": "".join(lines).encode()}


def npy(array: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=True)
    return out.getvalue()


def changed(name: str, change: Callable[[bytes], bytes]) -> Callable[[dict[str, bytes]], None]:
    def make(files: dict[str, bytes]) -> None:
        files[name] = change(files[name])

    return make


def array_changed(name: str, change: Callable[[Any], Any]) -> Callable[[dict[str, bytes]], None]:
    return changed(name, lambda content: npy(change(np.load(io.BytesIO(content)))))


def field(name: str, **values: object) -> Callable[[dict[str, bytes]], None]:
    """Change fields of the first line of a file."""

    def change(content: bytes) -> bytes:
        first, newline, rest = content.partition(b"\n")
        return json.dumps({**json.loads(first), **values}).encode() + newline + rest

    return changed(name, change)


CONSISTENT_NONSENSE: dict[str, tuple[Callable[[dict[str, bytes]], object], str]] = {
    "rows that are no unit rows": (
        array_changed("vectors.npy", lambda a: a * np.float32(1.001)),
        "/vectors/0",
    ),
    "a row of NaN": (array_changed("vectors.npy", lambda a: a * np.float32("nan")), "/vectors/0"),
    "float16 rows": (array_changed("vectors.npy", lambda a: a.astype(np.float16)), "/vectors"),
    "float64 rows": (array_changed("vectors.npy", lambda a: a.astype(np.float64)), "/vectors"),
    "a length of 0": (array_changed("norms.npy", lambda a: a * 0), "/norms"),
    "a negative length": (array_changed("norms.npy", lambda a: -a), "/norms"),
    "an infinite length": (array_changed("norms.npy", lambda a: a * np.inf), "/norms"),
    "a length beyond float32": (array_changed("norms.npy", lambda a: np.full_like(a, 1e300)), "/norms"),
    "a length too few": (array_changed("norms.npy", lambda a: a[1:]), "/norms"),
    "no lengths": (lambda files: files.pop("norms.npy"), "/norms.npy"),
    "no ids": (lambda files: files.pop("ids.npy"), "/ids.npy"),
    "ids that fall": (array_changed("ids.npy", lambda a: a[::-1].copy()), "/ids"),
    "ids that repeat": (array_changed("ids.npy", np.ones_like), "/ids"),
    "ids from 0": (array_changed("ids.npy", lambda a: a - a[0]), "/ids"),
    "ids at the end of all numbers": (array_changed("ids.npy", lambda a: a + 2**62), "/ids"),
    "an array of objects": (
        changed("ids.npy", lambda _: npy(np.array([{"a": 1}], dtype=object))),
        "/ids",
    ),
    "more lines than rows": (changed("chunks.jsonl", lambda c: c + b"{}\n" * 100), "/chunks"),
    "a revision beyond the library's": (field("chunks.jsonl", revision=10**6), "/chunks/0/revision"),
    "a revision that is true": (field("chunks.jsonl", revision=True), "/chunks/0/revision"),
    "a chunk without times": (field("chunks.jsonl", updated_at=None), "/chunks/0/updated_at"),
    "a time of another form": (
        field("chunks.jsonl", created_at="2026-11-22T07:49:58Z"),
        "/chunks/0/created_at",
    ),
    "a document without revision": (field("documents.jsonl", revision=None), "/documents/0/revision"),
    "a library at revision 0": (field("library.json", revision=0), "/library/revision"),
    "a library before all time": (field("library.json", created_at="x"), "/library/created_at"),
    "format version 1": (field("library.json", archive={"format_version": 1}), "/library/archive"),
    "a format that is a list": (field("library.json", archive=[]), "/library/archive"),
    "an unknown field": (field("chunks.jsonl", extra=1), "/chunks/0/extra"),
    "the same chunk twice": (
        changed("chunks.jsonl", lambda c: c.replace(c.split(b"\n")[1], c.split(b"\n")[0])),
        "/chunks/1/id",
    ),
    "another metric": (field("library.json", metric="l2"), "/norms.npy"),
}


@pytest.mark.parametrize(("change", "pointer"), CONSISTENT_NONSENSE.values(), ids=CONSISTENT_NONSENSE)
def test_an_archive_that_agrees_with_its_checksums_is_still_checked(
    client: Any, change: Callable[[dict[str, bytes]], object], pointer: str
) -> None:
    fill(client, "cosine")
    files = members(client("GET", EXPORT).body)
    change(files)
    answer = client("POST", "/v1/libraries/import?id=copy", body=pack(summed(files)), headers=TAR)
    assert (answer.status, answer.code) == (422, "validation_failed"), answer.body
    assert answer.pointers[0] == pointer
    assert client("GET", "/v1/libraries/copy").status == 404


def test_a_newer_format_is_refused_by_name(client: Any) -> None:
    fill(client, "dot")
    files = members(client("GET", EXPORT).body)
    field("library.json", archive={"format_version": 3})(files)
    answer = client("POST", "/v1/libraries/import?id=copy", body=pack(summed(files)), headers=TAR)
    assert answer.code == "format_unsupported"
    assert "3" in answer.json()["detail"]
    assert "newer" in answer.json()["detail"]


def test_checksums_notice_what_looks_sound(client: Any) -> None:
    fill(client, "dot")
    files = members(client("GET", EXPORT).body)
    files["chunks.jsonl"] = files["chunks.jsonl"].replace(b"line 1", b"line 2", 1)
    answer = client("POST", "/v1/libraries/import?id=copy", body=pack(files), headers=TAR)
    assert (answer.status, answer.pointers) == (422, ["/chunks.jsonl"])
    files = members(client("GET", EXPORT).body)
    files["SHA256SUMS"] += b"../x"
    answer = client("POST", "/v1/libraries/import?id=copy", body=pack(files), headers=TAR)
    assert (answer.status, answer.pointers) == (422, ["/SHA256SUMS"])


def odd(name: str = "library.json", **fields: Any) -> bytes:
    """An archive of one odd member, of which the content is a kilobyte, whatever it claims."""
    kind = fields.pop("format", tarfile.GNU_FORMAT)
    info = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(info, key, value)
    return info.tobuf(kind) + bytes(3 * 512)


def sparse(size: int) -> bytes:
    """A GNU sparse file that claims to be of a size, in 512 bytes."""
    info = tarfile.TarInfo("library.json")
    info.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[483:495] = b"%011o\0" % size
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + 256 + sum(header[156:]))
    return bytes(header) + bytes(1024)


ODD: dict[str, bytes] = {
    "a symbolic link": odd(type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "a hard link": odd(type=tarfile.LNKTYPE, linkname="vectors.npy"),
    "a device": odd(type=tarfile.CHRTYPE, devmajor=1, devminor=5),
    "a block device": odd(type=tarfile.BLKTYPE),
    "a pipe": odd(type=tarfile.FIFOTYPE),
    "a directory": odd(type=tarfile.DIRTYPE),
    "a contiguous file": odd(type=tarfile.CONTTYPE),
    "a sparse file of 8 GiB": sparse(8 << 30),
    "an absolute name": odd("/library.json"),
    "a name above": odd("../library.json"),
    "a name within": odd("x/library.json"),
    "a name with a dot": odd("./library.json"),
    "a name in other letters": odd("Library.json"),
    "a long name": odd("x" * 300),
    "a long name, pax": odd("x" * 300, format=tarfile.PAX_FORMAT),
    "a size in an extended header": odd(pax_headers={"size": "99999999999"}, format=tarfile.PAX_FORMAT),
    "a path in an extended header": odd(pax_headers={"path": "/etc/x"}, format=tarfile.PAX_FORMAT),
    "a sparse file, pax": odd(pax_headers={"GNU.sparse.size": "9" * 12}, format=tarfile.PAX_FORMAT),
    "a claim of 8 EiB": odd(size=2**63 - 1),
    "a claim of 1 TiB": odd(size=2**40),
}


@pytest.mark.parametrize("archive", ODD.values(), ids=ODD)
def test_nothing_but_plain_files_of_known_names_is_taken(client: Any, archive: bytes) -> None:
    answer = client("POST", "/v1/libraries/import", body=archive, headers=TAR)
    assert answer.status in {400, 422}, answer.body
    assert answer.code in {"malformed_archive", "validation_failed"}
    assert client("GET", "/v1/libraries").json()["items"] == []


@pytest.mark.parametrize("kind", [*b"1234567LKSDMNVA"])
def test_a_whole_archive_with_one_member_of_another_kind_is_refused(client: Any, kind: int) -> None:
    fill(client, "dot")
    archive = bytearray(client("GET", EXPORT).body)
    archive[156] = kind
    archive[148:156] = b"%06o\0 " % (sum(archive[:148]) + 256 + sum(archive[156:512]))
    answer = client("POST", "/v1/libraries/import?id=copy", body=bytes(archive), headers=TAR)
    assert (answer.status, "no plain file" in answer.json()["detail"]) == (422, True), answer.body
    assert client("GET", "/v1/libraries/copy").status == 404


def test_times_in_extended_headers_do_no_harm(client: Any) -> None:
    fill(client, "dot")
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in members(client("GET", EXPORT).body).items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), 1e9 + 0.5  # type: ignore[assignment]
            tar.addfile(info, io.BytesIO(content))
    assert client("POST", "/v1/libraries/import?id=copy", body=file.getvalue(), headers=TAR).status == 201


def test_what_follows_the_end_is_no_part_of_an_archive(client: Any) -> None:
    fill(client, "dot")
    archive = client("GET", EXPORT).body
    padded = client("POST", "/v1/libraries/import?id=copy", body=archive + bytes(9216), headers=TAR)
    assert padded.status == 201
    for end in (b"x", archive, bytes(2 << 20)):
        answer = client("POST", "/v1/libraries/import?id=more", body=archive + end, headers=TAR)
        assert (answer.status, answer.code) == (400, "malformed_archive")


@pytest.fixture(scope="module")
def source(serve: Callable[..., Any]) -> Iterator[tuple[bytes, list[Any]]]:
    with serve() as client:
        fill(client, "cosine")
        yield client("GET", EXPORT).body, answers(client)


@pytest.fixture(scope="module")
def target(serve: Callable[..., Any]) -> Iterator[Any]:
    with serve() as client:
        yield client


def damages(archive: bytes) -> st.SearchStrategy[bytes]:
    """Archives that are cut, flipped, filled, doubled and shuffled somewhere."""
    size = len(archive)
    # Headers and JSON are a small part of the bytes and most of what can be damaged in an interesting way.
    place = st.one_of(
        st.integers(0, size - 1), st.integers(0, size // 512 - 1).map(lambda block: block * 512)
    )
    within = st.tuples(place, st.integers(0, 511)).map(lambda one: min(sum(one), size - 1))

    def flip(one: tuple[int, int]) -> bytes:
        return archive[: one[0]] + bytes([archive[one[0]] ^ one[1]]) + archive[one[0] + 1 :]

    def fill_in(one: tuple[int, bytes]) -> bytes:
        return (archive[: one[0]] + one[1] + archive[one[0] + len(one[1]) :])[:size]

    def without(one: tuple[int, int]) -> bytes:
        return archive[: one[0]] + archive[one[0] + one[1] :]

    def doubled(one: tuple[int, int]) -> bytes:
        return archive[: one[0] + one[1]] + archive[one[0] :]

    lengths = st.one_of(st.integers(1, 2000), st.sampled_from([512, 1024, 4096]))
    return st.one_of(
        place.map(lambda at: archive[:at]),
        st.tuples(within, st.integers(1, 255)).map(flip),
        st.tuples(within, st.binary(min_size=1, max_size=600)).map(fill_in),
        st.tuples(within, st.sampled_from([bytes(512), b"7" * 12, b"\xff" * 12, b"\x80" + b"\xff" * 11])).map(
            fill_in
        ),
        st.tuples(place, lengths).map(without),
        st.tuples(place, lengths).map(doubled),
    )


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_a_damaged_archive_is_refused_or_equal(source: Any, target: Any, data: st.DataObject) -> None:
    archive, before = source
    damaged = data.draw(damages(archive))
    answer = target("POST", "/v1/libraries/import", body=damaged, headers=TAR)
    if answer.status == 201:
        assert answers(target) == before
        assert target("DELETE", "/v1/libraries/words").status == 204
    else:
        assert answer.status in REJECTED, answer.body
        assert answer.code
    assert target("GET", "/v1/libraries").json()["items"] == []


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_a_damaged_file_under_a_true_checksum_is_no_bug_of_ours(
    source: Any, target: Any, data: st.DataObject
) -> None:
    """Damage that the checksums agree with is somebody's own archive: it is taken as a whole, or refused."""
    files = members(source[0])
    name = data.draw(st.sampled_from(sorted(files.keys() - {"SHA256SUMS"})))
    content = files[name]
    at = data.draw(st.integers(0, len(content) - 1))
    with_what = data.draw(
        st.one_of(st.binary(max_size=8), st.sampled_from([b"\x00", b"-1", b"[" * 40, b"9" * 40]))
    )
    files[name] = content[:at] + with_what + content[at + len(with_what) :]
    answer = target("POST", "/v1/libraries/import?id=words", body=pack(summed(files)), headers=TAR)
    if answer.status == 201:
        whole = target("GET", "/v1/libraries/words").json()
        assert whole["chunks"] == len(target("GET", "/v1/libraries/words/chunks?limit=1000").json()["items"])
        assert target("DELETE", "/v1/libraries/words").status == 204
    else:
        assert answer.status in REJECTED, answer.body
    assert target("GET", "/v1/libraries").json()["items"] == []
