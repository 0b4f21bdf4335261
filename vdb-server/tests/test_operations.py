"""Health, readiness, metrics, and the two ways through the routing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from vdb_server.app import create_app
from vdb_server.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

L = "/v1/libraries/glossary"


def test_health_and_readiness(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert client("GET", "/healthz").json() == {"status": "ok"}
    assert client("GET", "/readyz").json()["ready"] is True
    monkeypatch.setattr("vdb_core.services.Services.health", lambda _: {"ready": False})
    assert client("GET", "/readyz").status == 503
    assert client("GET", "/healthz").status == 200


def test_the_durability_is_shown(serve: Callable[..., Any], tmp_path: Any) -> None:
    for level in ("fsync", "os", "none"):
        with serve(Settings(durability=level), tmp_path / level) as client:
            assert client("GET", "/readyz").json()["durability"] == level
    with serve(Settings(durability="fsync")) as client:
        assert client("GET", "/readyz").json()["durability"] == "none"  # in memory, nothing is


def test_a_database_that_is_read_only_says_so(
    serve: Callable[..., Any], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(None, tmp_path) as client:
        check_read_only(client, monkeypatch)


def check_read_only(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from vdb_core.errors import WriteUncertain
    from vdb_core.persistence.sqlite_journal import SqliteJournal

    client("POST", "/v1/libraries", {"id": "a", "name": "A"})
    ready = client("GET", "/readyz").json()
    assert (ready["durability"], ready["read_only"]) == ("fsync", False)
    assert "vdb_read_only 0.0" in client("GET", "/metrics").body.decode()

    def fail(*_: object) -> int:
        raise WriteUncertain("the flush of /secret/path failed")

    with monkeypatch.context() as patches:
        patches.setattr(SqliteJournal, "append", fail)
        answer = client("POST", "/v1/libraries/a/chunks", {"id": "x", "embedding": [1]})
        assert (answer.status, answer.code) == (500, "write_uncertain")
    for path, body in (
        ("chunks", {"id": "y", "embedding": [1]}),
        ("chunks/upsert", {"chunks": [{"id": "y", "embedding": [1]}]}),
    ):
        answer = client("POST", f"/v1/libraries/a/{path}", body)
        assert (answer.status, answer.code) == (503, "storage_read_only")
        assert "retry-after" not in answer.headers
    assert client("GET", "/v1/libraries/a").json()["chunks"] == 0
    assert client("GET", "/healthz").json() == {"status": "read_only"}
    ready = client("GET", "/readyz")
    assert (ready.status, ready.json()["ready"], ready.json()["read_only"]) == (200, True, True)
    assert b"secret" not in ready.body
    assert "vdb_read_only 1.0" in client("GET", "/metrics").body.decode()


def test_metrics_count_by_template_and_never_by_id(glossary: Any) -> None:
    glossary("GET", f"{L}/chunks/very-secret-id")
    glossary("POST", f"{L}/search", {"embedding": [1, 0, 0]})
    glossary("GET", "/some/scanner/path")
    glossary("BREW", "/coffee")
    answer = glossary("GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    text = answer.body.decode()
    assert (
        'vdb_http_requests_total{method="GET",route="/v1/libraries/{library_id}/chunks/{chunk_id}",status="404"} 1.0'
        in text
    )
    assert (
        'vdb_http_requests_total{method="POST",route="/v1/libraries/{library_id}/search",status="200"} 1.0'
        in text
    )
    assert 'route="unmatched",status="404"' in text
    assert 'method="other"' in text
    assert "vdb_chunks 4.0" in text
    assert "vdb_http_request_seconds_bucket" in text
    assert "secret" not in text
    assert "scanner" not in text


def test_each_application_counts_for_itself(serve: Callable[..., Any]) -> None:
    with serve() as one, serve() as other:
        one("GET", "/v1/libraries")
        assert b'route="/v1/libraries"' in one("GET", "/metrics").body
        assert b'route="/v1/libraries"' not in other("GET", "/metrics").body


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("search", {"embedding": [1, 0, 0]}),
        ("search", {"embedding": [1, 0]}),
        ("search/batch", {"queries": [{"embedding": [1, 0, 0]}]}),
        ("search?x=1", {"embedding": [1, 0, 0]}),
        ("chunks/upsert", {"chunks": []}),
        ("chunks/upsert", {"rows": []}),
    ],
)
def test_the_short_way_answers_as_the_long_way(serve: Callable[..., Any], path: str, body: object) -> None:
    answers: list[object] = []
    for short in (True, False):
        with serve() as client:
            if not short:
                client.app.short_way = None
            client("POST", "/v1/libraries", {"id": "glossary", "name": "x", "dimension": 3})
            client("POST", f"{L}/chunks", {"id": "a", "embedding": [1, 0, 0]})
            answer = client("POST", f"{L}/{path}", body)
            content = answer.json()
            for item in (content, *content.get("results", ())):
                item.pop("took_ms", None)
            answers.append((answer.status, answer.headers["content-type"], content))
            assert (
                f'route="/v1/libraries/{{library_id}}/{path.partition("?")[0]}"'
                in client("GET", "/metrics").body.decode()
            )
    assert answers[0] == answers[1]


def test_the_application_opens_and_closes_an_engine_of_its_own(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import asyncio

    from vdb_core.services import EngineSettings, open_services

    monkeypatch.setenv("VDB_PLUGINS_DISABLED", "nothing-is-called-that")
    app = create_app(Settings(data_dir=tmp_path / "data"))

    async def live() -> bool:
        async with app.router.lifespan_context(app) as state:
            return bool(state["services"].health()["ready"])

    assert asyncio.run(live())
    # The directory is free again.
    open_services(EngineSettings(data_dir=tmp_path / "data")).close()
