"""Histories made without an engine: the model answers, and the clients' requests overlap as they would."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, cast

from history.events import Event, Reply, is_write
from history.model import Model, Refused
from history.operations import ListChunks, ListDocuments, Search
from history.workload import Workload, follow

if TYPE_CHECKING:
    from history.model import Row
    from history.operations import Read, Write

__all__ = ["answer", "simulate"]


def simulate(*, seed: int, operations: int, clients: int = 4, dimension: int = 3) -> list[Event]:
    """A history in which everything is right: each operation takes effect at one moment between its ends."""
    chance = random.Random(f"simulated {seed}")
    model = Model("l2", name="lib")
    orders: dict[tuple[str, int], int] = {}
    works = [Workload(chance, f"client{number}", dimension=dimension, chunks=12) for number in range(clients)]
    free, following = [0] * clients, cast("list[Read | Write | None]", [None] * clients)
    events: list[Event] = []
    now = 0
    for _ in range(operations):
        # Moments ascend by 10; who acts now began up to 3 moments ago and is answered up to 3 later.
        now += 10
        number = min(range(clients), key=lambda one: (free[one] > now, chance.random()))
        now = max(now, free[number] + 1)
        begin = chance.randint(max(free[number], now - 30), now - 1)
        operation = following[number] or works[number].next()
        event = Event(f"client{number}", operation, begin, now + chance.randint(1, 30))
        event.reply = answer(model, operation, orders)
        orders.update({(row.id, row.revision): row.order for row in model.rows.values()})
        events.append(event)
        works[number].saw(event)
        following[number] = follow(event)
        free[number] = cast("int", event.end) + 1
    return events


def answer(model: Model, operation: Read | Write, orders: dict[tuple[str, int], int]) -> Reply:
    """Carry an operation out on a model and answer as the library would."""
    try:
        if is_write(operation):
            return Reply("ok", model.do(operation))
        value = model.read(operation, orders)
    except Refused as refused:
        return Reply("refused", refused.code)
    if isinstance(operation, Search):
        rankings = cast("list[list[tuple[Row, float]]]", value)
        return Reply("ok", [_searched(ranked, operation.k, model.revision) for ranked in rankings])
    if isinstance(operation, (ListChunks, ListDocuments)):
        return Reply("ok", {**cast("dict[str, object]", value), "cursor": "opaque"})
    return Reply("ok", value)


def _searched(ranked: list[tuple[Row, float]], k: int, revision: int) -> dict[str, object]:
    hits = [
        {
            "id": row.id,
            "document_id": row.document_id,
            "text": row.text,
            "metadata": dict(row.metadata),
            "distance": distance,
        }
        for row, distance in ranked[:k]
    ]
    return {"hits": hits, "exact": True, "revision": revision, "warnings": []}
