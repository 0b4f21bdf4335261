from __future__ import annotations

import datetime
import re
import socket
import time
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import pytest

import vdb_sdk
from vdb_sdk._retry import RetryPolicy, parse_retry_after
from vdb_sdk._transport import Repeat

if TYPE_CHECKING:
    from collections.abc import Callable


def reply(status: int = 200, body: bytes = b"{}", **more: Any) -> dict[str, Any]:
    return {"status": status, "body": body, **more}


LIBRARY = (
    b'{"id": "a", "name": "a", "metric": "cosine", "dimension": null, "index": {"type": "brute", "params": {}},'
    b' "metadata": {}, "revision": 0, "created_at": "2026-01-02T03:04:05.678901Z",'
    b' "updated_at": "2026-01-02T03:04:05.678901Z"}'
)
SEARCHED = (
    b'{"hits": [], "index": {"type": "brute", "exact": true}, "revision": 1, "warnings": [], "took_ms": 0.1}'
)
UPSERTED = b'{"created": 1, "updated": 0, "ids": ["a"], "revision": 1}'
QUICK = RetryPolicy(retries=3, first_delay=0.01)
NOT_NOW = reply(503, b'{"code": "write_queue_full", "detail": "later"}')
HANG_UP = reply(hang_up=True)

REPEATABLE: list[tuple[Callable[[Any], Any], bytes]] = [
    (lambda client: client.library("a").info(), LIBRARY),
    (lambda client: client.library("a").search([1.0]), SEARCHED),
    (lambda client: client.library("a").upsert([{"id": "a", "embedding": [1.0]}]), UPSERTED),
    (lambda client: client.library("a").upsert(ids=["a"], embeddings=[[1.0]]), UPSERTED),
    (lambda client: client.library("a").delete(["a"]), b'{"deleted": 1, "revision": 2}'),
    (lambda client: client.library("a").update(name="b"), LIBRARY),
]


@pytest.mark.parametrize("failure", [NOT_NOW, reply(429), HANG_UP], ids=["503", "429", "hang-up"])
@pytest.mark.parametrize(("call", "body"), REPEATABLE)
def test_what_may_be_repeated_is(
    connect_any: Any, scripted: Any, failure: dict[str, Any], call: Callable[[Any], Any], body: bytes
) -> None:
    scripted.answers = [failure, failure, reply(200, body)]
    call(connect_any(scripted.url, retries=QUICK))
    assert len(scripted.received) == 3
    assert len({(seen.method, seen.target) for seen in scripted.received}) == 1


CREATED = (
    b'{"id": "a", "document_id": null, "text": null, "embedding": [1.0], "metadata": {}, "revision": 1,'
    b' "created_at": "2026-01-02T03:04:05.678901Z", "updated_at": "2026-01-02T03:04:05.678901Z"}'
)
WRITES: list[tuple[Callable[[Any], Any], bytes]] = [
    (lambda client: client.create_library("a"), LIBRARY),
    (lambda client: client.create_library("a", id="a"), LIBRARY),
    (lambda client: client.delete_library("a"), b""),
    (lambda client: client.library("a").update(name="b"), LIBRARY),
    (lambda client: client.library("a").update(name="b", if_match=1), LIBRARY),
    (lambda client: client.library("a").create_document(), CREATED),
    (lambda client: client.library("a").add(embedding=[1.0]), CREATED),
    (lambda client: client.library("a").patch("a", text="b", if_match=1), CREATED),
    (lambda client: client.library("a").upsert([{"embedding": [1.0]}]), UPSERTED),
    (lambda client: client.library("a").upsert(embeddings=[[1.0]]), UPSERTED),
    (lambda client: client.library("a").delete(["a"]), b'{"deleted": 1, "revision": 2}'),
]
IN_USE = reply(409, b'{"code": "idempotency_key_in_use", "detail": "still"}')


@pytest.mark.parametrize(
    "failure", [NOT_NOW, reply(429), HANG_UP, IN_USE], ids=["503", "429", "hang-up", "in progress"]
)
@pytest.mark.parametrize(("call", "body"), WRITES)
def test_every_write_is_sent_again_under_its_own_key(
    connect_any: Any, scripted: Any, failure: dict[str, Any], call: Callable[[Any], Any], body: bytes
) -> None:
    client = connect_any(scripted.url, retries=QUICK)
    keys: list[str] = []
    for _ in range(2):
        scripted.received.clear()
        scripted.answers = [failure, failure, reply(200, body)]
        call(client)
        assert len(scripted.received) == 3
        # One key a write, however often it is sent; the body too is the same.
        ((key, _content),) = {(seen.headers["idempotency-key"], seen.body) for seen in scripted.received}
        assert re.fullmatch(r'"[0-9a-f]{32}"', key)
        keys.append(key)
    assert keys[0] != keys[1]


def test_reads_and_searches_carry_no_key(connect_any: Any, scripted: Any) -> None:
    client = connect_any(scripted.url)
    scripted.answers = [
        reply(200, LIBRARY),
        reply(200, SEARCHED),
        reply(200, b'{"results": [%b]}' % SEARCHED),
    ]
    client.library("a").info()
    client.library("a").search([1.0])
    client.library("a").search_many([[1.0]])
    assert [seen.headers.get("idempotency-key") for seen in scripted.received] == [None, None, None]


def test_another_conflict_is_final(connect_any: Any, scripted: Any) -> None:
    scripted.answers = [reply(409, b'{"code": "already_exists", "detail": "there"}')]
    with pytest.raises(vdb_sdk.ConflictError):
        connect_any(scripted.url, retries=QUICK).create_library("a", id="a")
    assert len(scripted.received) == 1


