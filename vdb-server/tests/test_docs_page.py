"""`/docs` loads nothing from anywhere else, and its policy lets nothing but its own two parts run."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any


def test_the_page_is_whole(client: Any) -> None:
    answer = client("GET", "/docs")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    text = answer.body.decode()
    # Links to this server alone, and none to a script or a style.
    assert set(re.findall(r"(?:src|href)=\"([^\"]*)\"", text)) == {"data:,", "/openapi.json"}
    assert "//" not in re.sub(r"(?m)^\s*//.*$", "", text)
    # Handlers in attributes would be a way in for text of the document.
    assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|eval\(|\son\w+=", text)


def test_the_policy_names_exactly_what_is_in_it(client: Any) -> None:
    answer = client("GET", "/docs")
    policy = answer.headers["content-security-policy"]
    text = answer.body.decode()
    for tag, directive in (("style", "style-src"), ("script", "script-src")):
        (content,) = re.findall(rf"(?s)<{tag}>(.*?)</{tag}>", text)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy
    for rule in ("default-src 'none'", "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"):
        assert rule in policy
    assert "unsafe" not in policy
    assert "http" not in policy


def test_the_page_is_as_guarded_as_the_rest(client: Any) -> None:
    headers = client("GET", "/docs").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert client("GET", "/docs", headers={"host": "evil.example"}).status == 403
    assert client("HEAD", "/docs").body == b""
    assert client("POST", "/docs").headers["allow"] == "GET, HEAD"
    assert client("GET", "/redoc").status == 404
