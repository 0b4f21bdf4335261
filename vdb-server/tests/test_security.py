"""What has no better place: keys in constant time, names that are never imported, answers that tell nothing of the inside."""

from __future__ import annotations

import hmac
import importlib.util
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from vdb_server.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEYS = Settings(api_key=SecretStr("write-key"), read_only_api_key=SecretStr("read-key"))
VICTIM = "antigravity"
"""A module of the standard library that nothing imports, and whose import everybody would notice."""


@pytest.mark.parametrize("given", ["write-key", "read-key", "wrong", "write-kez", "w", ""])
@pytest.mark.parametrize("path", ["/v1/libraries", "/v1/libraries/a/search"])
def test_keys_are_compared_in_constant_time_and_all_of_them_always(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, given: str, path: str
) -> None:
    """A comparison that ended at the first difference, or left the second key out, would tell how near a guess is."""
    compared: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return real(one, other)

    monkeypatch.setattr("vdb_server.middleware.authentication.hmac.compare_digest", compare)
    with serve(KEYS) as client:
        client("POST", path, {}, headers={"authorization": f"Bearer {given}"})
    assert compared == [(given.encode(), b"write-key"), (given.encode(), b"read-key")]


def test_no_name_from_a_request_is_imported(client: Any) -> None:
    assert importlib.util.find_spec(VICTIM) is not None
    names = [VICTIM, f"{VICTIM}:fly", f"{VICTIM}.fly", f"../{VICTIM}", "os", "os:system", "vdb_core.plugins"]
    client("POST", "/v1/libraries", {"id": "a", "name": "A"})
    for name in names:
        for method, path, body in (
            ("POST", "/v1/libraries", {"name": "x", "index": {"type": name}}),
            ("POST", "/v1/libraries/a/index", {"type": name}),
            ("POST", "/v1/libraries", {"name": "x", "metric": name}),
            ("POST", "/v1/libraries/a/search", {"embedding": [1], "params": {name: 1}}),
            ("GET", f"/v1/jobs/{name.replace('/', '%2F')}", None),
        ):
            assert client(method, path, body).status in {404, 422}, (path, name)
    assert VICTIM not in sys.modules


def test_no_name_from_a_library_or_a_snapshot_is_imported(serve: Callable[..., Any], tmp_path: Path) -> None:
    """An index type that is not installed degrades, whatever it is called."""
    with serve(None, tmp_path) as client:
        client("POST", "/v1/libraries", {"id": "a", "name": "A", "dimension": 1})
        client("POST", "/v1/libraries/a/chunks", {"id": "x", "embedding": [1]})
        assert client("POST", "/v1/libraries/a/index", {"wait": True}).json()["state"] == "succeeded"
    changed = 0
    for manifest in tmp_path.glob("a/**/manifest.json"):
        text = manifest.read_text()
        manifest.write_text(text.replace('"numpy"', f'"{VICTIM}"'))
        changed += text.count('"numpy"')
    assert changed
    with serve(None, tmp_path) as client:
        answer = client("POST", "/v1/libraries/a/search", {"embedding": [1]})
        assert answer.status in {200, 500}, answer.body
        assert VICTIM not in sys.modules
        if answer.status == 200:
            assert VICTIM in str(answer.json()["warnings"])


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/libraries/none", None),
        ("GET", "/nowhere/../../etc/passwd", None),
        ("POST", "/v1/libraries", b"{"),
        ("POST", "/v1/libraries", b"\xff\xfe"),
        ("POST", "/v1/libraries", b'{"name": 1, "metric": "m", "x": {}}'),
        ("POST", "/v1/libraries/import", b"not a tar"),
        ("POST", "/v1/libraries/a/chunks/bulk", b"--x\r\n\r\n"),
        ("POST", "/v1/libraries/a/search/batch", b"\x93NUMPY"),
        ("PATCH", "/healthz", None),
    ],
)
def test_errors_are_problems_that_tell_nothing_of_the_inside(
    client: Any, method: str, path: str, body: bytes | None
) -> None:
    for content_type in (
        "application/json",
        "application/x-tar",
        "application/x-npy",
        "multipart/form-data; boundary=x",
    ):
        answer = client(method, path, body=body, headers={"content-type": content_type})
        assert 400 <= answer.status < 500
        assert answer.headers["content-type"] == "application/problem+json"
        problem = json.loads(answer.body)
        assert problem["status"] == answer.status
        assert problem["code"]
        text = answer.body.decode()
        for word in ("Traceback", 'File \\"', "site-packages", ".py", "vdb_core", "vdb_server", sys.prefix):
            assert word not in text, (word, text)
