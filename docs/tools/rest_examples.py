"""The examples of the REST reference: curl commands, in an order in which they run, and a reader of such commands.

What is shown is what is run: a test sends each command to the server's application and compares the answer.
"""

from __future__ import annotations

import io
import re
import shlex
from dataclasses import dataclass, field
from typing import Final

import numpy as np

__all__ = ["EXAMPLES", "FILES", "Call", "read_command", "steady"]

_SERVER: Final = "http://127.0.0.1:8000"
_JOB: Final = re.compile(r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")


def _npy(rows: list[list[float]]) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array(rows, dtype=np.float32))
    return file.getvalue()


FILES: Final[dict[str, bytes]] = {
    "vectors.npy": _npy([[0.2, 0.1, 0.7], [0.6, 0.6, 0.1]]),
    "chunks.jsonl": b'{"id": "c-4", "text": "A row of a file."}\n{"id": "c-5", "text": "Another."}\n',
    "queries.npy": _npy([[0.1, 0.2, 0.3]]),
}
"""Files that commands send; ``-o`` adds to them."""

EXAMPLES: Final[tuple[tuple[str, str], ...]] = (
    (
        "POST /v1/libraries",
        """curl --json '{"id": "glossary", "name": "Glossary", "dimension": 3}' $URL/v1/libraries""",
    ),
    ("GET /v1/libraries", "curl '$URL/v1/libraries?limit=10'"),
    ("GET /v1/libraries/{library_id}", "curl $URL/v1/libraries/glossary"),
    (
        "PATCH /v1/libraries/{library_id}",
        """curl -X PATCH --json '{"name": "Glosses", "metadata": {"reviewed": true}}' $URL/v1/libraries/glossary""",
    ),
    (
        "POST /v1/libraries/{library_id}/documents",
        """curl --json '{"id": "book-1", "metadata": {"year": 2024}}' $URL/v1/libraries/glossary/documents""",
    ),
    ("GET /v1/libraries/{library_id}/documents", "curl $URL/v1/libraries/glossary/documents"),
    (
        "GET /v1/libraries/{library_id}/documents/{document_id}",
        "curl $URL/v1/libraries/glossary/documents/book-1",
    ),
    (
        "PATCH /v1/libraries/{library_id}/documents/{document_id}",
        """curl -X PATCH -H 'If-Match: "3"' --json '{"metadata": {"year": 2025}}' $URL/v1/libraries/glossary/documents/book-1""",
    ),
    (
        "POST /v1/libraries/{library_id}/chunks",
        """curl --json '{"id": "c-1", "document_id": "book-1", "text": "A row.", "embedding": [0.1, 0.2, 0.3], "metadata": {"lang": "en"}}' $URL/v1/libraries/glossary/chunks""",
    ),
    (
        "POST /v1/libraries/{library_id}/chunks/upsert",
        """curl -H 'Idempotency-Key: "load-17"' --json '{"chunks": [{"id": "c-2", "embedding": [0.3, 0.2, 0.1], "metadata": {"lang": "fr"}}, {"embedding": [0.2, 0.9, 0.1], "id": "c-3"}]}' $URL/v1/libraries/glossary/chunks/upsert""",
    ),
    (
        "POST /v1/libraries/{library_id}/chunks/bulk",
        "curl -F vectors=@vectors.npy -F chunks=@chunks.jsonl $URL/v1/libraries/glossary/chunks/bulk",
    ),
    (
        "GET /v1/libraries/{library_id}/chunks",
        'curl -G --data-urlencode \'filter={"lang": "fr"}\' $URL/v1/libraries/glossary/chunks',
    ),
    ("GET /v1/libraries/{library_id}/chunks/{chunk_id}", "curl $URL/v1/libraries/glossary/chunks/c-1"),
    (
        "PATCH /v1/libraries/{library_id}/chunks/{chunk_id}",
        """curl -X PATCH --json '{"text": "Changed."}' $URL/v1/libraries/glossary/chunks/c-1""",
    ),
    (
        "POST /v1/libraries/{library_id}/search",
        """curl --json '{"embedding": [0.1, 0.2, 0.3], "k": 2, "filter": {"lang": {"$exists": true}}}' $URL/v1/libraries/glossary/search""",
    ),
    (
        "POST /v1/libraries/{library_id}/search/batch",
        "curl -H 'Content-Type: application/x-npy' --data-binary @queries.npy '$URL/v1/libraries/glossary/search/batch?k=1'",
    ),
    (
        "DELETE /v1/libraries/{library_id}/chunks/{chunk_id}",
        "curl -X DELETE $URL/v1/libraries/glossary/chunks/c-3",
    ),
    (
        "POST /v1/libraries/{library_id}/chunks/delete",
        """curl --json '{"ids": ["c-2", "unknown"]}' $URL/v1/libraries/glossary/chunks/delete""",
    ),
    (
        "POST /v1/libraries/{library_id}/index",
        """curl --json '{"type": "ivf_flat", "wait": true}' $URL/v1/libraries/glossary/index""",
    ),
    ("GET /v1/libraries/{library_id}/index", "curl $URL/v1/libraries/glossary/index"),
    (
        "POST /v1/libraries/{library_id}/snapshot",
        """curl --json '{"wait": true}' $URL/v1/libraries/glossary/snapshot""",
    ),
    ("GET /v1/jobs/{job_id}", "curl $URL/v1/jobs/$JOB"),
    ("DELETE /v1/jobs/{job_id}", "curl -X DELETE $URL/v1/jobs/$JOB"),
    ("GET /v1/libraries/{library_id}/export", "curl -o glossary.tar $URL/v1/libraries/glossary/export"),
    (
        "POST /v1/libraries/import",
        "curl -H 'Content-Type: application/x-tar' --data-binary @glossary.tar '$URL/v1/libraries/import?id=copy'",
    ),
    ("DELETE /v1/libraries/{library_id}", "curl -X DELETE $URL/v1/libraries/copy"),
    (
        "DELETE /v1/libraries/{library_id}/documents/{document_id}",
        "curl -X DELETE $URL/v1/libraries/glossary/documents/book-1",
    ),
    ("GET /v1/index-types", "curl $URL/v1/index-types"),
    ("GET /v1/plugins", "curl $URL/v1/plugins"),
    ("GET /healthz", "curl $URL/healthz"),
    ("GET /readyz", "curl $URL/readyz"),
    ("GET /metrics", "curl $URL/metrics"),
)
"""Operations with a command each, in the order in which they are run."""


