"""Plays the workload while calls fail, and looks at what an engine recovers afterwards. Runs in the pool.

What is insisted on while the process lives: a step is acknowledged or refused with an error of vdb's own; after a refusal
everything reads as before; when the fault is lifted, writes are taken again or refused cleanly, and after a full disk
they are taken.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crash_kit.ledger import Ledger
from crash_kit.settings import LONG
from crash_kit.shim import Fault
from crash_kit.template import read_template
from crash_kit.trees import lay_down
from crash_kit.worker import SHIM, in_fork
from crash_kit.workload import (
    AFTER,
    PREPARE,
    STORIES,
    Step,
    finish,
    open_engine,
    steps_of,
    submit,
    time_of,
)
from crash_kit.world import World, apply, check_answers, differences, dump
from vdb_core.errors import OperatorError, StorageReadOnly, VdbError, WriteUncertain

if TYPE_CHECKING:
    from collections.abc import Callable

    from vdb_core.services import Services

__all__ = ["ledger", "play", "prepare", "recover", "recover_again", "sweep"]

_PATIENCE = 2
"""Refusals after which a fault that goes on is lifted."""


class Player:
    """Plays steps, keeps the world that they make, and tells what it does."""

    def __init__(
        self, root: Path, world: World, tell: Callable[[str], None], fault: Fault, story: str
    ) -> None:
        self.root = root
        self.world = world
        self.story = story
        self._tell = tell
        self.fault = fault
        self.refusals = 0
        self.lifted = False
        self.services: Services | None = None
        self.ledger = Ledger(world, steps_of(story))

    def tell(self, **said: Any) -> None:
        """Say what happens, where it outlives this process."""
        line = json.dumps(said)
        self.ledger.hear(line)
        self._tell(line)

    def play(self) -> None:
        """Play every step; raises ``AssertionError`` where something is wrong."""
        self._open()
        self._look("after opening")
        number = 0
        for item in STORIES[self.story]:
            steps = item if isinstance(item, list) else [item]
            if steps[0]["do"] == "reopen":
                self._close()
                self._open()
                self._settle()
            else:
                self._together(number, steps)
            number += len(steps)
        self._look("at the end")

    def go_on(self, log: str) -> None:
        """Be the process that comes after one that crashed: see what is there, and write."""
        self.ledger.hear_all(log.splitlines())
        self._open()
        self._settle()
        for number, step in enumerate(AFTER, len(steps_of(self.story)) - len(AFTER)):
            self._together(number, [step])
        self._look("at the end")

    def _open(self) -> None:
        while self.services is None:
            try:
                self.services = open_engine(self.root)
            except OperatorError:
                self._refused()

    def _close(self) -> None:
        services, self.services = self.services, None
        if services is not None:
            try:
                services.close()
            except OperatorError:
                self._refused()

    def _settle(self) -> None:
        """After a restart what was unknown is there or not, and stays so."""
        services = self.services
        assert services is not None
        found = self._read(lambda: dump(services))
        assert not (told := self.ledger.verdict(found)), f"after reopening: {told}"
        for world, happened in self.ledger.candidates():
            if not differences(world, found):
                for number in self.ledger.unknown():
                    self.tell(settled=number, happened=number in happened)
                break
        self.world = found

    def _refused(self) -> None:
        """Count a refusal, and take the fault away when there were some."""
        assert SHIM.state().struck, "refused, and nothing was wrong"
        self.refusals += 1
        assert self.refusals < 60, "refused again and again"
        if self.refusals >= _PATIENCE and not self.lifted:
            SHIM.lift()
            self.lifted = True

    def _together(self, number: int, steps: list[Step]) -> None:
        """Send steps at once, then wait for each."""
        services = self.services
        assert services is not None
        asked: list[tuple[int, Step, Any]] = []
        room, refused = self.lifted, ""
        for at, step in enumerate(steps, number):
            if apply(self.world, step) is None:
                continue  # what it builds on was refused
            self.tell(sent=at)
            try:
                asked.append((at, step, submit(services, step)))
            except VdbError as error:
                refused = self._not_done(at, step, error, room=room)
        for at, step, one in asked:
            try:
                finish(one)
            except VdbError as error:
                refused = self._not_done(at, step, error, room=room)
                continue
            time = self._read(lambda step=step: time_of(services, step))
            self.tell(acked=at, time=time)
            world = apply(self.world, step, time)
            assert world is not None
            self.world = world
        if refused:
            self._look(refused)

    def _not_done(self, at: int, step: Step, error: VdbError, *, room: bool) -> str:
        assert isinstance(error, OperatorError), f"{step['do']} was refused with {error!r}"
        # A flush or a truncation that finds no room has failed: SQLite does not tell them apart.
        flush = SHIM.state().name in {"fsync", "fdatasync", "ftruncate"} and isinstance(
            error, StorageReadOnly
        )
        if self.fault == Fault.ENOSPC and room and not flush:
            raise AssertionError(f"there is room again, and {step['do']} is refused with {error!r}")
        # A build that failed at its last fsync may be found after a restart; a write that was refused may not, unless
        # it was said so.
        if step["do"] in {"build", "snapshot"} or isinstance(error, WriteUncertain):
            self.tell(unsure=at)
        else:
            self.tell(refused=at, code=error.code)
        self._refused()
        return f"after {step['do']} was refused with {error!r}"

    def _read(self, read: Callable[[], Any]) -> Any:
        """Read, again and again while calls fail: a library that is opened may have something to set aside."""
        while True:
            try:
                return read()
            except OperatorError as error:
                if self.fault == Fault.ENOSPC:
                    raise AssertionError(
                        f"the disk is full, and reading is refused with {error!r}"
                    ) from error
                self._refused()

    def _look(self, when: str) -> None:
        services = self.services
        assert services is not None
        found = self._read(lambda: dump(services))
        assert not (told := differences(self.world, found)), f"{when}: {told}"
        check_answers(services, found, thorough=False)


def ledger(base: World, log: str, story: str = "short") -> Ledger:
    """The ledger of a run, from what it told."""
    known = Ledger(base, steps_of(story))
    known.hear_all(log.splitlines())
    return known


def prepare(root: str) -> World:
    """Fill a directory, and end as in a crash; gives the world that is in it."""
    services = open_engine(Path(root))
    world: World = {}
    for step in PREPARE:
        finish(submit(services, step))
        fresh = apply(world, step, time_of(services, step))
        assert fresh is not None
        world = fresh
    assert not (told := differences(world, dump(services))), told
    return world


def play(
    root: str,
    base: World,
    log: str,
    *,
    at: int = 0,
    fault: int = 0,
    sticky: bool = False,
    record: str = "",
    story: str = "short",
    go_on: bool = False,
) -> None:
    """Play a story while calls fail, and end as in a crash; raises where something is wrong.

    Args:
        root: the data directory.
        base: what is in it.
        log: a file that takes what is told.
        at: the number of the call at which the fault strikes, 0 for none.
        fault: see ``Fault``.
        sticky: whether it goes on.
        record: a file that takes the record, none where it is empty.
        story: see ``workload``.
        go_on: be the process that comes after the one that told ``log`` and made ``record``.
    """
    before = Path(log).read_text(encoding="utf-8") if go_on else ""
    with Path(log).open("ab", buffering=0) as lines:

        def tell(text: str) -> None:
            lines.write(text.encode() + b"\n")
            SHIM.mark(text)

        descriptor = (
            os.open(record, os.O_WRONLY | os.O_CREAT | (os.O_APPEND if go_on else os.O_TRUNC))
            if record
            else None
        )
        SHIM.arm(Path(root), at=at, fault=Fault(fault), sticky=sticky, record=descriptor)
        player = Player(Path(root), base, tell, Fault(fault), story)
        if go_on:
            player.go_on(before)
        else:
            player.play()
        # The process ends with its engine open.
        SHIM.disarm()


def recover(root: str, base: World, log: str) -> World:
    """Open what a run has left, insist that it is a world that may be found; gives it."""
    services = open_engine(Path(root))
    found = dump(services)
    told = ledger(base, Path(log).read_text()).verdict(found)
    assert not told, told
    check_answers(services, found)
    return found


def recover_again(root: str, first: World, write: bool) -> None:
    """Open it again, insist that nothing changed; where that is wanted, write, close, and open it a last time."""
    services = open_engine(Path(root))
    assert not (told := differences(first, dump(services))), f"the second recovery: {told}"
    if not write:
        return
    world = first
    for name in first:
        rows = [{"id": "after", "embedding": [1.0] * (first[name]["dimension"] or 2)}]
        step = {"do": "upsert", "library": name, "rows": rows}
        finish(submit(services, step))
        world = apply(world, step, time_of(services, step)) or {}
    services.close()
    services = open_engine(Path(root))
    assert not (told := differences(world, dump(services))), f"after a clean end: {told}"
    services.close()


def sweep(base: str, *, at: int = 0, fault: int = 0, sticky: bool = False) -> dict[str, Any]:
    """Play over a fresh copy of the template, with a fault; then recover twice, each in a process of its own.

    Tells what was wrong, if anything, and when.
    """
    place = Path(base) / f"run-{os.getpid()}"
    template = read_template(Path(base))
    lay_down(template.tree, place / "data")
    root, log = str(place / "data"), place / "log"
    log.write_bytes(b"")
    result: dict[str, Any] = {"stage": "while it ran"}
    _, result["problem"], _ = in_fork(
        lambda: play(root, template.world, str(log), at=at, fault=fault, sticky=sticky)
    )
    if not result["problem"]:
        result["stage"] = "recovery"
        found, result["problem"], _ = in_fork(recover, root, template.world, str(log))
        if not result["problem"] and (LONG or at % 2 == 0):
            result["stage"] = "second recovery"
            _, result["problem"], _ = in_fork(recover_again, root, found, LONG or at % 4 == 0)
    known = ledger(template.world, log.read_text())
    return result | {"acked": len(known.acked), "refused": len(known.refused)}
