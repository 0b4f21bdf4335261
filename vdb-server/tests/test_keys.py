"""Keys from files, and the key that a server makes for itself."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from vdb_server.keys import KEPT_KEY, keep_key, read_key
from vdb_server.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def test_keys_come_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, read = tmp_path / "write", tmp_path / "read"
    write.write_text("the-key\n")
    read.write_text("  the-other-key  ")
    monkeypatch.setenv("VDB_API_KEY_FILE", str(write))
    monkeypatch.setenv("VDB_READ_ONLY_API_KEY_FILE", str(read))
    settings = Settings()
    assert settings.api_key is not None
    assert settings.read_only_api_key is not None
    assert settings.api_key.get_secret_value() == "the-key"
    assert settings.read_only_api_key.get_secret_value() == "the-other-key"
    assert "the-key" not in repr(settings)


def test_a_key_from_a_file_is_asked_for(tmp_path: Path, serve: Callable[..., Any]) -> None:
    file = tmp_path / "key"
    file.write_text("the-key\n")
    with serve(Settings(api_key_file=file)) as client:
        assert client("GET", "/v1/libraries").status == 401
        assert client("GET", "/v1/libraries", headers={"authorization": "Bearer the-key"}).status == 200


@pytest.mark.parametrize("content", [b"", b" \n", b"x" * 5000, b"two\nlines", "é".encode()])
def test_a_file_without_a_usable_key_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "key"
    file.write_bytes(content)
    with pytest.raises(ValidationError):
        Settings(api_key_file=file)


def test_two_sources_of_one_key_are_refused_and_a_missing_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("k")
    with pytest.raises(ValidationError, match="VDB_API_KEY and VDB_API_KEY_FILE are both set"):
        Settings(api_key="k", api_key_file=file)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValidationError, match="nowhere"):
        Settings(api_key_file=tmp_path / "nowhere")


def test_a_made_key_is_kept_for_its_owner_alone(tmp_path: Path) -> None:
    key, is_new = keep_key(tmp_path)
    assert is_new
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", key)
    assert keep_key(tmp_path) == (key, False)
    assert read_key(tmp_path / KEPT_KEY) == key
    assert stat.S_IMODE((tmp_path / KEPT_KEY).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [KEPT_KEY]
    other = tmp_path / "other"
    other.mkdir()
    assert keep_key(other)[0] != key


def test_a_kept_key_that_is_empty_is_an_error_and_not_a_new_key(tmp_path: Path) -> None:
    (tmp_path / KEPT_KEY).write_text("\n")
    with pytest.raises(ValueError, match=f"{KEPT_KEY} holds no key"):
        keep_key(tmp_path)


def test_a_key_that_power_took_away_halfway_is_made_again(tmp_path: Path) -> None:
    (tmp_path / f"{KEPT_KEY}.new").write_text("ha")
    key, is_new = keep_key(tmp_path)
    assert is_new
    assert len(key) == 43


@contextmanager
def process(data_dir: Path, *, host: str = "0.0.0.0", **more: str) -> Iterator[subprocess.Popen[str]]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VDB_")}
    command = [sys.executable, "-m", "vdb_server", "serve", "--host", host, "--port", "0"]
    started = subprocess.Popen(
        [*command, "--data-dir", str(data_dir)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**kept, **more},
    )
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


def said(started: subprocess.Popen[str]) -> str:
    """What it prints until it is ready, or has ended."""
    text = ""
    assert started.stdout is not None
    for each in started.stdout:
        text += each
        if "is ready at" in each:
            break
    return text


def test_a_server_makes_a_key_once_and_asks_for_it_ever_after(tmp_path: Path) -> None:
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    data = tmp_path / "data"
    keys: list[str] = []
    for start in range(2):
        with process(data, VDB_MAKE_API_KEY="true") as server:
            told = said(server)
            keys.append((data / KEPT_KEY).read_text().strip())
            assert (keys[0] in told) == (start == 0), told
            assert str(data / KEPT_KEY) in told
            url = told.split()[-1].replace("0.0.0.0", "127.0.0.1") + "/v1/libraries"
            with pytest.raises(HTTPError, match="401") as refused:
                urlopen(url, timeout=10)
            refused.value.close()
            with urlopen(Request(url, headers={"authorization": f"Bearer {keys[0]}"}), timeout=10) as answer:
                assert answer.status == 200
            server.send_signal(signal.SIGTERM)
            assert server.wait(30) == 0
    assert keys[0] == keys[1]


def test_no_key_is_made_where_none_is_needed(tmp_path: Path) -> None:
    for number, (host, more) in enumerate(
        [("127.0.0.1", {}), ("0.0.0.0", {"VDB_API_KEY": "k"}), ("0.0.0.0", {"VDB_INSECURE": "true"})]
    ):
        data = tmp_path / str(number)
        with process(data, host=host, VDB_MAKE_API_KEY="true", **more) as server:
            assert said(server).startswith("vdb is ready at")
        assert not (data / KEPT_KEY).exists()


def test_a_key_that_cannot_be_kept_ends_the_start(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / KEPT_KEY).mkdir(parents=True)
    with process(data, VDB_MAKE_API_KEY="true") as server:
        told = said(server)
        assert server.wait(30) == 1
    assert KEPT_KEY in told
    assert "Traceback" not in told


def test_sigterm_ends_a_server_that_is_still_opening(tmp_path: Path) -> None:
    slow = tmp_path / "slow.py"
    slow.write_text(
        "import sys, time\n"
        "import vdb_server.cli.serving as serving\n"
        "def opening(settings):\n"
        "    print('opening', flush=True)\n"
        "    time.sleep(60)\n"
        "serving.open_engine = opening\n"
        "from vdb_server.cli import main\n"
        f"sys.argv = ['vdb', 'serve', '--port', '0', '--data-dir', {str(tmp_path / 'data')!r}]\n"
        "main()\n"
    )
    with subprocess.Popen([sys.executable, str(slow)], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "opening\n"
        server.send_signal(signal.SIGTERM)
        assert server.wait(10) == 128 + signal.SIGTERM