def test_without_a_key_a_policy_repeats_what_does_no_harm() -> None:
    """What an engine in this process is sent: nothing is lost between them, and no key is needed."""
    again = {
        repeat: (
            QUICK.after_failure(repeat, 0, sent=True) is not None,
            QUICK.after_failure(repeat, 0, sent=False) is not None,
            QUICK.after_status(repeat, 0, 503, None) is not None,
        )
        for repeat in Repeat
    }
    assert again == {
        Repeat.ALWAYS: (True, True, True),
        Repeat.REFUSED: (False, True, True),
        Repeat.UNSENT: (False, True, False),
    }


def test_retry_after_is_waited_for(connect_any: Any, scripted: Any) -> None:
    scripted.answers = [reply(503, headers={"Retry-After": "1"}), reply(200, LIBRARY)]
    began = time.monotonic()
    connect_any(scripted.url, retries=QUICK).library("a").info()
    assert 1.0 <= time.monotonic() - began < 3.0


def test_a_server_that_asks_for_too_long_is_not_waited_for(connect_any: Any, scripted: Any) -> None:
    scripted.answers = [reply(503, headers={"Retry-After": "3600"})]
    with pytest.raises(vdb_sdk.UnavailableError) as caught:
        connect_any(scripted.url, retries=QUICK).library("a").info()
    assert caught.value.retry_after == 3600
    assert len(scripted.received) == 1


def test_it_gives_up_after_so_many(connect_any: Any, scripted: Any) -> None:
    scripted.answers = [NOT_NOW]
    with pytest.raises(vdb_sdk.UnavailableError) as caught:
        connect_any(scripted.url, retries=RetryPolicy(retries=2, first_delay=0.01)).library("a").info()
    assert caught.value.code == "write_queue_full"
    assert len(scripted.received) == 3


def test_zero_retries_is_never(connect_any: Any, scripted: Any) -> None:
    scripted.answers = [NOT_NOW]
    with pytest.raises(vdb_sdk.UnavailableError):
        connect_any(scripted.url, retries=0).library("a").info()
    assert len(scripted.received) == 1


@pytest.mark.parametrize("status", [400, 404, 409, 422, 500, 507])
def test_other_refusals_are_final(connect_any: Any, scripted: Any, status: int) -> None:
    scripted.answers = [reply(status)]
    with pytest.raises(vdb_sdk.ApiError):
        connect_any(scripted.url, retries=QUICK).library("a").info()
    assert len(scripted.received) == 1


def test_a_server_that_is_not_there_is_tried_again_even_for_a_create(connect_any: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: nobody answers, and nobody else gets the port
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(vdb_sdk.ConnectionFailed, match="Is the server up") as caught:
            connect_any(url, retries=RetryPolicy(retries=1, first_delay=0.2)).create_library("a")
        assert time.monotonic() - began >= 0.1
        assert connect_any(url).ready() is False
    assert not caught.value.sent


def test_a_part_of_an_upsert_that_failed_says_how_far_it_came(connect_any: Any, scripted: Any) -> None:
    refused = (
        b'{"code": "validation_failed", "errors": [{"pointer": "/chunks/0/embedding", "detail": "NaN"}]}'
    )
    scripted.answers = [
        reply(200, b'{"created": 2, "updated": 0, "ids": ["a", "b"], "revision": 1}'),
        reply(200, b'{"created": 0, "updated": 2, "ids": ["c", "d"], "revision": 2}'),
        reply(422, refused),
    ]
    rows = [{"id": name, "embedding": [1.0]} for name in "abcde"]
    reports: list[vdb_sdk.Progress] = []
    with pytest.raises(vdb_sdk.ValidationError) as caught:
        connect_any(scripted.url).library("lib").upsert(rows, batch_size=2, progress=reports.append)
    acknowledged = caught.value.acknowledged
    assert acknowledged is not None
    assert (acknowledged.rows, acknowledged.created, acknowledged.updated) == (4, 2, 2)
    assert list(acknowledged.ids) == ["a", "b", "c", "d"]
    assert caught.value.errors[0].pointer == "/chunks/4/embedding"
    assert [(report.done, report.total) for report in reports] == [(2, 5), (4, 5)]


def test_the_wait_grows_up_to_its_limit_and_is_spread() -> None:
    policy = RetryPolicy(retries=20, first_delay=0.1, max_delay=2.0)
    for attempt in range(12):
        ceiling = min(2.0, 0.1 * 2**attempt)
        waits = {policy.after_failure(Repeat.ALWAYS, attempt, sent=True) for _ in range(50)}
        assert len(waits) > 10
        assert all(wait is not None and ceiling / 2 <= wait <= ceiling for wait in waits)


@pytest.mark.parametrize(
    "arguments", [{"retries": -1}, {"first_delay": -1}, {"max_delay": -1}, {"max_retry_after": -1}]
)
def test_a_policy_without_sense_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(vdb_sdk.InvalidArgument):
        RetryPolicy(**arguments)


def test_retry_after_is_seconds_or_a_date() -> None:
    assert parse_retry_after(None) is None
    assert parse_retry_after(" 2.5 ") == 2.5
    assert parse_retry_after("nonsense") is None
    assert parse_retry_after("-1") is None
    assert parse_retry_after("nan") is None
    assert parse_retry_after("inf") is None
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=30)
    seconds = parse_retry_after(format_datetime(soon, usegmt=True))
    assert seconds is not None
    assert 28 <= seconds <= 30
    assert parse_retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