@dataclass(slots=True)
class Call:
    """A request that a curl command makes."""

    method: str
    target: str
    """Path and query."""

    headers: dict[str, str] = field(default_factory=dict)
    content: bytes | None = None
    files: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    output: str | None = None
    """The file that the answer goes to."""


def read_command(command: str, files: dict[str, bytes]) -> Call:
    """Read a curl command with the few options that examples use.

    Raises:
        ValueError: at an option that is not known here.
    """
    program, *words = shlex.split(command.replace("$URL", _SERVER))
    if program != "curl":
        raise ValueError(f"expected a curl command, received {command!r}")
    call, method, in_query = Call("GET", ""), None, False
    while words:
        word = words.pop(0)
        if word == "-X":
            method = words.pop(0)
        elif word == "-G":
            in_query = True
        elif word in {"-H", "--header"}:
            name, _, value = words.pop(0).partition(": ")
            call.headers[name] = value
        elif word == "--json":
            call.content = words.pop(0).encode()
            call.headers |= {"Content-Type": "application/json", "Accept": "application/json"}
            call.method = "POST"
        elif word == "--data-binary":
            call.content, call.method = files[words.pop(0).removeprefix("@")], "POST"
        elif word == "--data-urlencode" and in_query:
            name, _, value = words.pop(0).partition("=")
            call.query[name] = value
        elif word == "-F":
            name, _, value = words.pop(0).partition("=@")
            call.files[name], call.method = (value, files[value]), "POST"
        elif word == "-o":
            call.output = words.pop(0)
        elif word.startswith(_SERVER):
            call.target = word.removeprefix(_SERVER)
        else:
            raise ValueError(f"no option of these examples: {word!r} in {command!r}")
    call.method = method or call.method
    return call


_MADE_UP: Final = {
    "created_at": "2026-11-24T12:00:00.000000Z",
    "updated_at": "2026-11-24T12:00:00.000000Z",
    "finished_at": "2026-11-24T12:00:01.000000Z",
    "took_ms": 0.2,
    "eta_s": 0.0,
    "load_ms": 3.1,
    "version": "0.1.0",
    "bytes": 116746,
    "bytes_by_part": {"vectors": 49188, "index.lists": 48},
    "details": {"n_lists": 1},
}
"""What is another at each run, on each machine or with each version."""

_ONE_OF_MANY: Final = {"GET /v1/index-types": "numpy", "GET /v1/plugins": "builtin"}
"""Lists of what is installed: the item that is there in any case."""


def steady(operation: str, answer: object) -> object:
    """Replace what is another at each run, and round what a CPU may sum in another order."""
    if isinstance(answer, dict) and operation in _ONE_OF_MANY:
        kept = [item for item in answer["items"] if item["name"] == _ONE_OF_MANY[operation]]
        answer = {**answer, "items": kept}
    return _steady(answer)


def _steady(value: object) -> object:
    if isinstance(value, dict):
        return {
            key: _MADE_UP[key] if key in _MADE_UP and below is not None else _steady(below)
            for key, below in value.items()
        }
    if isinstance(value, list):
        return [_steady(item) for item in value]
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, str):
        return _JOB.sub("01a20e53-8c71-7b83-b449-06e7c27010b1", value)
    return value
