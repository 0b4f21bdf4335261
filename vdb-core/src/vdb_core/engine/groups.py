"""What the committer's queue holds: writes, what they will do once they are prepared, and groups of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Generic, TypeVar, final

from vdb_core.engine.answers import ANSWERS
from vdb_core.engine.operations import Remember

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future

    from vdb_core.engine.operations import Operation
    from vdb_core.engine.overlay import Overlay

__all__ = ["Call", "Group", "Member", "Plan", "Write"]

T_co = TypeVar("T_co", covariant=True)
_GROUP_WRITES: Final = 256
_GROUP_BYTES: Final = 64 << 20


@final
@dataclass(frozen=True, slots=True)
class Plan(Generic[T_co]):
    """What a prepared write will do, and what it answers once that is done."""

    operations: Sequence[Operation]
    answer: Callable[[], T_co]
    """Looks at nothing that the write changes: an answer that is to be remembered is made before it is published."""


@final
@dataclass(slots=True)
class Write:
    """A write that waits or is being made."""

    library_id: str
    prepare: Callable[[Overlay], Plan[object]]
    future: Future[object]
    size: int
    begun: bool = False


@final
@dataclass(slots=True)
class Call:
    """Something else to run when nothing is on its way."""

    run: Callable[[], object]
    future: Future[object]


@final
@dataclass(slots=True)
class Member:
    """A write in a group: what it will do, or why it is refused."""

    write: Write
    plan: Plan[object] | None
    refusal: Exception | None = None

    @property
    def operations(self) -> Sequence[Operation]:
        """What it changes."""
        return () if self.plan is None else self.plan.operations


@final
@dataclass(slots=True)
class Group:
    """Writes that become durable together."""

    members: list[Member] = field(default_factory=list)
    size: int = 0

    def add(self, member: Member) -> None:
        """Add a write behind the others."""
        self.members.append(member)
        self.size += member.write.size

    @property
    def full(self) -> bool:
        """Whether it should be sent on its way before it grows further."""
        return len(self.members) >= _GROUP_WRITES or self.size >= _GROUP_BYTES

    def operations(self) -> list[tuple[str, Operation]]:
        """What it changes, in order, each with the chain of the journal that it lies in: the id of its library."""
        return [
            (ANSWERS if isinstance(operation, Remember) else one.write.library_id, operation)
            for one in self.members
            for operation in one.operations
        ]
