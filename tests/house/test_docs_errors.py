"""The page of errors lists each code that the core or the server can answer with, its status, and no other."""

from __future__ import annotations

import ast
import json
import re
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from vdb_core import errors
from vdb_server.errors import STATUS_OF

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/reference/errors.md").read_text("utf-8")
TOLD = {
    code: int(status) for code, status in re.findall(r"(?m)^\| `([a-z_]+)` \| ([0-9]{3}) \| .+ \|.*\|$", PAGE)
}


def of_the_core() -> dict[str, int]:
    """Each class of the tree, with the status that the server gives it."""
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    return {
        each.code: int(next(STATUS_OF[base] for base in each.__mro__ if base in STATUS_OF))
        for each in classes
        if issubclass(each, errors.VdbError)
    }


def status_in(node: ast.expr | None) -> int | None:
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "HTTPStatus":
        return int(HTTPStatus[node.attr])
    return None


def written_in(source: str) -> Iterator[tuple[str, int | None]]:
    """Codes that stand in a call beside their status: ``HttpProblem.of(HTTPStatus.X, "code")`` and its like."""
    for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
        keywords = {keyword.arg: keyword.value for keyword in call.keywords}
        named = isinstance(call.func, ast.Name) and call.func.id == "Problem"
        status, code = (
            (keywords.get("status"), keywords.get("code"))
            if named
            else (call.args[0], call.args[1])
            if len(call.args) > 1
            else (None, None)
        )
        if (
            isinstance(code, ast.Constant)
            and isinstance(code.value, str)
            and (named or status_in(status) is not None)
        ):
            yield code.value, status_in(status)


def of_the_server() -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    for file in sorted((ROOT / "vdb-server/src").rglob("*.py")):
        for code, status in written_in(file.read_text("utf-8")):
            found[code] = found.get(code) or status
    return found


def test_every_code_is_listed_once_with_its_status_and_none_besides() -> None:
    core, server = of_the_core(), of_the_server()
    assert len(core) > 25
    assert {"malformed_json", "unauthorized", "internal_error", "route_not_found", "request_timeout"} <= set(
        server
    )
    # Where a call names no status (the router's own two), the page's stands; a test of the server looks at them.
    expected = {**{code: status or TOLD.get(code) for code, status in server.items()}, **core}
    assert expected == TOLD
    assert len(re.findall(r"(?m)^\| `[a-z_]+` \|", PAGE)) == len(TOLD)


def test_the_example_is_what_the_server_answers() -> None:
    from vdb_server.errors import problem_of

    (example,) = re.findall(r"(?ms)^```json\n(.*?)^```$", PAGE)
    error = errors.LibraryNotFound("No library has the id 'nowhere'.")
    assert json.loads(example) == json.loads(problem_of(error).to_bytes())
