"""Measures what the way through the server costs a search and an upsert, with and without pydantic models.

The query service is replaced by one that answers at once, so that what is left is the way itself: reading the body,
validating it, routing, middleware, writing the answer. Run: ``python vdb-server/scripts/measure_hot_path.py``.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from typing import TYPE_CHECKING, Any, cast

import orjson
from fastapi import FastAPI

from vdb_core.engine.records import finish, start
from vdb_core.engine.unaccelerated import Unaccelerated
from vdb_core.services import SearchAnswer
from vdb_core.services.hits import Hits
from vdb_server.app import Application, create_app
from vdb_server.chunks.schemas import ChunksUpsert
from vdb_server.search.routes import answer
from vdb_server.search.schemas import SearchAnswerView, SearchQuery
from vdb_server.settings import Settings
from vdb_server.system.metrics import Metrics
from vdb_server.wire.json_body import parse_object

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vdb_core.services import Services

DIMENSION = 384
ANSWER = SearchAnswer(
    hits=Hits(
        [
            finish(
                start(
                    f"chunk-{n}",
                    "book",
                    "A gloss of some sixty characters, as a dictionary has it.",
                    {"page": n},
                ),
                7,
                b"2026-11-22T07:49:58.123456Z",
                b"2026-11-22T07:49:58.123456Z",
            )
            for n in range(10)
        ],
        [0.9 - n / 100 for n in range(10)],
        [0.1 + n / 100 for n in range(10)],
        text=True,
        metadata=True,
        accelerator=Unaccelerated(),
    ),
    index={"type": "brute", "exact": True},
    revision=7,
)


class _Queries:
    def search_text(
        self,
        library_id: str,
        text: bytes,
        parse: Callable[[bytes], Mapping[str, object]],
        *,
        wait: bool = True,
    ) -> SearchAnswer:
        del library_id, wait
        _ = parse(text)
        return ANSWER


class _Instant:
    queries = _Queries()

    def statistics(self) -> dict[str, float]:
        return {}


def _modelled() -> FastAPI:
    app = FastAPI()

    @app.post("/v1/libraries/{library_id}/search", response_model=SearchAnswerView)
    async def search(library_id: str, query: SearchQuery) -> Any:
        del library_id, query
        return orjson.loads(ANSWER.to_json())

    _ = search
    return app


def _without_short_way(app: Application) -> Application:
    app.short_way = None
    return app


async def _through(app: FastAPI, body: bytes, turns: int) -> float:
    path = "/v1/libraries/glossary/search"
    state = {
        "services": _Instant(),
        "settings": Settings(),
        "metrics": Metrics(),
        "hide": str,
        "traced": False,
    }
    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json"), (b"content-length", b"9")]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        if message.get("status", 200) != 200:
            sys.exit(f"the answer was {message['status']}")

    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(turns):
            scope: dict[str, Any] = {
                "type": "http",
                "asgi": {"version": "3.0", "spec_version": "2.4"},
                "http_version": "1.1",
                "method": "POST",
                "scheme": "http",
                "path": path,
                "raw_path": path.encode(),
                "query_string": b"",
                "root_path": "",
                "headers": headers,
                "client": ("127.0.0.1", 1),
                "server": ("127.0.0.1", 2),
                "state": dict(state),
            }
            await app(scope, receive, send)
        best = min(best, (time.perf_counter() - started) / turns)
    return best


def _direct(body: bytes, turns: int) -> float:
    services = cast("Services", cast("object", _Instant()))
    return _time(
        lambda: answer(
            services, "glossary", body, content_type="application/json", query_string=b"", max_depth=32
        ),
        turns,
    )


def _time(call: Callable[[], object], turns: int) -> float:
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(turns):
            call()
        best = min(best, (time.perf_counter() - started) / turns)
    return best


def _line(what: str, seconds: float) -> None:
    sys.stdout.write(f"{what:<58}{seconds * 1e6:10.0f} us\n")


def main() -> None:
    """Measure and print; the best of five."""
    rng = random.Random(1)  # noqa: S311 - numbers to measure with
    vector = [rng.gauss(0, 1) for _ in range(DIMENSION)]
    body = orjson.dumps({"embedding": vector, "k": 10, "filter": {"lang": "en"}})
    rows = orjson.dumps({"chunks": [{"id": str(n), "text": "t", "embedding": vector} for n in range(100)]})
    sys.stdout.write(
        f"search, {DIMENSION} floats in JSON ({len(body)} bytes), 10 hits; the engine answers at once\n"
    )
    _line(
        "  FastAPI with pydantic body and answer, no middleware",
        asyncio.run(_through(_modelled(), body, 300)),
    )
    app = create_app(Settings(), cast("Services", cast("object", _Instant())))
    _line(
        "  this application through FastAPI's routing",
        asyncio.run(_through(_without_short_way(app), body, 300)),
    )
    app = create_app(Settings(), cast("Services", cast("object", _Instant())))
    _line("  this application, the short way", asyncio.run(_through(app, body, 300)))
    _line("  embedded, no ASGI", _direct(body, 300))
    sys.stdout.write("reading that body\n")
    _line("  orjson", _time(lambda: orjson.loads(body), 1000))
    _line("  orjson with the checks of this server", _time(lambda: parse_object(body, max_depth=32), 1000))
    _line(
        "  orjson, then the pydantic model",
        _time(lambda: SearchQuery.model_validate(orjson.loads(body)), 1000),
    )
    _line(
        "  the pydantic model's own JSON parser", _time(lambda: SearchQuery.model_validate_json(body), 1000)
    )
    sys.stdout.write(f"reading an upsert of 100 x {DIMENSION} floats ({len(rows)} bytes)\n")
    _line("  orjson", _time(lambda: orjson.loads(rows), 20))
    _line("  orjson with the checks of this server", _time(lambda: parse_object(rows, max_depth=32), 20))
    _line(
        "  orjson, then the pydantic model",
        _time(lambda: ChunksUpsert.model_validate(orjson.loads(rows)), 20),
    )
    _line("  the pydantic model's own JSON parser", _time(lambda: ChunksUpsert.model_validate_json(rows), 20))


if __name__ == "__main__":
    main()
