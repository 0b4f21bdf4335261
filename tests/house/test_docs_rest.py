"""The REST reference is what the server says: its page is made anew and compared, its examples run on the way."""

from __future__ import annotations

import pytest
import rest_api
from rest_examples import FILES, read_command


def test_the_page_is_what_the_server_says() -> None:
    told = rest_api.PAGE.read_text("utf-8")
    assert told == rest_api.page(), (
        "run docs/tools/rest_api.py in an environment with the server, such as .venv"
    )


def test_commands_are_read_as_curl_reads_them() -> None:
    call = read_command("""curl -X PATCH -H 'If-Match: "3"' --json '{"a": "b c"}' '$URL/v1/x?y=1'""", {})
    assert (call.method, call.target, call.content) == ("PATCH", "/v1/x?y=1", b'{"a": "b c"}')
    assert call.headers["If-Match"] == '"3"'
    assert call.headers["Content-Type"] == "application/json"
    form = read_command("curl -F vectors=@vectors.npy $URL/v1/x", FILES)
    assert (form.method, form.files) == ("POST", {"vectors": ("vectors.npy", FILES["vectors.npy"])})
    query = read_command("curl -G --data-urlencode 'filter={\"a\": 1}' $URL/v1/x", {})
    assert (query.method, query.query) == ("GET", {"filter": '{"a": 1}'})
    with pytest.raises(ValueError, match="--compressed"):
        read_command("curl --compressed $URL/v1/x", {})
