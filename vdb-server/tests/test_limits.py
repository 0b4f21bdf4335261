"""Every limit can be set, holds at its very value, and names itself in the error of one more; so does a full queue."""

from __future__ import annotations

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from vdb_server.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

L = "/v1/libraries/a"
CHUNKS = f"{L}/chunks"
JSON = {"content-type": "application/json"}
NPY = {"content-type": "application/x-npy"}


def npy(rows: int, dimension: int = 2) -> bytes:
    file = io.BytesIO()
    np.save(file, np.ones((rows, dimension), dtype=np.float32))
    return file.getvalue()


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return value


def deep_filter(levels: int) -> Any:
    value: Any = {"a": 1}
    for _ in range(levels - 1):
        value = {"$and": [value]}
    return value


def search(**more: Any) -> tuple[str, dict[str, Any]]:
    return f"{L}/search", {"embedding": [1, 2], **more}


def row(**more: Any) -> dict[str, Any]:
    return {"embedding": [1, 2], **more}


CASES: list[tuple[str, int, Callable[[int], tuple[Any, ...]]]] = [
    ("max_k", 3, lambda n: search(k=n)),
    ("max_k", 3, lambda n: (f"{L}/search/batch", {"queries": [search(k=n)[1]]})),
    ("max_k", 3, lambda n: (f"{L}/search/batch?k={n}", npy(1), NPY)),
    ("max_batch_rows", 3, lambda n: (f"{CHUNKS}/upsert", {"chunks": [row()] * n})),
    ("max_batch_rows", 3, lambda n: (f"{CHUNKS}/delete", {"ids": [f"x{at}" for at in range(n)]})),
    ("max_batch_rows", 3, lambda n: (f"{L}/search/batch", {"queries": [search()[1]] * n})),
    ("max_batch_rows", 3, lambda n: (f"{L}/search/batch", npy(n), NPY)),
    ("max_dimension", 4, lambda n: ("/v1/libraries", {"name": "x", "dimension": n})),
    ("max_dimension", 4, lambda n: ("/v1/libraries/free/chunks", {"embedding": [1] * n})),
    (
        "max_dimension",
        4,
        lambda n: ("/v1/libraries/free/chunks/upsert", {"chunks": [{"embedding": [1] * n}]}),
    ),
    ("max_filter_depth", 3, lambda n: search(filter=deep_filter(n))),
    ("max_filter_nodes", 5, lambda n: search(filter={f"k{at}": 1 for at in range(n)})),
    ("max_filter_nodes", 5, lambda n: (f"{CHUNKS}/delete", {"filter": {f"k{at}": 1 for at in range(n)}})),
    ("max_json_depth", 6, lambda n: (CHUNKS, row(metadata=nested(n - 1)))),
    ("max_json_depth", 6, lambda n: (f"{CHUNKS}/upsert", {"chunks": [row(metadata=nested(n - 3))]})),
    ("max_metadata_bytes", 20, lambda n: (CHUNKS, row(metadata={"a": "x" * (n - 8)}))),
    (
        "max_metadata_bytes",
        20,
        lambda n: (f"{CHUNKS}/upsert", {"chunks": [row(metadata={"a": "x" * (n - 8)})]}),
    ),
    ("max_metadata_bytes", 20, lambda n: (f"{L}/documents", {"metadata": {"a": "x" * (n - 8)}})),
    ("max_metadata_bytes", 20, lambda n: ("/v1/libraries", {"name": "x", "metadata": {"a": "x" * (n - 8)}})),
    ("max_text_bytes", 5, lambda n: (CHUNKS, row(text="é" * (n // 2) + "x" * (n % 2)))),
    ("max_body_bytes", 200, lambda n: (CHUNKS, b'{"embedding": [1, 2]}'.ljust(n), JSON)),
]


@pytest.mark.parametrize(
    ("name", "limit", "make"), CASES, ids=[f"{at}-{case[0]}" for at, case in enumerate(CASES)]
)
def test_a_limit_holds_and_names_itself(
    serve: Callable[..., Any], name: str, limit: int, make: Callable[[int], tuple[Any, ...]]
) -> None:
    def send(client: Any, path: str, body: Any, headers: dict[str, str] | None = None) -> Any:
        if isinstance(body, bytes):
            return client("POST", path, body=body, headers=headers)
        return client("POST", path, body)

    with serve(Settings(**{name: limit})) as client:
        client("POST", "/v1/libraries", {"id": "a", "name": "A", "dimension": 2})
        client("POST", "/v1/libraries", {"id": "free", "name": "F"})
        within = send(client, *make(limit))
        assert within.status in {200, 201}, within.body
        beyond = send(client, *make(limit + 1))
        assert beyond.status == (413 if name == "max_body_bytes" else 422), beyond.body
        told = beyond.body.decode()
        assert name in told
        assert str(limit) in told


def test_a_limit_of_bulk_bodies_names_itself(serve: Callable[..., Any]) -> None:
    with serve(Settings(max_body_bytes=10, max_bulk_body_bytes=100)) as client:
        headers = {"content-type": "application/x-tar"}
        assert client("POST", "/v1/libraries/import", body=b"\0" * 100, headers=headers).status == 400
        answer = client("POST", "/v1/libraries/import", body=b"\0" * 101, headers=headers)
        assert answer.status == 413
        assert "100 bytes (max_bulk_body_bytes)" in answer.json()["detail"]


def test_every_setting_that_is_a_limit_is_tried_here() -> None:
    tried = {name for name, _, _ in CASES} | {"max_bulk_body_bytes", "max_pending_writes"}
    assert {name for name in Settings.model_fields if name.startswith("max_")} == tried


def test_defaults_are_those_that_are_promised() -> None:
    settings = Settings()
    assert (settings.max_k, settings.max_batch_rows, settings.max_dimension) == (10_000, 10_000, 8_192)
    assert (settings.max_body_bytes, settings.max_bulk_body_bytes) == (64 << 20, 2 << 30)
    assert (settings.max_filter_depth, settings.max_filter_nodes, settings.max_json_depth) == (16, 1_000, 32)
    assert settings.max_metadata_bytes == 64 << 10


def test_bulk_has_no_limit_of_rows(serve: Callable[..., Any]) -> None:
    with serve(Settings(max_batch_rows=3)) as client:
        client("POST", "/v1/libraries", {"id": "a", "name": "A", "dimension": 2})
        lines = b"".join(b'{"id":"%d"}\n' % number for number in range(50))
        body = (
            b'--x\r\nContent-Disposition: form-data; name="vectors"\r\n\r\n' + npy(50) + b"\r\n"
            b'--x\r\nContent-Disposition: form-data; name="chunks"\r\n\r\n' + lines + b"\r\n--x--\r\n"
        )
        answer = client(
            "POST", f"{CHUNKS}/bulk", body=body, headers={"content-type": "multipart/form-data; boundary=x"}
        )
        assert (answer.status, answer.json()["created"]) == (200, 50)


def test_a_full_queue_is_503_with_retry_after_and_reads_go_on(serve: Callable[..., Any]) -> None:
    with serve(Settings(max_pending_writes=2)) as client, ThreadPoolExecutor(2) as pool:
        client("POST", "/v1/libraries", {"id": "a", "name": "A", "dimension": 2})
        committer = client._state["services"]._engine.committer
        held = threading.Event()
        committer.call(lambda: held.wait(20))
        try:
            waiting = [pool.submit(client, "POST", CHUNKS, row(id=f"c{number}")) for number in range(2)]
            while committer.pending < 2:
                pass
            answer = client("POST", CHUNKS, row(id="one-more"))
            assert (answer.status, answer.code) == (503, "write_queue_full")
            assert int(answer.headers["retry-after"]) >= 1
            assert "max_pending_writes" in answer.json()["detail"]
            assert client("POST", *search()).status == 200
        finally:
            held.set()
        assert [each.result(20).status for each in waiting] == [201, 201]
        # What was refused left nothing, and the queue takes writes again.
        assert client("GET", f"{CHUNKS}/one-more").status == 404
        assert client("POST", CHUNKS, row(id="one-more")).status == 201
