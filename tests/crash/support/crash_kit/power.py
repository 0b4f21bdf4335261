"""Cuts the power at every moment of a recorded run, and opens what may be left of it. Runs in the pool.

For each moment at which something has changed there are several images: what was not safe yet is kept, lost, or torn, names
apart from bytes (see ``disk``). The first of them are the same everywhere, the rest are drawn by chance.
"""

from __future__ import annotations

import hashlib
import math
import os
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from crash_kit.disk import Disk, Image, Inode, NameChange, Write
from crash_kit.ledger import Ledger
from crash_kit.play import play, recover_again
from crash_kit.record import Call, Operation, read_record
from crash_kit.settings import LONG
from crash_kit.shim import Fault
from crash_kit.template import Template, read_template
from crash_kit.trees import lay_down
from crash_kit.worker import SHIM, in_fork
from crash_kit.workload import open_engine, steps_of
from crash_kit.world import World, check_answers, dump
from vdb_core.persistence.manifest import decode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["VARIANTS", "cut", "cut_after_a_failed_flush", "record"]

VARIANTS: Final = 13
"""Images a moment, before chance adds more."""
_AGAIN: Final = 1 if LONG else 8
"""Of so many images one is recovered a second time, written to, and opened a third time."""


@dataclass(slots=True)
class Findings:
    """What came of many images."""

    images: int = 0
    different: int = 0
    again: int = 0
    problems: list[str] = field(default_factory=list)
    seen: dict[bytes, tuple[World | None, str]] = field(default_factory=dict)
    """By a digest of the image: what was found in it, or what was wrong."""

    def told(self, **more: object) -> dict[str, Any]:
        """As JSON."""
        counts = {"images": self.images, "different": self.different, "again": self.again}
        return {**counts, "problems": self.problems[:20], **more}


# ---- what is left --------------------------------------------------------------------------------------------


def _kept(inode: Inode) -> bytes:
    return inode.content()


def _lost(inode: Inode) -> bytes:
    return inode.safe


def _zeros(inode: Inode) -> bytes:
    """The size has reached the disk, the bytes have not."""
    return inode.safe[: len(inode.now)].ljust(len(inode.now), b"\0")


def _torn(chance: random.Random, sector: int) -> Callable[[Inode], bytes]:
    """Each sector of each write is there or not."""

    def content(inode: Inode) -> bytes:
        result = bytearray(inode.safe)
        for write in inode.pending:
            if write.data is None:
                if chance.random() < 0.5:
                    write.apply(result)
                continue
            begin, end = write.offset, write.offset + len(write.data)
            for at in range(begin - begin % sector, end, sector):
                if chance.random() < 0.5:
                    low, high = max(at, begin), min(at + sector, end)
                    Write(low, write.data[low - begin : high - begin]).apply(result)
        return bytes(result)

    return content


def _cut_short(chance: random.Random, sector: int) -> Callable[[Inode], bytes]:
    """All but the last write is there, and of that one the first sectors."""

    def content(inode: Inode) -> bytes:
        result = bytearray(inode.safe)
        for number, write in enumerate(inode.pending, 1):
            if number == len(inode.pending) and write.data is not None:
                end = write.offset + len(write.data)
                ends = range(write.offset - write.offset % sector + sector, end, sector)
                stop = chance.choice(ends) if ends else write.offset
                Write(write.offset, write.data[: stop - write.offset]).apply(result)
            else:
                write.apply(result)
        return bytes(result)

    return content


def _some(chance: random.Random) -> Callable[[Inode], bytes]:
    """Each file is as it was written or as it was synced."""
    return lambda inode: inode.content() if chance.random() < 0.5 else inode.safe


