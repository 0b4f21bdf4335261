"""Settings: from the environment and from flags, and what must not be started."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr, ValidationError

from vdb_server.settings import Settings, is_loopback

if TYPE_CHECKING:
    from pathlib import Path


def test_the_environment_is_read_when_settings_are_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VDB_PORT", "1234")
    monkeypatch.setenv("VDB_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("VDB_API_KEY", "k1")
    monkeypatch.setenv("VDB_READ_ONLY_API_KEY", "k2")
    monkeypatch.setenv("VDB_ALLOWED_HOSTS", "a.example, b.example,")
    monkeypatch.setenv("VDB_PLUGINS_DISABLED", "x,y")
    monkeypatch.setenv("VDB_MAX_K", "7")
    monkeypatch.setenv("VDB_HOST", "")
    settings = Settings()
    assert (settings.port, settings.data_dir, settings.host) == (1234, tmp_path, "127.0.0.1")
    assert settings.allowed_hosts == {"a.example", "b.example"}
    assert settings.plugins_disabled == {"x", "y"}
    assert settings.engine().limits.max_k == 7
    assert settings.engine().data_dir == tmp_path
    assert settings.engine(in_memory=True).data_dir is None
    assert Settings(port=5).port == 5
    assert "k1" not in repr(settings)


@pytest.mark.parametrize(
    "values",
    [
        {"port": 65_536},
        {"port": -1},
        {"max_k": 0},
        {"api_key": ""},
        {"api_key": "a b\n"},
        {"api_key": "é"},
        {"read_only_api_key": "k"},
        {"api_key": "k", "read_only_api_key": "k"},
        {"log_level": "loud"},
        {"hosst": "x"},
    ],
)
def test_nonsense_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate(values)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        (Settings(host="0.0.0.0"), "VDB_API_KEY"),
        (Settings(host="::"), "VDB_API_KEY"),
        (Settings(host="db.example"), "VDB_API_KEY"),
        (Settings(workers=2), "one process"),
    ],
)
def test_what_would_be_open_or_divided_is_refused(settings: Settings, word: str) -> None:
    assert word in (settings.refusal() or "")


@pytest.mark.parametrize(
    "settings",
    [
        Settings(),
        Settings(host="::1"),
        Settings(host="localhost"),
        Settings(host="0.0.0.0", insecure=True),
        Settings(host="0.0.0.0", api_key=SecretStr("k")),
    ],
)
def test_what_is_safe_is_started(settings: Settings) -> None:
    assert settings.refusal() is None


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("localhost.evil", False),
    ],
)
def test_loopback(host: str, *, expected: bool) -> None:
    assert is_loopback(host) == expected
