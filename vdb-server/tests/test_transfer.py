"""Export and import: open formats, everything comes back, bad archives are refused."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from archive_kit import TAR, members, pack

from vdb_server.transfer import routes

if TYPE_CHECKING:
    from collections.abc import Callable

EXPORT = "/v1/libraries/glossary/export"


def by_hand(archive: bytes) -> dict[str, bytes]:
    """The files of an archive as somebody without vdb would make it: no checksums, embeddings as they were given."""
    files = members(archive)
    library = json.loads(files["library.json"])
    del library["archive"]
    vectors = np.load(io.BytesIO(files["vectors.npy"]))
    if "norms.npy" in files:
        vectors = (vectors * np.load(io.BytesIO(files["norms.npy"]))[:, None]).astype(np.float32)
    out = io.BytesIO()
    np.save(out, vectors)
    return {
        "library.json": json.dumps(library).encode(),
        "documents.jsonl": files["documents.jsonl"],
        "chunks.jsonl": files["chunks.jsonl"],
        "vectors.npy": out.getvalue(),
    }


def test_an_export_is_read_without_vdb(glossary: Any) -> None:
    answer = glossary("GET", EXPORT)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/x-tar"
    assert "glossary.tar" in answer.headers["content-disposition"]
    files = members(answer.body)
    arrays = ["vectors.npy", "norms.npy", "ids.npy"]
    assert list(files) == ["library.json", "documents.jsonl", "chunks.jsonl", *arrays, "SHA256SUMS"]
    assert json.loads(files["library.json"])["id"] == "glossary"
    assert [json.loads(line)["id"] for line in files["documents.jsonl"].splitlines()] == ["book"]
    chunks = [json.loads(line) for line in files["chunks.jsonl"].splitlines()]
    assert [chunk["id"] for chunk in chunks] == ["c-0", "c-1", "c-2", "c-3"]
    vectors = np.load(io.BytesIO(files["vectors.npy"]), allow_pickle=False)
    norms = np.load(io.BytesIO(files["norms.npy"]), allow_pickle=False)
    assert (vectors.dtype, norms.dtype) == (np.float32, np.float64)
    assert (vectors * norms[:, None]).tolist() == [
        [1, 0, 0],
        pytest.approx([0.9, 0.1, 0]),
        [0, 1, 0],
        [0, 0, 1],
    ]
    ids = np.load(io.BytesIO(files["ids.npy"]), allow_pickle=False)
    assert (np.diff(ids) > 0).all()
    sums = dict(reversed(line.split("  ")) for line in files["SHA256SUMS"].decode().splitlines())
    assert sums == {
        name: hashlib.sha256(content).hexdigest() for name, content in files.items() if name != "SHA256SUMS"
    }


@pytest.mark.parametrize("hang_up", [False, True])
def test_an_export_gives_its_memory_back_before_it_ends(
    glossary: Any, monkeypatch: pytest.MonkeyPatch, hang_up: bool
) -> None:
    """Also where nobody waits for the rest; then it need not be before the end."""
    released = threading.Event()

    def release() -> None:
        time.sleep(0.2)  # what is not waited for comes later than the answer
        released.set()

    monkeypatch.setattr(routes, "release_memory", release)
    glossary("GET", EXPORT, hang_up=hang_up)
    assert released.wait(10) if hang_up else released.is_set()


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_what_was_made_by_hand_comes_in(client: Any, metric: str) -> None:
    rng = np.random.default_rng(5)
    rows = [
        {
            "id": f"é/{n}",
            "text": f"t\n{n}",
            "embedding": (rng.normal(size=4) * 100).tolist(),
            "metadata": {"n": n},
        }
        for n in range(30)
    ]
    for row in rows[::3]:
        row["document_id"] = "d/1"
    client("POST", "/v1/libraries", {"id": "glossary", "name": "G", "metric": metric, "metadata": {"k": "v"}})
    client("POST", "/v1/libraries/glossary/documents", {"id": "d/1", "metadata": {"year": 1}})
    client("POST", "/v1/libraries/glossary/chunks/upsert", {"chunks": rows})
    archive = pack(by_hand(client("GET", EXPORT).body))
    made = client("POST", "/v1/libraries/import?id=copy", body=archive, headers=TAR)
    assert made.status == 201, made.body
    assert made.headers["location"] == "/v1/libraries/copy"
    # The library begins anew: what is in the archive of revisions and times is left out of account.
    assert (made.json()["chunks"], made.json()["documents"], made.json()["revision"]) == (30, 1, 2)

    def shown(library: str, path: str) -> list[Any]:
        items = client("GET", f"/v1/libraries/{library}/{path}").json()["items"]
        return [
            {k: v for k, v in item.items() if k not in {"revision", "created_at", "updated_at"}}
            for item in items
        ]

    assert shown("copy", "documents") == shown("glossary", "documents")
    before, after = shown("glossary", "chunks?include=embedding"), shown("copy", "chunks?include=embedding")
    assert [{**chunk, "embedding": None} for chunk in after] == [
        {**chunk, "embedding": None} for chunk in before
    ]
    np.testing.assert_allclose([c["embedding"] for c in after], [c["embedding"] for c in before], rtol=1e-6)


def test_an_empty_library_comes_back(client: Any) -> None:
    client("POST", "/v1/libraries", {"id": "glossary", "name": "G"})
    archive = client("GET", EXPORT).body
    assert client("POST", "/v1/libraries/import?id=copy", body=archive, headers=TAR).status == 201
    assert client("GET", "/v1/libraries/copy").json()["chunks"] == 0


def test_a_taken_id_is_409(glossary: Any) -> None:
    archive = glossary("GET", EXPORT).body
    assert glossary("POST", "/v1/libraries/import", body=archive, headers=TAR).code == "already_exists"
    assert glossary("POST", "/v1/libraries/import?id=a%2Fb", body=archive, headers=TAR).status == 422


def broken(change: Callable[[dict[str, bytes]], object]) -> Callable[[dict[str, bytes]], bytes]:
    def make(files: dict[str, bytes]) -> bytes:
        change(files)
        return pack(files)

    return make


BAD: dict[str, tuple[Callable[[dict[str, bytes]], bytes], int]] = {
    "no tar": (lambda _: b"hello" * 200, 400),
    "empty": (lambda _: b"", 400),
    "cut off": (lambda files: pack(files)[:3000], 400),
    "no vectors": (broken(lambda files: files.pop("vectors.npy")), 422),
    "another file": (broken(lambda files: files.update({"../evil": b""})), 422),
    "a file twice": (lambda files: pack([*files.items(), ("library.json", files["library.json"])]), 422),
    "library that is no JSON": (broken(lambda files: files.update({"library.json": b"{"})), 400),
    "library that is a list": (broken(lambda files: files.update({"library.json": b"[]"})), 422),
    "a chunk that is no JSON": (broken(lambda files: files.update({"chunks.jsonl": b"{"})), 400),
    "a document that is a number": (broken(lambda files: files.update({"documents.jsonl": b"3"})), 422),
    "fewer chunks": (broken(lambda files: files.update({"chunks.jsonl": b""})), 422),
    "unknown field": (broken(lambda files: files.update({"documents.jsonl": b'{"id": "d", "x": 1}'})), 422),
    "unknown document": (broken(lambda files: files.update({"documents.jsonl": b""})), 404),
    "no npy": (broken(lambda files: files.update({"vectors.npy": b"x"})), 422),
}


@pytest.mark.parametrize(("make", "status"), BAD.values(), ids=BAD)
def test_a_bad_archive_leaves_nothing(
    glossary: Any, make: Callable[[dict[str, bytes]], bytes], status: int
) -> None:
    archive = make(by_hand(glossary("GET", EXPORT).body))
    answer = glossary("POST", "/v1/libraries/import?id=copy", body=archive, headers=TAR)
    assert answer.status == status, answer.body
    assert answer.code
    assert glossary("GET", "/v1/libraries/copy").status == 404


def test_a_link_in_an_archive_is_refused(glossary: Any) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        info = tarfile.TarInfo("library.json")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(info)
    assert glossary("POST", "/v1/libraries/import", body=file.getvalue(), headers=TAR).status == 422
