"""Archives taken apart and packed anew, and a library with a history to export, with all that it answers."""

from __future__ import annotations

import io
import tarfile
from typing import Any

import numpy as np
import orjson

TAR = {"content-type": "application/x-tar"}


def members(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


def pack(files: dict[str, bytes] | list[tuple[str, bytes]]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, content in files.items() if isinstance(files, dict) else files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


def fill(client: Any, metric: str) -> None:
    """A library with a history: rows that were replaced and deleted, odd numbers, documents, times of several writes."""
    rng = np.random.default_rng(11)
    client(
        "POST", "/v1/libraries", {"id": "words", "name": "Wörds", "metric": metric, "metadata": {"k": [1.5]}}
    )
    client("POST", "/v1/libraries/words/documents", {"id": "d/1", "metadata": {"year": 2024, "x": None}})
    for begin in (0, 20, 40):
        rows = [
            {
                "id": f"é/{n}",
                "document_id": "d/1" if n % 3 == 0 else None,
                "text": f"line {n}\n\u2028",
                "embedding": (rng.normal(size=6) * 10.0 ** rng.integers(-12, 12)).tolist(),
                "metadata": {"n": n, "f": n / 7, "tags": ["a", "b"][: n % 3], "t": {"deep": [None, True]}},
            }
            for n in range(begin, begin + 20)
        ]
        assert client("POST", "/v1/libraries/words/chunks/upsert", {"chunks": rows}).status == 200
    client("POST", "/v1/libraries/words/chunks/delete", {"ids": [f"é/{n}" for n in range(5, 50, 4)]})
    client("PATCH", "/v1/libraries/words/chunks/%C3%A9%2F8", {"text": "changed", "metadata": {"n": 1000}})
    client("PATCH", "/v1/libraries/words", {"name": "Words"})


def answers(client: Any) -> list[tuple[str, int, str | None, bytes]]:
    """What the library says to every kind of question, to the byte; but for the time that a search took."""
    query = np.random.default_rng(3).normal(size=(3, 6)).tolist()
    base = "/v1/libraries/words"
    page = client("GET", f"{base}/chunks?limit=7").json()["next_cursor"]
    asked: list[tuple[str, str, object]] = [
        ("GET", base, None),
        ("GET", "/v1/libraries", None),
        ("GET", f"{base}/documents", None),
        ("GET", f"{base}/documents/d%2F1", None),
        ("GET", f"{base}/chunks?limit=1000&include=embedding", None),
        ("GET", f"{base}/chunks?limit=7", None),
        ("GET", f"{base}/chunks?limit=7&cursor={page}", None),
        ("GET", f"{base}/chunks?filter=%7B%22n%22%3A%7B%22%24gte%22%3A30%7D%7D", None),
        ("GET", f"{base}/chunks/%C3%A9%2F8", None),
        ("GET", f"{base}/chunks/%C3%A9%2F5", None),
        *[("POST", f"{base}/search", {"embedding": row, "k": 50}) for row in query],
        ("POST", f"{base}/search", {"embedding": query[0], "k": 9, "filter": {"tags": "a"}}),
        ("POST", f"{base}/search", {"embedding": query[0], "filter": {"$document.year": 2024}}),
        ("POST", f"{base}/search/batch", {"queries": [{"embedding": row} for row in query]}),
    ]
    told: list[tuple[str, int, str | None, bytes]] = []
    for method, target, body in asked:
        answer = client(method, target, body)
        content = answer.body
        if "/search" in target:
            found = orjson.loads(content)
            for one in found.get("results", [found]):
                assert one.pop("took_ms") >= 0
            content = orjson.dumps(found)
        told.append((target, answer.status, answer.headers.get("etag"), content))
    return told
