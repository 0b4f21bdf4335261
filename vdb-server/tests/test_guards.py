"""Who may call: Host and Origin, keys, sizes. All of it is decided before a body is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from vdb_server.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

LIBRARY = {"id": "a", "name": "A"}


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8000", 200),
        ("127.0.0.1", 200),
        ("localhost:1234", 200),
        ("LOCALHOST", 200),
        ("[::1]:8000", 200),
        ("127.8.9.10", 200),
        ("db.example", 200),
        ("evil.example", 403),
        ("evil.example:8000", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost.evil.example", 403),
        ("10.0.0.1", 403),
        ("localhost@evil.example", 403),
        ("localhost:8000:1", 403),
        ("localhost/evil", 403),
        ("[::1", 403),
        ("", 400),
    ],
)
def test_the_host_must_be_ours(serve: Callable[..., Any], host: str, status: int) -> None:
    with serve(Settings(allowed_hosts=frozenset({"db.example"}))) as client:
        for _ in range(2):
            answer = client("GET", "/v1/libraries", headers={"host": host})
            assert answer.status == status
            if status == 403:
                assert answer.code == "host_not_allowed"


@pytest.mark.parametrize(
    ("settings", "host", "status"),
    [
        (Settings(host="0.0.0.0", insecure=True), "10.0.0.1:8000", 200),
        (Settings(host="0.0.0.0", insecure=True), "evil.example", 403),
        (Settings(host="db.local", insecure=True), "db.local:8000", 200),
        (Settings(host="0.0.0.0", api_key=SecretStr("k")), "any.example", 401),
        (
            Settings(host="0.0.0.0", api_key=SecretStr("k"), allowed_hosts=frozenset({"x"})),
            "any.example",
            403,
        ),
        (Settings(allowed_hosts=frozenset({"*"})), "any.example", 200),
    ],
)
def test_what_is_ours_depends_on_where_it_listens(
    serve: Callable[..., Any], settings: Settings, host: str, status: int
) -> None:
    with serve(settings) as client:
        assert client("GET", "/v1/libraries", headers={"host": host}).status == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1:8000", 200),
        ("http://127.0.0.1:8001", 403),
        ("https://app.example", 200),
        ("https://evil.example", 403),
        ("null", 403),
        ("http://127.0.0.1:8000.evil.example", 403),
    ],
)
def test_pages_of_others_may_not_call(serve: Callable[..., Any], origin: str, status: int) -> None:
    with serve(Settings(allowed_origins=frozenset({"https://app.example"}))) as client:
        assert client("POST", "/v1/libraries", LIBRARY, headers={"origin": origin}).status == (
            201 if status == 200 else 403
        )
        assert client("GET", "/v1/libraries", headers={"origin": origin}).status == status


def test_an_allowed_origin_can_ask_first(serve: Callable[..., Any]) -> None:
    ask = {"origin": "https://app.example", "access-control-request-method": "POST"}
    with serve(
        Settings(allowed_origins=frozenset({"https://app.example"}), api_key=SecretStr("k"))
    ) as client:
        answer = client("OPTIONS", "/v1/libraries", headers=ask)
        assert answer.status == 200
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
    with serve() as client:
        assert client("OPTIONS", "/v1/libraries", headers=ask).status == 403


KEYS = Settings(api_key=SecretStr("write-key"), read_only_api_key=SecretStr("read-key"))
READS = [
    ("GET", "/v1/libraries", None),
    ("HEAD", "/v1/libraries", None),
    ("GET", "/v1/libraries/a/export", None),
    ("POST", "/v1/libraries/a/search", {"embedding": [1.0]}),
    ("POST", "/v1/libraries/a/search/batch", {"queries": []}),
    ("GET", "/metrics", None),
    ("GET", "/v1/plugins", None),
]
WRITES = [
    ("POST", "/v1/libraries", {"id": "b", "name": "B"}),
    ("PATCH", "/v1/libraries/a", {"name": "B"}),
    ("POST", "/v1/libraries/a/chunks/upsert", {"chunks": []}),
    ("POST", "/v1/libraries/a/chunks/delete", {"ids": []}),
    ("POST", "/v1/libraries/a/documents", {}),
    ("POST", "/v1/libraries/a/index", {}),
    ("DELETE", "/v1/libraries/a", None),
    ("POST", "/v1/libraries/search", {}),
    ("POST", "/v1/libraries/a/documents/search", {}),
]


@pytest.mark.parametrize(
    ("authorization", "reads", "writes"),
    [
        ("", False, False),
        ("Bearer wrong", False, False),
        ("Bearer ", False, False),
        ("Basic write-key", False, False),
        ("write-key", False, False),
        ("Bearer write-key2", False, False),
        ("Bearer read-key", True, False),
        ("Bearer write-key", True, True),
        ("bearer  write-key", True, True),
        ("Bearer w\xe9", False, False),
    ],
)
def test_keys_decide_what_may_be_done(
    serve: Callable[..., Any], authorization: str, *, reads: bool, writes: bool
) -> None:
    with serve(KEYS) as client:
        assert (
            client("POST", "/v1/libraries", LIBRARY, headers={"authorization": "Bearer write-key"}).status
            == 201
        )
        headers = {"authorization": authorization}
        for method, path, body in READS:
            answer = client(method, path, body, headers=headers)
            assert (answer.status not in {401, 403}) == reads, (method, path)
            if not reads:
                assert answer.status == 401
                assert answer.headers["www-authenticate"].startswith("Bearer")
        for method, path, body in WRITES:
            answer = client(method, path, body, headers=headers)
            assert (answer.status not in {401, 403}) == writes, (method, path)
            assert writes or answer.status == (403 if reads else 401)


def test_probes_and_documentation_need_no_key(serve: Callable[..., Any]) -> None:
    with serve(KEYS) as client:
        for path in ("/healthz", "/readyz", "/docs", "/openapi.json"):
            assert client("GET", path).status == 200


def test_a_key_is_asked_for_before_the_body_is_read(serve: Callable[..., Any]) -> None:
    class Untouched(list[bytes]):
        def __iter__(self) -> Any:
            raise AssertionError("the body was read")

    with serve(KEYS) as client:
        answer = client("POST", "/v1/libraries/a/chunks/bulk", body=b"x" * 10)
        assert answer.code == "unauthorized"
        # More than the limit was announced, and the key still decides first.
        assert client("POST", "/v1/libraries", headers={"content-length": str(1 << 40)}).status == 401


SMALL = Settings(max_body_bytes=100, max_bulk_body_bytes=1000)


@pytest.mark.parametrize(
    "path",
    ["/v1/libraries", "/v1/libraries/a/search", "/v1/libraries/a/chunks/upsert", "/v1/libraries/a/index"],
)
def test_large_bodies_are_413_whether_announced_or_not(serve: Callable[..., Any], path: str) -> None:
    with serve(SMALL) as client:
        assert client("POST", "/v1/libraries", LIBRARY).status == 201
        json = {"content-type": "application/json"}
        announced = client("POST", path, body=b" " * 101, headers=json)
        assert (announced.status, announced.code) == (413, "body_too_large")
        assert announced.headers["connection"] == "close"
        chunked = client("POST", path, pieces=[b" " * 50] * 3, headers=json)
        assert (chunked.status, chunked.code) == (413, "body_too_large")
        assert client("POST", path, pieces=[b" " * 50] * 2, headers=json).status in {202, 400}


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/v1/libraries/a/chunks/bulk", "multipart/form-data; boundary=x"),
        ("/v1/libraries/import", "application/x-tar"),
    ],
)
def test_bulk_routes_have_a_limit_of_their_own(
    serve: Callable[..., Any], path: str, content_type: str
) -> None:
    with serve(SMALL) as client:
        headers = {"content-type": content_type}
        assert client("POST", path, body=b"\0" * 1000, headers=headers).status in {400, 422}
        assert client("POST", path, body=b"\0" * 1001, headers=headers).status == 413
        # Zero bytes are an empty tar, so that nothing ends the reading before the limit does.
        assert client(
            "POST", path, pieces=[b"--x\r\n\r\n" + b"\0" * 500, b"\0" * 600], headers=headers
        ).status in {413, 422}


def test_limits_of_the_engine_are_settable(serve: Callable[..., Any]) -> None:
    settings = Settings(
        max_k=3, max_batch_rows=2, max_dimension=4, max_metadata_bytes=20, max_json_depth=4, max_text_bytes=5
    )
    with serve(settings) as client:
        client("POST", "/v1/libraries", LIBRARY)
        chunks = "/v1/libraries/a/chunks"
        assert client("POST", f"{chunks}/upsert", {"chunks": [{"embedding": [1]}] * 3}).pointers == [
            "/chunks"
        ]
        assert client("POST", chunks, {"embedding": [1] * 5}).pointers == ["/embedding"]
        assert client("POST", chunks, {"embedding": [1], "metadata": {"a": "x" * 30}}).pointers == [
            "/metadata"
        ]
        assert (
            client("POST", chunks, {"embedding": [1], "metadata": {"a": {"b": {"c": {"d": 1}}}}}).status
            == 422
        )
        assert client("POST", chunks, {"embedding": [1], "text": "x" * 6}).pointers == ["/text"]
        assert client("POST", chunks, {"embedding": [1, 2]}).status == 201
        assert client("POST", "/v1/libraries/a/search", {"embedding": [1, 2], "k": 4}).pointers == ["/k"]


def test_every_answer_has_security_headers_and_an_id(client: Any) -> None:
    for path in ("/v1/libraries", "/v1/none", "/healthz"):
        headers = client("GET", path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert len(headers["x-request-id"]) == 16
    assert (
        client("GET", "/v1/libraries", headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"
    )
    assert (
        client("GET", "/v1/libraries", headers={"x-request-id": "no spaces"}).headers["x-request-id"]
        != "no spaces"
    )