def variant(disk: Disk, number: int, chance: random.Random) -> Image:
    """One of the images that the power may leave now."""

    def all_names(_: NameChange) -> bool:
        return True

    def no_names(_: NameChange) -> bool:
        return False

    def some_names(_: NameChange) -> bool:
        return chance.random() < 0.5

    fixed = (
        (all_names, _kept),
        (no_names, _lost),
        (all_names, _lost),
        (all_names, _zeros),
        (no_names, _kept),
        (all_names, _torn(chance, 512)),
        (all_names, _torn(chance, 4096)),
        (all_names, _cut_short(chance, 512)),
        (all_names, _cut_short(chance, 4096)),
        (some_names, _kept),
        (some_names, _lost),
        (some_names, _torn(chance, 512)),
        (some_names, _torn(chance, 4096)),
    )
    if number < len(fixed):
        keeps, content = fixed[number]
    else:
        sector = chance.choice((512, 4096))
        keeps = chance.choice((all_names, some_names, some_names))
        content = chance.choice(
            (_torn(chance, sector), _torn(chance, sector), _cut_short(chance, sector), _some(chance))
        )
    return disk.image(keeps=keeps, content=content)


def _digest(image: Image) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for path, data in sorted(image.items()):
        digest.update(f"{path}\0{-1 if data is None else len(data)}\0".encode())
        digest.update(data or b"")
    return digest.digest()


# ---- opening it ----------------------------------------------------------------------------------------------


def _open(root: str) -> World:
    # A manifest's name means that it is whole: it gets it when its bytes are safe.
    for path in Path(root).rglob("manifest.json"):
        inside = path.relative_to(root).parts
        if not any(part.startswith("_") for part in inside):
            decode(path.read_bytes(), library_id=inside[0], where=str(path))
    services = open_engine(Path(root))
    found = dump(services)
    check_answers(services, found, thorough=False)
    # A generation that a manifest lists is whole, wherever the power went; the template comes with a damaged one.
    aside = [path.name for path in Path(root).glob("_quarantine/*") if not path.name.startswith("Cos-2-")]
    assert not aside, f"generations were found damaged: {aside}"
    return found


def _examine(image: Image, ledger: Ledger, findings: Findings, root: Path, where: Callable[[], str]) -> None:
    findings.images += 1
    key = _digest(image)
    if key not in findings.seen:
        findings.different += 1
        lay_down(image, root)
        found, problem, _ = in_fork(_open, str(root))
        if not problem and findings.different % _AGAIN == 0:
            findings.again += 1
            _, problem, _ = in_fork(recover_again, str(root), found, True)
        findings.seen[key] = (found, problem)
    found, problem = findings.seen[key]
    told = problem or ledger.verdict(found or {})
    if told:
        findings.problems.append(f"{where()}:\n{told}")


def _changes(call: Call) -> bool:
    """Whether there is anything to see after a call that could not be seen before it."""
    if call.operation == Operation.OPEN:
        return call.creates or call.empties
    if call.operation == Operation.MARK:
        return '"sent"' not in call.path
    return call.operation not in {Operation.CLOSE, Operation.DUPLICATE}


def _acknowledges(call: Call) -> bool:
    return call.operation == Operation.MARK and '"acked"' in call.path


def _start(base: Path, story: str) -> Template:
    return Template({}, {}) if story == "birth" else read_template(base)


def _moments(calls: list[Call], base: Path, story: str) -> Iterator[tuple[int, Disk, Ledger]]:
    """Replay a record; gives the disk and what was said at each moment."""
    start = _start(base, story)
    disk, ledger = Disk(start.tree), Ledger(start.world, steps_of(story))
    for number, call in enumerate(calls):
        disk.replay(call)
        if call.operation == Operation.MARK:
            ledger.hear(call.path)
        if _changes(call):
            yield number, disk, ledger


def _name(call: Call, variant_number: int, number: int) -> str:
    what = f"{call.operation.name} {call.path} {call.target}".strip()
    return f"after call {number} ({what or call.descriptor}), variant {variant_number}"


# ---- what the tests call -------------------------------------------------------------------------------------


