"""Writes ``docs/reference/rest-api.md`` from the server's OpenAPI document and from answers to the examples.

Run it in an environment that has the server (``.venv``) after a change of routes or models; a test tells when.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rest_examples import EXAMPLES, FILES, read_command, steady

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["PAGE", "answers", "page"]

PAGE: Final = Path(__file__).resolve().parents[1] / "reference" / "rest-api.md"
_WIDTH: Final = 100
_INTRODUCTION: Final = """\
# REST, route by route

Every route with its parameters, bodies, answers and an example, as the server's OpenAPI document has them
(`/openapi.json`; a running server shows it at `/docs`). [REST](rest.md) tells what is common to all. The examples were run
one after the other, deletes last, on a server without a key; with one, add `-H "Authorization: Bearer $VDB_API_KEY"`. In their answers, times, durations,
ids of jobs and sizes are made up, and numbers are rounded.

Written by `docs/tools/rest_api.py`; a test compares it with the server.
"""


def answers(document: dict[str, Any]) -> dict[str, tuple[str, int, object]]:
    """Run every example; returns the command, the status and what it answered (JSON, text, or None) by operation."""
    from starlette.testclient import TestClient

    from vdb_server.app import create_app
    from vdb_server.settings import Settings

    told: dict[str, tuple[str, int, object]] = {}
    files, job = dict(FILES), ""
    with tempfile.TemporaryDirectory() as folder:
        app = create_app(Settings(data_dir=Path(folder)))
        with TestClient(app, base_url="http://127.0.0.1:8000") as client:
            for operation, command in EXAMPLES:
                call = read_command(command.replace("$JOB", job), files)
                answer = client.request(
                    call.method,
                    call.target,
                    headers=call.headers,
                    content=call.content,
                    files=call.files or None,
                    params=call.query or None,
                )
                value: Any = None
                if call.output:
                    files[call.output] = answer.content
                elif answer.headers.get("content-type", "").startswith("application/"):
                    value = answer.json()
                    job = value["id"] if operation.endswith("/snapshot") else job
                elif answer.text:
                    value = "\n".join([*answer.text.splitlines()[:3], "..."])
                told[operation] = (command, answer.status_code, steady(operation, value))
    known = {f"{method.upper()} {path}" for path, ways in document["paths"].items() for method in ways}
    if known != set(told):
        raise ValueError(f"operations without an example, or the other way round: {known ^ set(told)}")
    return told


def page() -> str:
    """Make the page."""
    from vdb_server.app import create_app
    from vdb_server.settings import Settings

    document = create_app(Settings()).openapi()
    examples = answers(document)
    operations = [
        (method.upper(), path, operation)
        for path, ways in document["paths"].items()
        for method, operation in ways.items()
    ]
    order = [name for name, _ in EXAMPLES]
    operations.sort(key=lambda item: order.index(f"{item[0]} {item[1]}"))
    parts = [_INTRODUCTION, *_statuses(operations)]
    for tag in document["tags"]:
        named = [item for item in operations if item[2]["tags"][-1] == tag["name"]]
        if named:
            parts.append(f"## {tag['name'].capitalize()}\n\n{tag['description']}\n")
            parts += [_operation(*item, examples[f"{item[0]} {item[1]}"]) for item in named]
    parts.append("## Bodies\n")
    parts += [_model(name, schema) for name, schema in sorted(document["components"]["schemas"].items())]
    return "\n".join(parts)


def _statuses(operations: Iterable[tuple[str, str, dict[str, Any]]]) -> Iterator[str]:
    """What the statuses of errors mean, which is the same on every route."""
    meanings = {
        status: response["description"]
        for _, _, operation in operations
        for status, response in operation["responses"].items()
        if status >= "400" and "application/problem+json" in response.get("content", {})
    }
    yield "Errors are a [`ProblemView`](#problemview), `application/problem+json`; [errors](errors.md) lists every code.\n"
    rows = [
        (f"`{status}`", meaning)
        for status, meaning in sorted(meanings.items(), key=lambda item: (item[0] == "default", item[0]))
        if status != "default"
    ]
    yield _table(("status", "meaning"), rows)


def _operation(method: str, path: str, operation: dict[str, Any], example: tuple[str, int, object]) -> str:
    parts = [f"### `{method} {path}`\n", _line(operation["description"]) + "\n"]
    if parameters := operation.get("parameters"):
        parts.append(_table(("parameter", "in", "type", ""), map(_parameter, parameters)))
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(
            f"Body, `{media}`: {_type(content['schema'])}. {_line(content['schema'].get('description', ''))}".strip()
            + "\n"
        )
    responses = operation["responses"]
    problems = {
        status
        for status, response in responses.items()
        if status == "default" or "application/problem+json" in response.get("content", {})
    }
    for status in sorted(set(responses) - problems):
        (media, content), *_ = [*responses[status].get("content", {}).items(), ("", {})]
        kind = f": {_type(content['schema'])}" if "schema" in content else f": `{media}`" if media else ""
        told = responses[status]["description"]
        told = "" if told == "Successful Response" else f" ({told[0].lower()}{told[1:].rstrip('.')})"
        parts.append(f"Answers `{status}`{kind}{told}.")
    if errors := [f"`{status}`" for status in sorted(problems - {"default"})]:
        parts.append(f"Errors: {', '.join(errors)}.")
    return "\n".join([*parts, "", _example(*example)])


def _example(command: str, status: int, value: object) -> str:
    shown = command.replace("$URL", "http://127.0.0.1:8000")
    if len(shown) > _WIDTH:
        before, _, target = shown.rpartition(" ")
        if len(before) > _WIDTH:
            before = before.replace(" --json ", " \\\n    --json ")
        shown = f"{before} \\\n    {target}"
    text = f"```console\n$ {shown}\n```\n"
    if value is None:
        return f"{text}\n`{status}`, {'the file' if ' -o ' in command else 'without a body'}.\n"
    if isinstance(value, str):
        return f"{text}\n```text\n{value}\n```\n"
    return f"{text}\n```json\n{_pretty(value)}\n```\n"


def _pretty(value: object, indent: int = 0) -> str:
    """JSON with a line for each value that fits into one."""
    line = json.dumps(value, ensure_ascii=False)
    if len(line) + indent <= _WIDTH or not isinstance(value, dict | list) or not value:
        return line
    pad = " " * (indent + 2)
    if isinstance(value, dict):
        items = [f"{pad}{json.dumps(key)}: {_pretty(below, indent + 2)}" for key, below in value.items()]
        return "{\n" + ",\n".join(items) + "\n" + " " * indent + "}"
    items = [pad + _pretty(below, indent + 2) for below in value]
    return "[\n" + ",\n".join(items) + "\n" + " " * indent + "]"


def _parameter(parameter: dict[str, Any]) -> tuple[str, str, str, str]:
    schema = parameter["schema"]
    name = f"`{parameter['name']}`" + (" (required)" if parameter.get("required") else "")
    return name, parameter["in"], _type(schema), _meaning(schema, parameter.get("description", ""))


def _model(name: str, schema: dict[str, Any]) -> str:
    required = set(schema.get("required", ()))
    rows = [
        (
            f"`{field}`" + (" (required)" if field in required and "additionalProperties" in schema else ""),
            _type(below),
            _meaning(below, below.get("description", "")),
        )
        for field, below in schema.get("properties", {}).items()
    ]
    return f"### {name}\n\n{_line(schema.get('description', ''))}\n\n{_table(('field', 'type', ''), rows)}"


def _type(schema: dict[str, Any]) -> str:
    """A type in words, with a link to the model where it is one."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema or "allOf" in schema:
        return " or ".join(_type(each) for each in schema.get("anyOf") or schema["allOf"])
    if "enum" in schema:
        return " or ".join(f"`{json.dumps(each)}`" for each in schema["enum"])
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_type(schema['additionalProperties'])}"
    return {"date-time": "time", "binary": "bytes"}.get(schema.get("format", ""), kind)


def _meaning(schema: dict[str, Any], told: str) -> str:
    """The description, the default and the range."""
    below = [schema, *(each for each in schema.get("anyOf", ()) if each.get("type") != "null")]
    found = {key: value for part in reversed(below) for key, value in part.items()}
    parts = [_line(told or found.get("description", ""))]
    if "default" in schema and schema["default"] is not None:
        parts.append(f"Default: `{json.dumps(schema['default'])}`.")
    if "minimum" in found or "maximum" in found:
        parts.append(f"{found.get('minimum', '')} to {found.get('maximum', 'any')}.".lstrip())
    if "pattern" in found and found["pattern"] != "^[^\\u0000]*$":
        parts.append(f"Pattern: `{found['pattern']}`.")
    return " ".join(part for part in parts if part)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    if len(lines) == 2:
        return ""
    return (
        "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
        + "\n"
    )


def _line(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    made = page()
    if "--check" in sys.argv:
        sys.exit(
            0
            if PAGE.read_text("utf-8") == made
            else f"{PAGE.name} is not what the server says: run {__file__}"
        )
    PAGE.write_text(made, "utf-8")
