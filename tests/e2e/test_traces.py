"""Traces: a real server sends them to a real collector's address, and to nobody where none is named."""

from __future__ import annotations

import gzip
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from server_kit import ServerProcess

import vdb_sdk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest


@contextmanager
def collector() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """A stand-in for an OpenTelemetry collector: takes what is sent, and keeps it."""
    received: list[tuple[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            received.append((self.path, body))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", received
        finally:
            server.shutdown()
            thread.join()


def spans(received: list[tuple[str, bytes]]) -> list[tuple[str, Any, dict[str, Any]]]:
    """Name, span and attributes of every span, with those of its resource."""
    found: list[tuple[str, Any, dict[str, Any]]] = []
    for path, body in received:
        if path != "/v1/traces":
            continue
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            shared = {each.key: _plain(each.value) for each in resource.resource.attributes}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    own = {each.key: _plain(each.value) for each in span.attributes}
                    found.append((span.name, span, shared | own))
    return found


def _plain(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_plain(each) for each in value.array_value.values]
    return getattr(value, kind)


def use(url: str) -> None:
    """Create, write, search, fail, and ask as probes do."""
    with vdb_sdk.connect(url) as client:
        library = client.create_library("Notes", id="notes", dimension=2)
        library.upsert(ids=["a"], embeddings=[[1.0, 0.0]])
        headers = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
        answer = _post(f"{url}/v1/libraries/notes/search", b'{"embedding": [1, 0], "k": 1}', headers)
        assert answer == 200
        assert _post(f"{url}/v1/libraries/none/search", b'{"embedding": [1, 0]}', {}) == 404
        assert _post(f"{url}/healthz", None, {}) == 200


def _post(url: str, body: bytes | None, headers: dict[str, str]) -> int:
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    request = Request(url, body, {**headers, "content-type": "application/json"})
    try:
        with urlopen(request, timeout=10) as answer:
            return answer.status
    except HTTPError as error:
        error.close()
        return error.code


def test_requests_and_searches_become_spans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with collector() as (endpoint, received):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        with ServerProcess(tmp_path / "data") as server:
            use(server.url)
            assert server.stop() == 0
        log = server.log.read_text()
    found = spans(received)
    names = [name for name, _, _ in found]
    assert "POST /v1/libraries/{library_id}/chunks/bulk" in names
    assert not [name for name in names if "healthz" in name]
    searches = {
        attributes["http.response.status_code"]: (span, attributes)
        for name, span, attributes in found
        if name == "POST /v1/libraries/{library_id}/search"
    }
    assert searches.keys() == {200, 404}
    span, attributes = searches[200]
    assert attributes["service.name"] == "vdb"
    assert attributes["http.route"] == "/v1/libraries/{library_id}/search"
    assert (attributes["vdb.index_type"], attributes["vdb.library_id"]) == ("brute", "notes")
    assert (attributes["vdb.exact"], attributes["vdb.hits"]) == (True, 1)
    assert attributes["vdb.route"] == ["delta"]
    # It goes on with the trace of its caller.
    assert span.trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"
    assert span.parent_span_id.hex() == "b7ad6b7169203331"
    assert "failed" not in log


def test_nothing_is_sent_where_no_collector_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with collector() as (endpoint, received):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
        with ServerProcess(tmp_path / "off") as server:
            use(server.url)
            assert server.stop() == 0
        monkeypatch.delenv("OTEL_SDK_DISABLED")
        monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT")
        with ServerProcess(tmp_path / "unnamed") as server:
            use(server.url)
            assert server.stop() == 0
    assert received == []


def test_an_embedded_engine_sends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with collector() as (endpoint, received):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        with vdb_sdk.connect(tmp_path / "data") as client:
            client.create_library("Notes", id="notes", dimension=2)
    assert received == []