def record(base: str, story: str) -> dict[str, Any]:
    """Play undisturbed and record it; gives how many moments there are, and how many flushes."""
    root, recording = Path(base) / f"recorded-{story}", Path(base) / f"record-{story}"
    start = _start(Path(base), story)
    lay_down(start.tree, root)
    log = str(Path(base) / f"log-{story}")
    _, problem, _ = in_fork(lambda: play(str(root), start.world, log, record=str(recording), story=story))
    assert not problem, problem
    moments = sum(map(_changes, read_record(recording, root)))
    state = SHIM.state()
    return {
        "moments": moments,
        "flushes": state.flushes,
        "root_flushes": state.root_flushes,
        "calls": state.count,
    }


def cut(base: str, story: str, first: int, last: int, variants: list[int], seed: int) -> dict[str, Any]:
    """Cut the power at the moments from ``first`` to before ``last``, once for each of some variants at each."""
    place = Path(base)
    findings, root = Findings(), place / f"image-{os.getpid()}"
    calls = read_record(place / f"record-{story}", place / f"recorded-{story}")
    for at, (number, disk, ledger) in enumerate(_moments(calls, place, story)):
        if first <= at < last:
            for one in variants:
                image = variant(disk, one, random.Random(f"{seed} {number} {one}"))
                _examine(image, ledger, findings, root, lambda n=number, v=one: _name(calls[n], v, n))
            if len(findings.problems) >= 20:
                break
    return findings.told()


def cut_after_a_failed_flush(base: str, at: int, seed: int, *, of_root: bool) -> dict[str, Any]:
    """Let the ``at``-th flush, with ``of_root`` of the data directory itself, fail while the process goes on, and cut the power.

    Right then, at the next two acknowledgements, half-way, and after another process went on.
    """
    place = Path(base)
    template = read_template(place)
    findings, root = Findings(), place / f"image-{os.getpid()}"
    played, recording = place / f"flush-{os.getpid()}", place / f"flush-record-{os.getpid()}"
    log = place / f"flush-log-{os.getpid()}"
    lay_down(template.tree, played)
    log.write_bytes(b"")
    _, problem, _ = in_fork(
        lambda: play(
            str(played),
            template.world,
            str(log),
            at=at,
            fault=int(Fault.FAIL_ROOT_FLUSH if of_root else Fault.FAIL_FLUSH),
            record=str(recording),
        )
    )
    struck = SHIM.state()
    if not problem:
        # The next process reads what the kernel shows it, and builds upon that.
        _, problem, _ = in_fork(
            lambda: play(str(played), template.world, str(log), record=str(recording), go_on=True)
        )
    where = f"flush {at}{' of the root' if of_root else ''} ({struck.name} {struck.path}) failed"
    if problem:
        findings.problems.append(f"{where}, while it ran:\n{problem}")
        return findings.told(struck=struck.struck)
    calls = read_record(recording, played)
    moments = list(range(sum(map(_changes, calls))))
    failed = next((n for n, call in enumerate(calls) if call.operation == Operation.SYNC and call.failed), 0)
    then = sum(map(_changes, calls[: failed + 1])) - 1
    # What a failed flush takes is seen once something was acknowledged and before another flush makes up for it.
    told = [number for number, call in enumerate(filter(_changes, calls)) if _acknowledges(call)]
    chosen = {then, then + 1, math.floor((then + len(moments)) / 2), len(moments) - 1}
    chosen.update([moment for moment in told if moment > then][:2])
    for moment, (number, disk, ledger) in enumerate(_moments(calls, place, "short")):
        if moment in chosen:
            for one in (0, 1, 2, 4, 5):
                image = variant(disk, one, random.Random(f"{seed} {at} {number} {one}"))
                _examine(
                    image,
                    ledger,
                    findings,
                    root,
                    lambda n=number, v=one: f"{where}, {_name(calls[n], v, n)}",
                )
    return findings.told(struck=struck.struck)
