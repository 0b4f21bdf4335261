"""``/docs``: the interactive reference, all of it from this server.

FastAPI's own page loads its script from somebody else's servers into a page that is given API keys, and shows nothing where
there is no internet. This one is three short files of ours in one answer, and its policy allows nothing else to run: the
script and the style by their hashes, requests to this server alone.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib import resources

from fastapi import APIRouter, Response

__all__ = ["router"]

router = APIRouter()

_HTML = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>vdb: API reference</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<header>
<h1>vdb</h1><span id="version"></span><a href="/openapi.json">openapi.json</a>
<label>API key, kept in this page alone: <input id="key" type="password" autocomplete="off"></label>
</header>
<main>This page needs JavaScript; <a href="/openapi.json">openapi.json</a> says the same to programs.</main>
<script>{script}</script>
</body>
</html>
"""


@router.get("/docs", include_in_schema=False)
async def docs() -> Response:
    """Answer with the page."""
    content, policy = _page()
    return Response(
        content, media_type="text/html; charset=utf-8", headers={"content-security-policy": policy}
    )


@cache
def _page() -> tuple[bytes, str]:
    """The page and the policy under which it runs."""
    folder = resources.files("vdb_server.system") / "page"
    style, script = ((folder / name).read_text("utf-8") for name in ("page.css", "page.js"))
    policy = "; ".join(
        (
            "default-src 'none'",
            f"style-src {_hash(style)}",
            f"script-src {_hash(script)}",
            "img-src data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )
    return _HTML.format(style=style, script=script).encode(), policy


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
