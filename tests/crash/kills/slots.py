"""Libraries that come and go: each client owns one id, under which it makes, fills, builds and deletes libraries.

Nobody else touches it, so that what should be there is known after each answer. An operation that a crash cut off leaves
two possibilities; what is recovered must be one of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

from history.checker import Violation
from history.events import is_write
from history.http_side import Connection, Failure
from history.model import Model, Refused, same_hits
from history.operations import ListChunks, ListDocuments, Search
from history.settling import Recovered, differences
from history.workload import Workload

if TYPE_CHECKING:
    import random

    from history.operations import Read, Write

    from vdb_core.indexes import Metric

__all__ = ["Slot"]

_METRICS: tuple[Metric, ...] = ("cosine", "dot", "l2")
_TYPES = ("brute", "ivf_flat", "ivf_pq")


class Slot:
    """One id and the library under it, where there is one."""

    def __init__(self, library_id: str, chance: random.Random, *, dimension: int) -> None:
        self.id = library_id
        self._chance = chance
        self._dimension = dimension
        self._workload = Workload(chance, library_id, dimension=dimension, chunks=20)
        self.model: Model | None = None
        self.open: Literal["nothing", "operation"] = "nothing"
        self._other: Model | None = None
        """What is there instead, where the operation without an answer was carried out."""
        self._made = 0

    def step(self, connection: Connection) -> bool:
        """Do one thing; false where no answer came."""
        chance = self._chance
        if self.model is None:
            return self._create(connection)
        turn = chance.random()
        if turn < 0.12:
            return self._delete(connection)
        if turn < 0.25:
            return self._build(connection)
        return self._do(connection, self._workload.next())

    def _create(self, connection: Connection) -> bool:
        self._made += 1
        metric = self._chance.choice(_METRICS)
        name, metadata = f"{self.id} number {self._made}", {"made": self._made}
        body = {
            "id": self.id,
            "name": name,
            "metric": metric,
            "metadata": metadata,
            "index": {"type": self._chance.choice(_TYPES)},
        }
        fresh = Model(metric, name=name, metadata=metadata)
        return self._change(connection, fresh, "POST", "/v1/libraries", body, 201)

    def _delete(self, connection: Connection) -> bool:
        return self._change(connection, None, "DELETE", f"/v1/libraries/{self.id}", None, 204)

    def _change(
        self, connection: Connection, after: Model | None, method: str, path: str, body: object, status: int
    ) -> bool:
        self.open, self._other = "operation", after
        try:
            told, answer = connection.json(method, path, body)
        except Failure as failure:
            if not failure.sent:
                self.open = "nothing"
            return False
        if told != status:
            raise Violation(f"{method} {path} {body} was answered {told}: {answer}")
        self.open, self.model = "nothing", after
        return True

    def _build(self, connection: Connection) -> bool:
        path = self._chance.choice(["index", "snapshot"])
        body: dict[str, object] = {"wait": self._chance.random() < 0.5}
        if path == "index":
            body["type"] = self._chance.choice(_TYPES)
        try:
            status, answer = connection.json("POST", f"/v1/libraries/{self.id}/{path}", body)
        except Failure:
            return False
        if status not in {200, 202, 409} or answer.get("state") == "failed":
            raise Violation(f"a build of {self.id!r} was answered {status}: {answer}")
        return True

    def _do(self, connection: Connection, operation: Read | Write) -> bool:
        model = cast("Model", self.model)
        after = model.copy()
        try:
            expected: object = after.do(operation) if is_write(operation) else model.read(operation, {})
        except Refused as refused:
            expected = refused.code
        self.open, self._other = ("operation" if is_write(operation) else "nothing"), after
        reply = connection.send(self.id, operation)
        if reply.outcome in {"unknown", "unsent"}:
            if reply.outcome == "unsent":
                self.open = "nothing"
            return False
        self.open = "nothing"
        if not _agrees(operation, reply.value, expected):
            raise Violation(f"{self.id}: {operation} was answered {reply}; expected {expected}")
        self.model = after
        return True

    def settle(self, recovered: Recovered | None) -> None:
        """Learn what is there after a crash; raises ``Violation`` where it is none of what may be there."""
        possible = [self.model, self._other] if self.open == "operation" else [self.model]
        for model in possible:
            if (model is None and recovered is None) or (
                model is not None and recovered is not None and not differences(model, recovered)
            ):
                self.model, self.open = model, "nothing"
                return
        texts = [
            "no library" if model is None else "; ".join(differences(model, recovered))[:2000]
            for model in possible
            if model is None or recovered is not None
        ]
        there = "nothing is there" if recovered is None else f"there is {str(recovered)[:2000]}"
        raise Violation(f"{self.id}: {there}; instead of one of {len(possible)}: {texts}")


def _agrees(operation: Read | Write, value: object, expected: object) -> bool:
    if isinstance(operation, Search) and isinstance(value, list) and isinstance(expected, list):
        answers = cast("list[dict[str, Any]]", value)
        return len(answers) == len(expected) and all(
            same_hits(one["hits"], ranked, operation.k, exact=one["exact"])
            for one, ranked in zip(answers, expected, strict=True)
        )
    if isinstance(operation, (ListChunks, ListDocuments)) and isinstance(value, dict):
        page = cast("dict[str, object]", value)
        return {name: page[name] for name in ("items", "more")} == expected
    return value == expected
